# SPDX-License-Identifier: Apache-2.0
"""Reads the binary dump of Gorse (`GET /api/dump`) batch by batch, in bounded memory.

A dump is a row of sections: a little-endian int64 of -1 (users), -2 (items) or -3 (feedback), then records,
each an int64 of its length and a protobuf message; 0 ends the dump. It knows nothing of canonical columns
beyond their names; `gorse` puts the batches together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from desirepath.errors import DataError
from desirepath.events.files import Damaged
from desirepath.events.foreign import wire
from desirepath.events.foreign.wire import BYTES, FIXED64, VARINT, Records
from desirepath.events.spool import Complaints

Kind = Literal["users", "items", "feedback"]
SECTIONS: dict[int, Kind] = {-1: "users", -2: "items", -3: "feedback"}
WIRES: dict[Kind, tuple[int, ...]] = {
    "users": (BYTES, BYTES, BYTES),
    "items": (BYTES, BYTES, VARINT, BYTES, BYTES, BYTES, BYTES),
    "feedback": (BYTES, BYTES, BYTES, BYTES, FIXED64, BYTES, BYTES, BYTES, BYTES),
}
"""Wire types of the fields 1, 2, ... of data.User, data.Item and data.Feedback."""
OLD_FEEDBACK = (BYTES, BYTES, BYTES, BYTES, BYTES, BYTES)
"""Feedback before Gorse 0.5 had no value: 5 is the timestamp, 6 the comment."""
BATCH = 2**18
"""Records of one batch."""


@dataclass(slots=True)
class Dump:
    """A dump that is being read: what was met so far."""

    name: str
    take: Callable[[Kind, pl.DataFrame], None]
    """Called with each batch of rows."""
    complaints: Complaints = field(default_factory=Complaints)
    counts: dict[Kind, int] = field(default_factory=lambda: dict.fromkeys(SECTIONS.values(), 0))
    damage: str = ""
    """Where and how the dump is cut or broken."""
    _section: Kind | None = None
    _base: int = 0
    _ended: bool = False

    def read(self, chunks: Iterable[bytes]) -> None:
        """Read it all, or until it makes no sense any more.

        Raises:
            DataError: it does not begin like a dump.
        """
        rest = b""
        try:
            for chunk in chunks:
                if self._ended or self.damage:
                    break
                rest = self._batches(rest + chunk)
        except Damaged as error:  # a packed dump that is cut: what was unpacked is read all the same
            self.damage = f"{error} Unpacked, that is byte {self._base + len(rest):,}."
        if not self._ended and not self.damage:
            at = self._base
            where = f"within a record that begins at byte {at:,}" if rest else f"at byte {at:,}"
            self.damage = f"{self.name} must end with a mark of 8 zero bytes; it is cut {where}."

    @property
    def whole(self) -> str:
        """What could be read, in words."""
        counts = self.counts
        return f"{counts['users']:,} users, {counts['items']:,} items and {counts['feedback']:,} feedback"

    def _batches(self, block: bytes) -> bytes:
        """Take all whole records of a block; what is left of it."""
        data, at = np.frombuffer(block, np.uint8), 0
        while True:
            starts, lengths, at, why, met = wire.walk(data, at, BATCH)
            if len(starts):
                self._batch(data, starts, lengths)
            if why == wire.SECTION and met in SECTIONS:
                self._section, at = SECTIONS[met], at + 8
            elif why == wire.END:
                self._ended = True
                break
            elif why in (wire.SECTION, wire.DAMAGED):
                self.damage = (
                    f"{self.name} must have the length of a record, or -1, -2, -3 or 0, at byte "
                    f"{self._base + at:,}; it has {met:,}."
                )
                break
            elif len(starts) < BATCH:
                break
            if self._section is None:
                break
        if self._section is None and not self._ended and len(data) >= 8:
            raise DataError(
                f"{self.name} must begin with -1, -2 or -3 in 8 bytes, as a Gorse dump does; it does not. "
                "Name the format if it is another one, or fetch the dump again with GET /api/dump."
            )
        self._base += at
        return block[at:]

    def _batch(self, data: wire.Bytes, starts: wire.Places, lengths: wire.Places) -> None:
        if self._section is None:
            return
        kind = self._section
        records = wire.read_records(data, starts, lengths, WIRES[kind])
        frame, bad = {"users": _users, "items": _items, "feedback": _feedback}[kind](records)
        bad |= ~records.is_sound
        if bad.any():
            for at in np.flatnonzero(bad).tolist():
                start, stop = int(starts[at]), int(starts[at] + lengths[at])
                text = data[start:stop].tobytes().decode("utf-8", "backslashreplace")
                place = f"damaged {kind} record"
                self.complaints.add(f"{self.name}, byte {self._base + start:,}", None, place, text)
            frame = frame.filter(pl.Series(~bad))
        self.counts[kind] += frame.height
        self.take(kind, frame)


Read = tuple[pl.DataFrame, NDArray[np.bool_]]


def _texts(records: Records, **fields: int) -> tuple[dict[str, pl.Series], NDArray[np.bool_]]:
    found, bad = {}, np.zeros(len(records.starts), np.bool_)
    for name, number in fields.items():
        found[name], refused = records.text(number)
        bad |= refused
    return found, bad


def _users(records: Records) -> Read:
    columns, bad = _texts(records, user_id=1, labels=2, comment=3)
    return pl.DataFrame(columns), bad


def _items(records: Records) -> Read:
    columns, bad = _texts(records, item_id=2, labels=6, comment=7)
    columns |= {
        "is_hidden": records.flag(3),
        "categories": records.several(4),
        "created_at": records.moment(5),
    }
    return pl.DataFrame(columns), bad


def _feedback(records: Records) -> Read:
    columns, bad = _texts(records, action=2, user_id=3, item_id=4)
    old = wire.read_records(records.data, records.starts, records.lengths, OLD_FEEDBACK)
    if (old.size[5] >= 0).any() and (records.size[5] < 0).all():
        more, refused = _texts(old, comment=6)
        return pl.DataFrame(columns | more | {"time": old.moment(5)}), bad | refused
    more, refused = _texts(records, comment=7, labels=9)
    columns |= more
    columns |= {
        "value": records.number(5),
        "time": records.moment(6),
        "updated": records.moment(8),
    }
    return pl.DataFrame(columns), bad | refused
