# SPDX-License-Identifier: Apache-2.0
"""Reads length-framed protobuf records out of a buffer, column by column.

It knows the wire format (protobuf.dev, "Encoding") and the framing by little-endian int64, but no message
of anyone's; `dump` names the fields. The `protobuf` package would make an object of each record, some
microseconds and a Python loop for ten million rows; these kernels take a small part of that and give
columns at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba as nb
import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from desirepath.schema import TIME_DTYPE

Bytes = NDArray[np.uint8]
Places = NDArray[np.int64]

MORE, SECTION, END, DAMAGED = 0, 1, 2, 3
"""Why a walk over frames stopped: no whole frame is left, a new section, the end mark, or nonsense."""
MAX_RECORD = 2**27
"""Bytes of the longest record that is believed; a longer one is damage."""
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""Wire types."""
YEAR_1_S, YEAR_9999_S = -62_135_596_800, 253_402_300_799


@dataclass(frozen=True, slots=True)
class Records:
    """Some records of one section: where each lies in `data`, and where each of its fields does."""

    data: Bytes
    starts: Places
    lengths: Places
    place: NDArray[np.int64]
    """(n_fields + 1, n_records) the offset of a field's value, or the value itself for a varint."""
    size: NDArray[np.int64]
    """(n_fields + 1, n_records) its bytes; -1 where the field is absent, 0 for a varint."""
    is_sound: NDArray[np.bool_]
    """Whether each record could be read to its end."""

    def text(self, field: int) -> tuple[pl.Series, NDArray[np.bool_]]:
        """A text field, "" where it is absent, and which rows are not UTF-8 (those are "" too)."""
        return texts(self.data, self.place[field], self.size[field])

    def number(self, field: int) -> pl.Series:
        """A double, 0 where it is absent."""
        raw = gather(self.data, self.place[field], np.where(self.size[field] == 8, 8, 0))
        value = np.zeros(len(self.starts), np.float64)
        value[self.size[field] == 8] = raw.view("<f8")
        return pl.Series(value)

    def flag(self, field: int) -> pl.Series:
        """A boolean, false where it is absent."""
        return pl.Series((self.size[field] == 0) & (self.place[field] != 0))

    def moment(self, field: int) -> pl.Series:
        """A google.protobuf.Timestamp in UTC; null where it is absent, or before the year 1 is over.

        Go writes the year 1 for a time that was never set.
        """
        micros, has = _moments(self.data, self.place[field], self.size[field])
        return (
            pl.select(pl.when(pl.Series(has)).then(pl.Series(micros)).alias("moment"))
            .to_series()
            .cast(TIME_DTYPE)
        )

    def several(self, field: int) -> pl.Series:
        """A repeated text field, as a list of texts for each record."""
        nothing = np.zeros(0, np.int64)
        n = _repeated(self.data, self.starts, self.lengths, field, nothing, nothing, nothing)
        owner, place, size = (np.zeros(n, np.int64) for _ in range(3))
        _repeated(self.data, self.starts, self.lengths, field, owner, place, size)
        values, _ = texts(self.data, place, size)
        ends = np.searchsorted(owner, np.arange(len(self.starts) + 1))
        listed = pa.LargeListArray.from_arrays(pa.array(ends, pa.int64()), values.to_arrow())
        return pl.Series("", pl.from_arrow(listed), dtype=pl.List(pl.String))


def read_records(data: Bytes, starts: Places, lengths: Places, wires: tuple[int, ...]) -> Records:
    """The fields of records that lie in `data`.

    Args:
        data: a buffer.
        starts: offset of each record in it.
        lengths: its bytes.
        wires: the wire type of fields 1, 2, ...; a field of another type is passed over, as protobuf asks.
    """
    expected = np.array([-1, *wires], np.int64)
    place, size, is_sound = _fields(data, starts, lengths, expected)
    return Records(data, starts, lengths, place, size, is_sound)


def walk(data: Bytes, at: int, capacity: int) -> tuple[Places, Places, int, int, int]:
    """Whole frames from `at` on: starts, lengths, where it stopped, why, and the marker or length met there.

    A frame is an int64 of its length and as many bytes; a negative number opens a section, 0 ends all.
    """
    starts, lengths = np.empty(capacity, np.int64), np.empty(capacity, np.int64)
    n, at, why, met = _walk(data, at, starts, lengths)
    return starts[:n], lengths[:n], int(at), int(why), int(met)


def texts(data: Bytes, place: Places, size: Places) -> tuple[pl.Series, NDArray[np.bool_]]:
    """Pieces of a buffer as text, and which of them are not UTF-8 (those become "")."""
    held = np.maximum(size, 0)
    offsets = np.zeros(len(held) + 1, np.int64)
    np.cumsum(held, out=offsets[1:])
    joined = gather(data, place, held)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(joined)]
    raw = pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(held), buffers)
    bad = np.zeros(len(held), np.bool_)
    try:
        text = raw.cast(pa.large_string())
    except pa.ArrowInvalid:  # one piece at least; only such a batch is looked at piece by piece
        bad = np.array([not _is_utf8(piece) for piece in raw.to_pylist()], np.bool_)
        clean, _ = texts(data, place, np.where(bad, 0, held))
        return clean, bad
    return pl.Series("", pl.from_arrow(text), dtype=pl.String), bad


def _is_utf8(piece: bytes) -> bool:
    try:
        piece.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def gather(data: Bytes, place: Places, size: Places) -> Bytes:
    """Pieces of a buffer, one after the other."""
    return _gather(data, place, size, np.empty(int(size.sum()), np.uint8))  # type: ignore[no-any-return]


@nb.njit(cache=True, nogil=True)
def _walk(data, at, starts, lengths):  # type: ignore[no-untyped-def]
    n = 0
    total = len(data)
    while n < len(starts):
        if total - at < 8:
            return n, at, MORE, 0
        word = np.uint64(0)
        for k in range(8):
            word |= np.uint64(data[at + k]) << np.uint64(8 * k)
        length = np.int64(word)
        if length < 0:
            return n, at, SECTION, length
        if length == 0:
            return n, at, END, 0
        if length > MAX_RECORD:
            return n, at, DAMAGED, length
        if total - at - 8 < length:
            return n, at, MORE, length
        starts[n] = at + 8
        lengths[n] = length
        n += 1
        at += 8 + length
    return n, at, MORE, 0


@nb.njit(cache=True, nogil=True)
def _varint(data, at, stop):  # type: ignore[no-untyped-def]
    """A base-128 number and the offset behind it, which is -1 where there is none."""
    value = np.uint64(0)
    shift = 0
    while at < stop and shift < 70:
        byte = np.uint64(data[at])
        at += 1
        value |= (byte & np.uint64(127)) << np.uint64(shift)
        if byte < np.uint64(128):
            return np.int64(value), at
        shift += 7
    return np.int64(0), -1


@nb.njit(cache=True, nogil=True)
def _field(data, at, stop):  # type: ignore[no-untyped-def]
    """Number, wire type, place and size of the field at an offset, and the offset behind it (-1: damage)."""
    tag, at = _varint(data, at, stop)
    number, wire = tag >> 3, tag & 7
    if at < 0 or number < 1 or number >= 2**29:
        return 0, 0, 0, 0, -1
    if wire == VARINT:
        value, at = _varint(data, at, stop)
        return number, wire, value, 0, at
    if wire == BYTES:
        size, at = _varint(data, at, stop)
        if at < 0 or size < 0 or size > stop - at:
            return 0, 0, 0, 0, -1
        return number, wire, at, size, at + size
    size = 8 if wire == FIXED64 else 4
    if (wire != FIXED64 and wire != FIXED32) or size > stop - at:
        return 0, 0, 0, 0, -1
    return number, wire, at, size, at + size


@nb.njit(cache=True, nogil=True)
def _fields(data, starts, lengths, expected):  # type: ignore[no-untyped-def]
    n, n_fields = len(starts), len(expected)
    place = np.zeros((n_fields, n), np.int64)
    size = np.full((n_fields, n), -1, np.int64)
    is_sound = np.ones(n, np.bool_)
    for i in range(n):
        at, stop = starts[i], starts[i] + lengths[i]
        while at < stop:
            number, wire, where, held, at = _field(data, at, stop)
            if at < 0:
                is_sound[i] = False
                break
            if number < n_fields and expected[number] == wire:
                place[number, i] = where
                size[number, i] = held
    return place, size, is_sound


@nb.njit(cache=True, nogil=True)
def _repeated(data, starts, lengths, field, owner, place, size):  # type: ignore[no-untyped-def]
    """How often a field of bytes occurs; where, if the arrays have room."""
    n = 0
    for i in range(len(starts)):
        at, stop = starts[i], starts[i] + lengths[i]
        while at < stop:
            number, wire, where, held, at = _field(data, at, stop)
            if at < 0:
                break
            if number == field and wire == BYTES:
                if n < len(owner):
                    owner[n], place[n], size[n] = i, where, held
                n += 1
    return n


@nb.njit(cache=True, nogil=True)
def _moments(data, place, size):  # type: ignore[no-untyped-def]
    """Microseconds since 1970 of Timestamp messages (1: seconds, 2: nanos), and whether each has one."""
    micros = np.zeros(len(place), np.int64)
    has = np.zeros(len(place), np.bool_)
    for i in range(len(place)):
        if size[i] < 0:
            continue
        at, stop = place[i], place[i] + size[i]
        seconds, nanos = np.int64(0), np.int64(0)
        while 0 <= at < stop:
            number, wire, value, _, at = _field(data, at, stop)
            if at >= 0 and wire == VARINT and number == 1:
                seconds = value
            elif at >= 0 and wire == VARINT and number == 2:
                nanos = value
        if at >= 0 and YEAR_1_S + 31_536_000 <= seconds <= YEAR_9999_S and 0 <= nanos < 1_000_000_000:
            micros[i] = seconds * 1_000_000 + nanos // 1000
            has[i] = True
    return micros, has


@nb.njit(cache=True, nogil=True)
def _gather(data, place, size, out):  # type: ignore[no-untyped-def]
    to = 0
    for i in range(len(place)):
        for k in range(size[i]):
            out[to + k] = data[place[i] + k]
        to += size[i]
    return out
