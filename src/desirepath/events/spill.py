# SPDX-License-Identifier: Apache-2.0
"""Rows put by user, so that a log larger than memory can be ordered piece by piece.

Rows come in the order of the file, in pieces. Each piece is put by user (a counting sort) and
appended; afterwards the rows of any stretch of users are read back in the order of the file.
"""

from __future__ import annotations

import bisect
from pathlib import Path
from typing import IO, Any

import numba
import numpy as np
import polars as pl
from numpy.typing import NDArray

from desirepath.events.rows import Rows, stacked

SHIFT = 4
"""Users are told apart by blocks of 2**SHIFT, so that counting them stays within the cache."""

MEMORY_BYTES = 2**29
"""What is held before anything is written: half a GiB."""
ROW_BYTES = 18

COLUMNS: dict[str, type[np.generic]] = {
    "user_ix": np.int32,
    "item_ix": np.int32,
    "action_ix": np.int16,
    "time_us": np.int64,
}


class Spill:
    """Rows by blocks of users; in memory up to `MEMORY_BYTES`, on disk beyond."""

    def __init__(self, folder: Path) -> None:
        """Write into `folder`, which must exist, when memory is used up; its maker removes it."""
        self._folder = folder
        self._held: list[Rows] | None = []
        self._held_bytes = 0
        self._files: dict[str, IO[bytes]] = {}
        self._with_extra: set[int] = set()
        self.starts = [0]
        """First row of each piece, and the number of rows at the end."""
        self.counts: NDArray[np.int64] = np.zeros(1024, np.int64)
        """Rows of each user so far; at least as long as there are users."""

    def __len__(self) -> int:
        return self.starts[-1]

    def close(self) -> None:
        """Close the files, and let go of what is held in memory."""
        for file in self._files.values():
            file.close()
        self._held = []

    def add(self, rows: Rows) -> None:
        """Append a piece of rows. Cost: about 20 bytes an event, and the further columns."""
        if not len(rows):
            return
        last = int(rows.user_ix.max())
        if last >= len(self.counts):
            grown = np.zeros(max(last + 1, 2 * len(self.counts)), np.int64)
            grown[: len(self.counts)] = self.counts
            self.counts = grown
        piece = rows.take(_by_block(rows.user_ix, self.counts, (last >> SHIFT) + 1))
        self.starts.append(self.starts[-1] + len(piece))
        if self._held is None:
            self._write(len(self.starts) - 2, piece)
            return
        self._held.append(piece)
        self._held_bytes += ROW_BYTES * len(piece) + int(piece.extra.estimated_size())
        if self._held_bytes > MEMORY_BYTES:
            held, self._held = self._held, None
            for name in COLUMNS:
                self._files[name] = (self._folder / f"{name}.bin").open("wb", buffering=0)
            for number, older in enumerate(held):
                self._write(number, older)

    def _write(self, number: int, piece: Rows) -> None:
        for name, file in self._files.items():
            write_all(file, getattr(piece, name))
        if piece.extra.width:
            self._with_extra.add(number)
            with (self._folder / f"extra-{number}.arrow").open("wb") as file:
                piece.extra.write_ipc(file)

    def stretches(self, max_rows: int) -> list[tuple[int, int]]:
        """Stretches of users (first, last + 1), each of at most `max_rows` rows where users allow it."""
        n_blocks = -(-len(self.counts) // (1 << SHIFT))
        padded = np.zeros(n_blocks << SHIFT, np.int64)
        padded[: len(self.counts)] = self.counts
        ends = np.cumsum(padded.reshape(n_blocks, -1).sum(axis=1))
        found, block, before = [], 0, 0
        while before < len(self):
            stop = max(int(np.searchsorted(ends, before + max_rows, side="right")), block + 1)
            if ends[stop - 1] > before:
                found.append((block << SHIFT, stop << SHIFT))
            block, before = stop, int(ends[stop - 1])
        return found

    def read(self, first_user: int, stop_user: int) -> Rows:
        """All rows of these users (bounds as `stretches` gives them), each user's in order of the file."""
        blocks = first_user >> SHIFT, stop_user >> SHIFT
        if self._held is not None:
            pieces = []
            for piece in self._held:
                low, high = _between(piece.user_ix, blocks, 0, len(piece))
                pieces.append(piece.slice(low, high))
            return Rows.joined(pieces)
        users = np.memmap(self._folder / "user_ix.bin", np.int32, "r")
        bounds = zip(self.starts[:-1], self.starts[1:], strict=True)
        places = [_between(users, blocks, start, stop) for start, stop in bounds]
        total = sum(high - low for low, high in places)
        columns = {
            name: self._column(name, np.empty(total, dtype), places) for name, dtype in COLUMNS.items()
        }
        further = [(self._extra(number, *place), place[1] - place[0]) for number, place in enumerate(places)]
        return Rows(**columns, extra=stacked(further))

    def _column(self, name: str, column: NDArray[Any], places: list[tuple[int, int]]) -> NDArray[Any]:
        done = 0
        # A file of its own, so that threads do not share a position.
        with (self._folder / f"{name}.bin").open("rb", buffering=0) as file:
            for low, high in places:
                file.seek(low * column.itemsize)
                read_all(file, column[done : done + high - low])
                done += high - low
        return column

    def _extra(self, number: int, low: int, high: int) -> pl.DataFrame:
        path = self._folder / f"extra-{number}.arrow"
        if number not in self._with_extra:
            return pl.DataFrame()
        return pl.scan_ipc(path).slice(low - self.starts[number], high - low).collect()


def _between(users: NDArray[np.int32], blocks: tuple[int, int], start: int, stop: int) -> tuple[int, int]:
    """(low, high) of the rows of blocks first to stop among users[start:stop], which lie by block."""
    low = bisect.bisect_left(users, blocks[0], start, stop, key=_block)
    return low, bisect.bisect_left(users, blocks[1], low, stop, key=_block)


def _block(user: np.int32) -> int:
    return int(user) >> SHIFT


def write_all(file: IO[bytes], column: NDArray[Any]) -> None:
    """Write a whole column to an unbuffered file; a full disk raises OSError, never a short write."""
    left = np.ascontiguousarray(column).reshape(-1).view(np.uint8).data
    while left:
        left = left[file.write(left) :]


def read_all(file: IO[bytes], column: NDArray[Any]) -> None:
    """Fill a contiguous column from an unbuffered file.

    Raises:
        EOFError: the file ends too early.
    """
    left = column.view(np.uint8).data
    while left:
        got = file.readinto(left)  # type: ignore[attr-defined]
        if not got:
            raise EOFError(f"{file.name} is shorter than what was written to it.")
        left = left[got:]


@numba.njit(nogil=True, cache=True)
def _by_block(user_ix, counts, n_blocks):  # type: ignore[no-untyped-def]
    """The stable order by block of users; each user's rows are added to `counts`."""
    ends = np.zeros(n_blocks + 1, np.int64)
    for row in range(len(user_ix)):
        counts[user_ix[row]] += 1
        ends[(user_ix[row] >> SHIFT) + 1] += 1
    for block in range(n_blocks):
        ends[block + 1] += ends[block]
    order = np.empty(len(user_ix), np.int64)
    for row in range(len(user_ix)):
        block = user_ix[row] >> SHIFT
        order[ends[block]] = row
        ends[block] += 1
    return order
