# SPDX-License-Identifier: Apache-2.0
"""Why an item stands where it stands, in one short line, from what the answer itself says.

The longer sentence with its evidence is made on request; see `recommend.sentences`.
"""

from __future__ import annotations

from desirepath.console.words import Words
from desirepath.live.engine import Shown


def because(shown: Shown, words: Words) -> str:
    """What brought an item to its place; reasons of a kind without words show under their own name."""
    told = []
    for reason in shown.reasons:
        kind = str(reason.get("kind", ""))
        if kind == "source":
            source = str(reason.get("source", ""))
            told.append(words.get(f"source.{source}", words("source.other", name=source)))
        elif text := reason.get("text"):
            told.append(str(text))
        elif kind:
            told.append(words.get(f"reason.{kind}", kind))
    return " · ".join(told)
