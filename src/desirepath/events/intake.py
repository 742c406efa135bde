# SPDX-License-Identifier: Apache-2.0
"""A raw log on its way into the event log: read once, coded, spilled by user, ordered and cleaned.

Memory holds one batch while reading and one stretch of users a thread afterwards, so that logs larger
than memory pass. It knows the rules, but not where their result is kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from desirepath.errors import DataError
from desirepath.events.cleaning import CleaningConfig, plan_mending, row_rules
from desirepath.events.ids import IdTable
from desirepath.events.rarity import find_core
from desirepath.events.raw import RawLog
from desirepath.events.rejects import ROW, Rejects
from desirepath.events.repeats import exact_repeats, hash_ids, later_of_same
from desirepath.events.robots import DAY_US, REASONS, clock_resolution, find_robots
from desirepath.events.rows import Rows, order_rows, user_offsets
from desirepath.events.spill import Spill, write_all
from desirepath.schema import ACTION, DEFAULT_ACTION, EVENT_ID, ITEM, REQUIRED, TIME, USER

BATCH_ROWS = 2**20
STRETCH_ROWS = 2**22
"""Rows ordered at once; a stretch takes about 100 bytes a row while it is worked on."""
N_THREADS = 2
MAX_ACTIONS = 2**15 - 4

Progress = Callable[[str, float, str], None]
Earlier = Callable[[tuple[int, int], tuple[int, int]], Rows | None]
"""Gives the rows that a log has already of users (first, stop) within moments (first, last)."""
Kept = TypeVar("Kept")
READING, ORDERING = "Reading and cleaning", "Ordering and keeping"


def silent(step: str, share: float, note: str = "") -> None:
    """Report to no one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """What a log knows before an intake."""

    ids: Mapping[str, pl.Series]
    """USER, ITEM and ACTION to the ids at their positions."""
    event_hashes: Callable[[], Iterator[NDArray[np.uint64]]] = lambda: iter(())
    """Gives the hashes of the event ids that the log has."""
    rows: Earlier = lambda users, moments: None


class Intake:
    """One raw log being taken in: `read` first, then `settle`."""

    def __init__(
        self, raw: RawLog, config: CleaningConfig, folder: Path, before: Before, rejects: Rejects
    ) -> None:
        """Prepare to read `raw`, with temporary files in `folder`."""
        self.raw, self.config, self.rejects = raw, config, rejects
        self.mended: Counter[str] = Counter()
        self.n_read = 0
        self._folder, self._before = folder, before
        self._tables = {name: IdTable(before.ids[name]) for name in (USER, ITEM, ACTION)}
        self._schema = raw.lazy.collect_schema()
        self._hashed = config.duplicate_event_ids and EVENT_ID in self._schema
        self._numbered = self._hashed or rejects.path is not None
        self.extra = [name for name in self._schema if name not in REQUIRED]
        self._spill = Spill(folder)
        self._repeated_rows = np.zeros(0, np.int64)
        self._resolution_us = DAY_US
        self._moments = (np.iinfo(np.int64).max, np.iinfo(np.int64).min)
        self.ids: dict[str, pl.Series] = {}

    def read(self, progress: Progress = silent) -> None:
        """Read all rows, apply the rules that judge a row by itself, and spill what stays."""
        lazy = self.raw.lazy
        rules = row_rules(self.config, self._schema, self.raw.understanding)
        mending = plan_mending(self.config, lazy)
        total = _expected_rows(self.raw)
        self.rejects.start(self._schema, self.raw.unreadable)
        with (self._folder / "hashes.bin").open("wb", buffering=0) as hashes:
            for batch in lazy.collect_batches(chunk_size=BATCH_ROWS, maintain_order=True, engine="streaming"):
                first = self.n_read
                self.n_read += batch.height
                if self._numbered:
                    batch = batch.with_columns(pl.int_range(first, self.n_read, dtype=pl.Int64).alias(ROW))
                batch = mending.apply(self._judge(batch, rules), self.mended)
                if batch.height:
                    if self._hashed:
                        write_all(hashes, hash_ids(batch.get_column(EVENT_ID)))
                        write_all(hashes, batch.get_column(ROW).to_numpy())
                    self._spill.add(self._code(batch))
                progress(READING, self.n_read / total if total else 0.0, f"{self.n_read:,} rows")
        self.ids = {name: table.ids() for name, table in self._tables.items()}
        if self._hashed:
            self._repeated_rows = self._find_repeated_ids()

    def _judge(self, batch: pl.DataFrame, rules: Mapping[str, pl.Expr]) -> pl.DataFrame:
        bad = batch.select(pl.any_horizontal(rules.values()).fill_null(value=False)).to_series()
        if not bad.any():
            return batch
        left = batch.filter(bad)
        for reason, rule in rules.items():
            struck = left.select(rule.fill_null(value=False)).to_series()
            if struck.any():
                self.rejects.add(reason, left.filter(struck))
            left = left.filter(~struck)
        return batch.filter(~bad)

    def _code(self, batch: pl.DataFrame) -> Rows:
        batch = batch.with_columns(pl.col(ACTION).fill_null(DEFAULT_ACTION))
        with ThreadPoolExecutor(2) as pool:
            user_ix, item_ix, action_ix = pool.map(
                lambda name: self._tables[name].encode(batch.get_column(name)), (USER, ITEM, ACTION)
            )
        if int(action_ix.max()) >= MAX_ACTIONS:
            raise DataError(
                f"A log must have at most {MAX_ACTIONS:,} different actions; this one has more, so that its "
                "action column holds something else. Name the right one with --action, or --action none."
            )
        time_us = batch.get_column(TIME).to_physical().to_numpy()
        self._resolution_us = clock_resolution(time_us, self._resolution_us)
        self._moments = (
            min(self._moments[0], int(time_us.min())),
            max(self._moments[1], int(time_us.max())),
        )
        extra = [*self.extra, *([ROW] if self._numbered else [])]
        return Rows(
            user_ix=user_ix,
            item_ix=item_ix,
            action_ix=action_ix.astype(np.int16),
            time_us=time_us,
            extra=batch.select(extra) if extra else pl.DataFrame(),
        )

    def _find_repeated_ids(self) -> NDArray[np.int64]:
        """Row numbers whose event id came before; hashes are compared a sixteenth at a time."""
        found = []
        for sixteenth in range(16):
            pieces = [
                (piece[mine], np.full(int(mine.sum()), -1, np.int64))
                for piece in self._before.event_hashes()
                for mine in [_in_sixteenth(piece, sixteenth)]
            ]
            for hashes, numbers in self._hash_pieces():
                mine = _in_sixteenth(hashes, sixteenth)
                pieces.append((hashes[mine], numbers[mine]))
            if pieces:
                numbers = np.concatenate([piece[1] for piece in pieces])
                later = later_of_same(np.concatenate([piece[0] for piece in pieces]))
                found.append(numbers[later])
        repeated = np.concatenate(found) if found else np.zeros(0, np.int64)
        return np.sort(repeated[repeated >= 0])

    def _hash_pieces(self) -> Iterator[tuple[NDArray[np.uint64], NDArray[np.int64]]]:
        sizes = np.diff(self._spill.starts)
        with (self._folder / "hashes.bin").open("rb") as file:
            for n in sizes.tolist():
                hashes = np.fromfile(file, np.uint64, 2 * n).reshape(-1, 2)
                yield hashes, np.fromfile(file, np.int64, n)

    def settle(self, keep: Callable[[int, Rows], Kept], progress: Progress = silent) -> list[Kept]:
        """Order and clean the rows, stretch by stretch, and hand each to `keep`; its answers, in order.

        `keep` is called from several threads, with the number of the stretch and its rows (maybe none).
        """
        stretches = self._spill.stretches(STRETCH_ROWS)
        rare = self.config.min_user_events > 1 or self.config.min_item_events > 1
        work: Callable[[int], Kept]
        if rare:
            passed = _each(len(stretches), lambda n: self._put_aside(n, self._settled(stretches[n])))
            core = self._core([path for path in passed if path is not None])

            def work(number: int) -> Kept:
                return keep(number, _without_number(self._in_core(passed[number], *core)))
        else:

            def work(number: int) -> Kept:
                return keep(number, _without_number(self._settled(stretches[number])))

        return _each(len(stretches), work, lambda done: progress(ORDERING, done / len(stretches), ""))

    def _settled(self, stretch: tuple[int, int]) -> Rows:
        rows = self._spill.read(*stretch).ordered()
        if self.config.exact_duplicates:
            rows = self._drop(rows, "exact_duplicate", exact_repeats(_without_number(rows)))
        if len(self._repeated_rows):
            numbers = rows.extra.get_column(ROW).to_numpy()
            place = np.searchsorted(self._repeated_rows, numbers)
            place[place == len(self._repeated_rows)] = 0
            rows = self._drop(rows, "duplicate_event_id", self._repeated_rows[place] == numbers)
        if self.config.exact_duplicates and len(rows):
            rows = self._drop_known(rows, stretch)
        return self._drop_robots(rows) if self.config.robots else rows

    def _drop_known(self, rows: Rows, stretch: tuple[int, int]) -> Rows:
        earlier = self._before.rows(stretch, self._moments)
        if earlier is None or not len(earlier):
            return rows
        new = _without_number(rows)
        both = Rows.joined([earlier, new])
        order = order_rows(both.user_ix, both.time_us)
        again = exact_repeats(both.take(order))
        known = np.zeros(len(both), np.bool_)
        known[order[again]] = True
        return self._drop(rows, "already_in_log", known[len(earlier) :])

    def _drop_robots(self, rows: Rows) -> Rows:
        if self.raw.understanding.ordered_by_file or not len(rows):
            return rows
        offsets = user_offsets(rows.user_ix)
        known_us = round(self.raw.understanding.time.resolution_s * 1e6)
        flags = find_robots(
            rows.time_us,
            offsets,
            max_events_a_day=self.config.max_events_a_day,
            min_regular_gaps=self.config.min_regular_gaps,
            resolution_us=max(self._resolution_us, known_us),
        )
        if not flags.any():
            return rows
        each = np.repeat(flags, np.diff(offsets))
        for flag, reason in REASONS.items():
            self._drop(rows, reason, each == flag)
        return rows.take(each == 0)

    def _drop(self, rows: Rows, reason: str, bad: NDArray[np.bool_]) -> Rows:
        """The rows without the bad ones, which are counted and shown."""
        n = int(bad.sum())
        if not n:
            return rows
        if self.rejects.path is None:
            self.rejects.count(reason, n)
        else:
            self.rejects.add(reason, self.decoded(rows.take(bad)))
        return rows.take(~bad)

    def decoded(self, rows: Rows) -> pl.DataFrame:
        """Rows with their outside ids."""
        return pl.DataFrame(
            [
                self.ids[USER].gather(pl.Series(rows.user_ix)).alias(USER),
                self.ids[ITEM].gather(pl.Series(rows.item_ix)).alias(ITEM),
                self.ids[ACTION].gather(pl.Series(rows.action_ix)).alias(ACTION),
                pl.Series(TIME, rows.time_us).cast(REQUIRED[TIME]),
                *rows.extra.get_columns(),
            ]
        )

    def _put_aside(self, number: int, rows: Rows) -> Path | None:
        if not len(rows):
            return None
        folder = self._folder / f"settled-{number}"
        folder.mkdir()
        for name in ("user_ix", "item_ix", "action_ix", "time_us"):
            np.save(folder / f"{name}.npy", getattr(rows, name))
        if rows.extra.width:
            rows.extra.write_ipc(folder / "extra.arrow")
        return folder

    def _core(self, passed: list[Path]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        return find_core(
            lambda: ((np.load(p / "user_ix.npy"), np.load(p / "item_ix.npy")) for p in passed),
            len(self.ids[USER]),
            len(self.ids[ITEM]),
            self.config.min_user_events,
            self.config.min_item_events,
        )

    def _in_core(self, path: Path | None, users: NDArray[np.bool_], items: NDArray[np.bool_]) -> Rows:
        if path is None:
            return Rows.none()
        names = ("user_ix", "item_ix", "action_ix", "time_us")
        extra = path / "extra.arrow"
        rows = Rows(
            **{name: np.load(path / f"{name}.npy") for name in names},
            extra=pl.read_ipc(extra) if extra.exists() else pl.DataFrame(),
        )
        rows = self._drop(rows, "rare_user", ~users[rows.user_ix])
        return self._drop(rows, "rare_item", ~items[rows.item_ix])

    def close(self) -> None:
        """Close the temporary files."""
        self._spill.close()


def _each(n: int, work: Callable[[int], Kept], done: Callable[[int], None] = lambda n: None) -> list[Kept]:
    """`work` for each number below n, on a few threads; the answers in order."""
    answers = []
    with ThreadPoolExecutor(N_THREADS) as pool:
        try:
            for answer in pool.map(work, range(n)):
                answers.append(answer)
                done(len(answers))
        except BaseException:
            pool.shutdown(cancel_futures=True)  # or else an interrupt waits for all that is left
            raise
    return answers


def _without_number(rows: Rows) -> Rows:
    return replace(rows, extra=rows.extra.drop(ROW)) if ROW in rows.extra.columns else rows


def _in_sixteenth(hashes: NDArray[np.uint64], sixteenth: int) -> NDArray[np.bool_]:
    mine: NDArray[np.bool_] = (hashes[:, 0] >> np.uint64(60)) == sixteenth
    return mine


def _expected_rows(raw: RawLog) -> int:
    """Rows that the files say they have, or 0 when one does not say."""
    rows = [file.rows for file in raw.understanding.files]
    return sum(rows) if rows and min(rows) >= 0 else 0
