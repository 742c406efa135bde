# SPDX-License-Identifier: Apache-2.0
"""The actions, and which of them causes which: chances and mean delays.

Events form clusters: each event has at most one direct child of each kind, with the chance given
here, after an exponential delay. That is the branching form of a Hawkes process (Hawkes and Oakes,
"A cluster process representation of a self-exciting process", 1974) with Bernoulli in place of
Poisson offspring, so the chance is also the mean number of direct children, the entry of the
excitation matrix.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

VIEW: Final = 0
LIKE: Final = 1
SEARCH: Final = 2
SHARE: Final = 3
CART: Final = 4
PURCHASE: Final = 5
RETURN: Final = 6

ACTIONS: Final = ("view", "like", "search", "share", "cart", "purchase", "return")
"""Names of the actions by code."""

DIRECT: Final = 0
FROM_SEARCH: Final = 1
BROWSE: Final = 2
RECOMMENDATION: Final = 3
SOCIAL: Final = 4
CAMPAIGN: Final = 5
RELATED: Final = 6
PAGE: Final = 7

SOURCES: Final = (
    "direct", "search", "browse", "recommendation", "social", "campaign", "related", "page",
)  # fmt: skip
"""Where an event came from, by code; "page" is a button on the page of the item."""

VIEW_VIEW, VIEW_SEARCH = 0.70, 0.06
SEARCH_VIEW, SEARCH_SEARCH = 0.80, 0.10
LIKE_SHARE = 0.20
PURCHASE_VIEW = 0.35
RETURN_SEARCH = 0.30

VIEW_VIEW_S, VIEW_SEARCH_S, VIEW_LIKE_S, VIEW_CART_S, CLICK_S = 45.0, 40.0, 12.0, 30.0, 15.0
SEARCH_VIEW_S, SEARCH_SEARCH_S = 15.0, 20.0
LIKE_SHARE_S, CART_PURCHASE_S, RETURN_SEARCH_S = 60.0, 90.0, 180.0
PURCHASE_VIEW_S, PURCHASE_RETURN_S = 1.5 * 86_400, 3.0 * 86_400


@dataclass(frozen=True, slots=True)
class Trigger:
    """One edge: an event of action `cause` has a direct child of action `effect`."""

    cause: int
    """Code of the causing action."""
    effect: int
    """Code of the caused action."""
    chance: float | str
    """Mean number of direct children an event has (0 to 1); a word names the field of `Segment` that
    holds it, "visit" the field `cart`, which is the chance of a whole visit, not of one view."""
    mean_s: float
    """Mean delay in seconds; the half-life is ln 2 times that."""
    item: str
    """How the child's item follows: same, next, wanted or companion."""

    @property
    def half_life_s(self) -> float:
        """Delay after which half of the children have come."""
        return self.mean_s * math.log(2)


TRIGGERS = (
    Trigger(SEARCH, VIEW, SEARCH_VIEW, SEARCH_VIEW_S, "same"),
    Trigger(SEARCH, SEARCH, SEARCH_SEARCH, SEARCH_SEARCH_S, "wanted"),
    Trigger(VIEW, VIEW, VIEW_VIEW, VIEW_VIEW_S, "next"),
    Trigger(VIEW, SEARCH, VIEW_SEARCH, VIEW_SEARCH_S, "wanted"),
    Trigger(VIEW, LIKE, "like", VIEW_LIKE_S, "same"),
    Trigger(LIKE, SHARE, LIKE_SHARE, LIKE_SHARE_S, "same"),
    Trigger(VIEW, CART, "visit", VIEW_CART_S, "same"),
    Trigger(CART, PURCHASE, "buy", CART_PURCHASE_S, "same"),
    Trigger(PURCHASE, VIEW, PURCHASE_VIEW, PURCHASE_VIEW_S, "companion"),
    Trigger(PURCHASE, RETURN, "give_back", PURCHASE_RETURN_S, "same"),
    Trigger(RETURN, SEARCH, RETURN_SEARCH, RETURN_SEARCH_S, "wanted"),
)
"""All edges inside one user; pages add clicks, friends and the campaign add purchases from outside."""
