# SPDX-License-Identifier: Apache-2.0
"""Training batches straight from the packed arrays: windows of each history, packed into full rows.

Several short windows share a row, so that next to nothing is padding; the `window` of a cell says
whose it is, and a model lets no cell look outside its own. It knows no model and no device.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from desirepath.errors import ConfigError, TooLittleData
from desirepath.schema import FIRST, PADDING
from desirepath.sequences.packed import Sequences
from desirepath.sequences.queries import ranges


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """W pieces of histories to learn from: inputs are rows start:stop, row r is to predict row r + 1."""

    start: NDArray[np.int64]
    """(W,) first input row."""
    stop: NDArray[np.int64]
    """(W,) row after the last input; the row itself is the last target."""
    counted: NDArray[np.int64]
    """(W,) first input row whose target counts; the rows before it are context, counted elsewhere."""

    def __len__(self) -> int:
        return len(self.start)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(W,) inputs of each window."""
        return self.stop - self.start

    def __getitem__(self, chosen: NDArray[np.integer] | slice) -> Windows:
        return Windows(start=self.start[chosen], stop=self.stop[chosen], counted=self.counted[chosen])


def cut_windows(sequences: Sequences, max_len: int, *, overlap: int = 0) -> Windows:
    """Every history as windows of at most `max_len` inputs; each event but a first is a target once.

    A long history is cut from its end, where a query would cut it too: the last window is exactly
    what `Queries.windows` gives. With an overlap, a window's first inputs repeat the end of the one
    before it, so that no target but a history's first ones is predicted from less than `overlap`
    inputs.

    Args:
        sequences: histories, oldest first.
        max_len: inputs a window holds at most, >= 1.
        overlap: inputs shared with the window before, 0 to max_len - 1; costs as much more work.

    >>> windows = cut_windows(Sequences.from_lists([list("abcdefg"), ["a"]]), 4)
    >>> windows.start.tolist(), windows.stop.tolist()
    ([0, 2], [2, 6])
    """
    if not 0 <= overlap < max_len:
        raise ConfigError(f"overlap must be from 0 to max_len - 1 = {max_len - 1}; got {overlap}.")
    stride = max_len - overlap
    first, last = np.asarray(sequences.offsets[:-1]), np.asarray(sequences.offsets[1:]) - 1
    inputs = np.maximum(last - first, 0)
    # The first window counts up to max_len inputs, each later one `stride` of its own.
    pieces = np.where(inputs > 0, 1 + np.maximum(0, -(-(inputs - max_len) // stride)), 0)
    from_end = ranges(np.zeros_like(pieces), pieces)[::1]
    user = np.repeat(np.arange(len(pieces)), pieces)
    order = pieces[user] - 1 - from_end
    stop = last[user] - order * stride
    start = np.maximum(first[user], stop - max_len)
    counted = np.where(from_end == 0, start, stop - stride)
    return Windows(start=start, stop=stop, counted=counted)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Windows packed into rows of at most `max_len` cells; a cell is one input event or padding."""

    row_BL: NDArray[np.int64]
    """Row of each cell in the sequences, -1 at padding: any column can be laid out with it."""
    item_BL: NDArray[np.int32]
    """Item of each cell, 0 at padding."""
    position_BL: NDArray[np.int32]
    """Place of each cell in its own window, from 0."""
    size_BL: NDArray[np.int32]
    """Cells of that window; 0 at padding."""
    window_BL: NDArray[np.int32]
    """Window of each cell within its row, from 0; -1 at padding."""
    target_cell_T: NDArray[np.int64]
    """Flat cells (row x L + column) that have something to predict."""
    target_item_T: NDArray[np.int32]
    """What came next at those cells."""

    @property
    def padding(self) -> float:
        """Share of cells that hold nothing."""
        return float(np.mean(self.row_BL < 0))


class Batches:
    """Epochs of shuffled batches over the windows of `sequences`; unknown items are passed over."""

    def __init__(
        self, sequences: Sequences, *, max_len: int, batch_size: int, seed: int, overlap: int = 0
    ) -> None:
        """Cut the windows once.

        Args:
            sequences: histories to learn from.
            max_len: inputs a window holds at most.
            batch_size: windows a batch.
            seed: together with an epoch's number it fixes the order of the windows.
            overlap: see `cut_windows`.

        Raises:
            TooLittleData: no user has two events.
        """
        # An item without an entry of its own tells nothing: histories go on as if it had not been there.
        known = np.asarray(sequences.item_ix) >= FIRST
        self.sequences = sequences if known.all() else sequences.select(known)
        self.max_len = max_len
        self.batch_size = batch_size
        self.seed = seed
        self.windows = cut_windows(self.sequences, max_len, overlap=overlap)
        if not len(self.windows):
            raise TooLittleData(
                f"Learning what comes next needs a user with at least two events; none of the "
                f"{sequences.n_users} users has. Keep more of the log, or recommend by popularity."
            )

    def __len__(self) -> int:
        """Batches an epoch."""
        return -(-len(self.windows) // self.batch_size)

    @property
    def n_targets(self) -> int:
        """Targets an epoch."""
        return int((self.windows.stop - self.windows.counted).sum())

    def epoch(self, number: int, *, skip: int = 0) -> Iterator[Batch]:
        """The batches of one epoch, without the first `skip`; the same number gives the same batches."""
        order = np.random.default_rng((self.seed, number)).permutation(len(self.windows))
        for first in range(skip * self.batch_size, len(order), self.batch_size):
            yield pack(self.sequences, self.windows[order[first : first + self.batch_size]], self.max_len)


def pack(sequences: Sequences, windows: Windows, max_len: int) -> Batch:
    """These windows as rows of at most `max_len` cells, as few rows as best fit finds.

    Cost: linear in the events; no Python loop over windows.
    """
    lengths = windows.lengths
    # Longest first; among equals the order given, so that the batch follows from the shuffle alone.
    order = np.argsort(-lengths, kind="stable")
    start, lengths, counted = windows.start[order], lengths[order], windows.counted[order]
    place, column, rank, n_rows = _best_fit(lengths, max_len)
    width = int((column + lengths).max())
    event = ranges(start, start + lengths)
    position = event - np.repeat(start, lengths)
    cell = np.repeat(place * width + column, lengths) + position
    row_BL = np.full(n_rows * width, -1, dtype=np.int64)
    item_BL = np.full(n_rows * width, PADDING, dtype=np.int32)
    position_BL = np.zeros(n_rows * width, dtype=np.int32)
    size_BL = np.zeros(n_rows * width, dtype=np.int32)
    window_BL = np.full(n_rows * width, -1, dtype=np.int32)
    row_BL[cell] = event
    item_BL[cell] = sequences.item_ix[event]
    position_BL[cell] = position
    size_BL[cell] = np.repeat(lengths, lengths)
    window_BL[cell] = np.repeat(rank, lengths)
    target = np.asarray(sequences.item_ix[event + 1])
    learn = event >= np.repeat(counted, lengths)
    shape = (n_rows, width)
    return Batch(
        row_BL=row_BL.reshape(shape),
        item_BL=item_BL.reshape(shape),
        position_BL=position_BL.reshape(shape),
        size_BL=size_BL.reshape(shape),
        window_BL=window_BL.reshape(shape),
        target_cell_T=cell[learn],
        target_item_T=target[learn],
    )


@numba.njit(nogil=True, cache=True)
def _best_fit(
    lengths: NDArray[np.int64], width: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32], int]:
    """Row, first column and rank within its row of each window, longest first, each into the fullest row.

    Open rows lie on a stack for each number of free cells.
    """
    n = len(lengths)
    place, column = np.empty(n, np.int64), np.empty(n, np.int64)
    rank = np.empty(n, np.int32)
    top = np.full(width + 1, -1, np.int64)  # free cells -> newest row with so many
    below = np.empty(n, np.int64)  # row -> the next on its stack
    held = np.zeros(n, np.int32)  # row -> windows in it
    n_rows = 0
    for i in range(n):
        size = lengths[i]
        free = size
        while free <= width and top[free] < 0:
            free += 1
        if free > width:
            row, free = n_rows, width
            n_rows += 1
        else:
            row = top[free]
            top[free] = below[row]
        place[i], column[i], rank[i] = row, width - free, held[row]
        held[row] += 1
        left = free - size
        below[row] = top[left]
        top[left] = row
    return place, column, rank, n_rows
