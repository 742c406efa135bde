# SPDX-License-Identifier: Apache-2.0
"""The one builder of sequences: from the event log, or from a few events at hand while serving.

Both order rows with `Rows.ordered` and turn them into columns with `_columns`, so that the same events
give the same sequence everywhere. It knows the log's rows and vocabularies; nothing above it does.
"""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numba
import numpy as np
import polars as pl
from numpy.typing import NDArray

from desirepath.errors import DataError
from desirepath.events.ids import IdTable
from desirepath.events.intake import Progress, silent
from desirepath.events.log import EventLog
from desirepath.events.parts import read_groups
from desirepath.events.rows import Rows
from desirepath.events.spill import Spill, write_all
from desirepath.schema import ACTION, FIRST, ITEM, REQUIRED, SESSION, TIME, TIME_DTYPE, UNKNOWN, USER, VALUE
from desirepath.sequences.packed import Sequences, replaced, write_words
from desirepath.sequences.vocabulary import Vocabulary

WORDS = ("device", "country", "region", "source")
"""Text columns that become coded context, where a log has them."""
MAX_WORDS = 2**15 - FIRST
"""Distinct words up to which a column is small enough to be context; others stay in the log."""
STRETCH_ROWS = 2**22
TYPES: Mapping[str, type[np.generic]] = {
    "item_ix": np.int32,
    "action_ix": np.int16,
    "time_s": np.float64,
    VALUE: np.float32,
    "session_ix": np.int32,
    **dict.fromkeys(WORDS, np.int16),
}
STEP = "Packing sequences"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Words:
    """The vocabularies that one build codes with."""

    users: Vocabulary
    items: Vocabulary
    actions: Vocabulary
    labels: Mapping[str, Vocabulary]


def build_sequences(
    log: EventLog,
    folder: Path,
    *,
    previous: Sequences | None = None,
    on_progress: Progress = silent,
) -> Sequences:
    """Pack the whole event log into `folder` and open it.

    Users, items and actions get indexes in the order in which the log first saw them, and an index
    once given stays: those of the log do by themselves, those of `previous` are taken over first.
    Events lie by user, then time; tied times keep the order of the files, and those of the order in which
    files were taken in.

    Context, where the log has it: `value` float32 (NaN for none), `session_ix` int32 (0 for a user's
    first session, -1 for none), and device, country, region and source as int16 with `labels`.

    Args:
        log: the event log; at least one event.
        folder: where the packed arrays go. Sequences in it are replaced at the end; maps of them that are
            open stay valid.
        previous: sequences whose vocabularies are to be extended, such as those a model was trained on.
        on_progress: called with a title, the share done and a note.

    Raises:
        DataError: the log is empty.

    Cost: one pass over the log in pieces, each ordered only where it is not so already.
    """
    if not len(log):
        raise DataError(f"The event log {log.folder} holds no events. Run `desirepath ingest` first.")
    words = _vocabularies(log, previous)
    has = log.manifest.columns
    context = [name for name in (VALUE, "session_ix") if _source(name) in has] + list(words.labels)
    counts = np.zeros(len(words.users), np.int64)
    done = 0
    with replaced(folder) as (part, header), tempfile.TemporaryDirectory(dir=folder) as spare:
        names = ["item_ix", "action_ix", "time_s", *context]
        files = {name: _column_file(part(f"{name}.npy"), TYPES[name], len(log)) for name in names}
        try:
            for rows in _ordered(log, words, [_source(name) for name in context], Path(spare)):
                columns = _columns(rows, context, words.labels)
                for name, file in files.items():
                    write_all(file, columns[name])
                _count(rows.user_ix, counts)
                done += len(rows)
                on_progress(STEP, done / len(log), f"{done:,} events")
        finally:
            for file in files.values():
                file.close()
        assert done == len(log), "every event of the log is packed once"
        with part("offsets.npy").open("wb") as file:
            np.save(file, np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)]))
        write_words(part, words.users, words.items, words.actions, words.labels)
        header |= {
            "n_users": len(words.users),
            "n_events": done,
            "n_items": len(words.items) - FIRST,
            "context": sorted(context),
            "labels": sorted(words.labels),
        }
    return Sequences.load(folder)


def pack_events(events: pl.DataFrame, *, like: Sequences | None = None) -> Sequences:
    """A few events at hand as sequences: a user who is being served, or a small world.

    With `like`, items, actions and coded context take its indexes, and what it does not know becomes
    1 (unknown); without it they are numbered in order of first appearance. Users are always those of
    `events`, in order of first appearance.

    Args:
        events: canonical columns user_id, item_id, action and time, without null, and optional context.
        like: sequences whose vocabularies count, such as those a model was trained on.

    Raises:
        DataError: a required column is missing or has gaps.

    >>> from datetime import UTC, datetime
    >>> noon = datetime(2026, 5, 1, 12, tzinfo=UTC)
    >>> events = pl.DataFrame({"user_id": ["u", "u"], "item_id": ["b", "a"], "action": ["view", "buy"],
    ...                        "time": [noon, noon.replace(hour=9)]})
    >>> pack_events(events).to_frame()["item_id"].to_list()
    ['a', 'b']
    """
    for name in REQUIRED:
        if name not in events.columns:
            raise DataError(f"Events must have the column '{name}'; they have {', '.join(events.columns)}.")
        if events.get_column(name).null_count():
            raise DataError(
                f"'{name}' must have no gaps; {events.get_column(name).null_count()} rows have one."
            )
    empty = Vocabulary([])
    labels = (
        dict(like.labels) if like else {n: empty.extended(events[n]) for n in WORDS if n in events.columns}
    )
    words = _Words(
        users=Vocabulary([], reserved=0).extended(events[USER]),
        items=like.items if like else empty.extended(events[ITEM]),
        actions=like.actions if like else empty.extended(events[ACTION]),
        labels=labels,
    )
    if like:
        context = list(like.context)
    else:
        context = [n for n in (VALUE, "session_ix") if _source(n) in events.columns] + list(labels)
    rows = Rows(
        user_ix=words.users.encode(events[USER]).astype(np.int32),
        item_ix=words.items.encode(events[ITEM]).astype(np.int32),
        action_ix=words.actions.encode(events[ACTION]).astype(np.int16),
        time_us=events[TIME].cast(TIME_DTYPE).to_physical().to_numpy(),
        extra=events.select(_source(n) for n in context if _source(n) in events.columns),
    ).ordered()
    columns = _columns(rows, context, labels)
    counts = np.bincount(rows.user_ix, minlength=len(words.users))
    return Sequences(
        offsets=np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)]),
        item_ix=columns["item_ix"],
        action_ix=columns["action_ix"],
        time_s=columns["time_s"],
        users=words.users,
        items=words.items,
        actions=words.actions,
        context={name: columns[name] for name in context},
        labels=labels,
    )


def _source(name: str) -> str:
    """The column of the log behind a column of context."""
    return SESSION if name == "session_ix" else name


def _vocabularies(log: EventLog, previous: Sequences | None) -> _Words:
    old = previous.labels if previous else {}
    labels = {}
    for name in WORDS:
        if name in log.manifest.columns:
            found = log.scan().select(pl.col(name).unique(maintain_order=True).drop_nulls())
            words = old.get(name, Vocabulary([])).extended(found.collect(engine="streaming").to_series())
            if len(words) - FIRST <= MAX_WORDS:
                labels[name] = words
    if previous is None:
        return _Words(
            users=Vocabulary(log.ids(USER), reserved=0),
            items=Vocabulary(log.ids(ITEM)),
            actions=Vocabulary(log.ids(ACTION)),
            labels=labels,
        )
    return _Words(
        users=previous.users.extended(log.ids(USER)),
        items=previous.items.extended(log.ids(ITEM)),
        actions=previous.actions.extended(log.ids(ACTION)),
        labels=labels,
    )


def _ordered(log: EventLog, words: _Words, columns: list[str], spare: Path) -> Iterator[Rows]:
    """All rows of the log, coded and in order, a stretch of users at a time."""
    encoders = {USER: words.users.encode, ITEM: words.items.encode, ACTION: words.actions.encode}
    for encode in encoders.values():
        encode([])  # makes the tables here, before several threads ask for them
    parts = [(log.folder / part.file, part) for part in log.manifest.parts]
    if words.users.ids.head(log.manifest.n_users).equals(log.ids(USER)):

        def read(stretch: tuple[int, int]) -> Rows:
            found = []
            for path, part in parts:
                for rows in read_groups(path, part, encoders, columns, stretch):
                    mine = (rows.user_ix >= stretch[0]) & (rows.user_ix < stretch[1])
                    found.append(rows if mine.all() else rows.take(mine))
            return Rows.joined(found).ordered()

        yield from _ahead(read, _stretches(log))
        return
    spill = Spill(spare)
    try:
        for path, part in parts:
            for rows in read_groups(path, part, encoders, columns):
                spill.add(rows)
        yield from _ahead(lambda stretch: spill.read(*stretch).ordered(), spill.stretches(STRETCH_ROWS))
    finally:
        spill.close()


def _stretches(log: EventLog) -> list[tuple[int, int]]:
    """Stretches of users (first, stop) of about `STRETCH_ROWS` rows, cut where row groups begin."""
    groups = sorted((g.first_user, g.rows) for part in log.manifest.parts for g in part.groups)
    cuts, rows = [0], 0
    for first_user, n in groups:
        if rows + n > STRETCH_ROWS and first_user > cuts[-1]:
            cuts.append(first_user)
            rows = 0
        rows += n
    return list(zip(cuts, [*cuts[1:], log.manifest.n_users], strict=True))


def _ahead(
    work: Callable[[tuple[int, int]], Rows], stretches: list[tuple[int, int]], n_threads: int = 2
) -> Iterator[Rows]:
    """`work` for each stretch, in order, while at most `n_threads` wait or are made."""
    with ThreadPoolExecutor(n_threads) as pool:
        waiting: deque[Future[Rows]] = deque()
        for stretch in stretches:
            waiting.append(pool.submit(work, stretch))
            if len(waiting) >= n_threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _columns(rows: Rows, context: list[str], labels: Mapping[str, Vocabulary]) -> dict[str, NDArray[Any]]:
    """The packed columns of ordered rows."""
    columns: dict[str, NDArray[Any]] = {
        "item_ix": rows.item_ix,
        "action_ix": rows.action_ix,
        "time_s": rows.time_us / 1e6,
    }
    for name in context:
        if _source(name) not in rows.extra.columns:
            missing = {VALUE: np.nan, "session_ix": -1}.get(name, UNKNOWN)
            columns[name] = np.full(len(rows), missing, TYPES[name])
        elif name == VALUE:
            columns[name] = rows.extra[name].cast(pl.Float32).fill_null(np.nan).to_numpy()
        elif name == "session_ix":
            columns[name] = _sessions(rows.user_ix, rows.extra[SESSION])
        else:
            columns[name] = labels[name].encode(rows.extra[name]).astype(TYPES[name])
    return columns


def _sessions(user_ix: NDArray[np.int32], session: pl.Series) -> NDArray[np.int32]:
    """The number of each row's session among its user's, in order of appearance; -1 for none."""
    table = IdTable()
    known = session.is_not_null().to_numpy()
    code = np.full(len(session), -1, np.int32)
    code[known] = table.encode(session.drop_nulls())
    numbered: NDArray[np.int32] = _number_sessions(user_ix, code, len(table))
    return numbered


@numba.njit(nogil=True, cache=True)
def _number_sessions(user_ix, code, n_codes):  # type: ignore[no-untyped-def]
    number = np.empty(n_codes, np.int32)
    owner = np.full(n_codes, -1, np.int32)
    out = np.full(len(code), -1, np.int32)
    next_number = 0
    for row in range(len(code)):
        if row == 0 or user_ix[row] != user_ix[row - 1]:
            next_number = 0
        session = code[row]
        if session >= 0:
            if owner[session] != user_ix[row]:
                owner[session] = user_ix[row]
                number[session] = next_number
                next_number += 1
            out[row] = number[session]
    return out


@numba.njit(nogil=True, cache=True)
def _count(user_ix, counts):  # type: ignore[no-untyped-def]
    for user in user_ix:
        counts[user] += 1


def _column_file(path: Path, dtype: type[np.generic], n: int) -> IO[bytes]:
    """A .npy file whose header is written and whose n values are to follow."""
    file = path.open("wb", buffering=0)
    description = {
        "descr": np.lib.format.dtype_to_descr(np.dtype(dtype)),
        "fortran_order": False,
        "shape": (n,),
    }
    np.lib.format.write_array_header_2_0(file, description)
    return file
