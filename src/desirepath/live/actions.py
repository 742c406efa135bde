# SPDX-License-Identifier: Apache-2.0
"""The actions that are known now, and which of them say what a user did rather than what was shown to him."""

from __future__ import annotations

from collections.abc import Iterable

from desirepath.errors import DataError
from desirepath.sequences import Vocabulary

IMPRESSION = "impression"
"""The action of an item that was shown."""
SATISFACTION = "satisfaction"
"""The action of a rating of a list: its value says how much it pleased."""
NOT_BEHAVIOUR = frozenset({IMPRESSION, SATISFACTION})
"""Actions that are kept, but are no part of what the user did: models never read them."""
MOST = 2000


class Actions:
    """Action names and their indexes; an index, once given, stays."""

    def __init__(self, known: Iterable[str] = ()) -> None:
        """Begin with the actions of the log."""
        self._vocabulary = Vocabulary(known)

    @property
    def vocabulary(self) -> Vocabulary:
        """All actions until now."""
        return self._vocabulary

    def take(self, name: str) -> int:
        """The index of an action, given to it now if it is new.

        Raises:
            DataError: there are too many already, as when a free text was sent as the action.
        """
        ix = self._vocabulary.index(name)
        if ix is not None:
            return ix
        known = self._vocabulary.ids.to_list()
        if len(known) >= MOST:
            raise DataError(f"At most {MOST} different actions may be sent; '{name}' would be one more.")
        self._vocabulary = Vocabulary([*known, name])
        return len(self._vocabulary) - 1

    def has_room_for(self, names: Iterable[str]) -> bool:
        """Whether these names may all be taken."""
        new = {name for name in names if self._vocabulary.index(name) is None}
        return len(self._vocabulary.ids) + len(new) <= MOST
