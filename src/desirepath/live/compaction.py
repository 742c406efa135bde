# SPDX-License-Identifier: Apache-2.0
"""Packs the live store into the workspace: behaviour into the event log, lists and feedback beside it.

The manifest of the event log says up to which event of which store it goes, and changes in one step with the
rows; so a cut at any moment neither loses nor doubles an event. It knows no server and no model.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import polars as pl
from sqlalchemy import Column, ColumnElement, Connection, Table, Text, cast, func, select, text

from desirepath.errors import ConfigError, DataError
from desirepath.events.cleaning import CleaningConfig
from desirepath.events.log import EventLog
from desirepath.events.manifest import IngestReport, Manifest
from desirepath.events.raw import FileUnderstanding, RawLog, canonical_log
from desirepath.live.actions import NOT_BEHAVIOUR
from desirepath.live.archive import FOLDER, Archive
from desirepath.live.erasure import begin_erasure, end_erasure
from desirepath.live.replay import Take, rebase
from desirepath.live.states import UserStates
from desirepath.live.store import LiveStore, now_us
from desirepath.live.tables import PACKED, PACKED_LISTS, events, impressions, marks, requests
from desirepath.schema import EVENT, EVENT_ID, REQUIRED, TIME, TIME_DTYPE
from desirepath.sequences import Sequences
from desirepath.workspace import Workspace

if TYPE_CHECKING:
    from desirepath.live.shared import SharedStates  # needs redis, which only those who share have running

DAY_US = 86_400_000_000
REMOVED_AT_ONCE = 5_000
"""Rows that one transaction removes, so that events that come meanwhile wait only a moment."""
KEEP_ALL = CleaningConfig(
    exact_duplicates=False,
    duplicate_event_ids=False,  # the store saw to that
    earliest=None,
    latest=datetime(9999, 12, 31, tzinfo=UTC),
    cancellations=False,
    robots=False,
    html_entities=False,
)
"""What was acknowledged is kept, whatever it looks like."""
FROM_STORE = re.compile(r"live:(?P<store>[0-9a-f]+):(?P<first>\d+)-(?P<last>\d+)")
"""Fingerprint of an intake from a live store."""
_OTHERS = ("query", "device", "country", "region", "lat", "lon", "source", "context")
"""What an event may carry in the column `more`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompactionConfig:
    """How long packed rows stay in the live store, and how much is packed at once."""

    keep_days: float = 7.0
    """Days for which packed events and lists stay in the store, at least 0. For so long an event that is sent
    again is known by its id."""
    keep_requests_days: float = 1.0
    """Days for which an Idempotency-Key is remembered, at least 0."""
    rows_at_once: int = 500_000
    """Events of one intake into the log, at least 1; about 1 KiB of memory each."""
    refuse_days: float = 30.0
    """Days for which late events of an erased user, of before his erasure, are refused, at least 0. For so
    long a keyed hash of his id stays."""

    def __post_init__(self) -> None:
        for name in ("keep_days", "keep_requests_days", "refuse_days", "rows_at_once"):
            least = int(name == "rows_at_once")
            if not getattr(self, name) >= least:
                raise ConfigError(f"{name} must be at least {least}; got {getattr(self, name)}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Compacted:
    """What one compaction did."""

    behaviour: int = 0
    """Events that became part of the event log."""
    feedback: int = 0
    """Impressions and ratings that were written beside it."""
    lists: int = 0
    """Served lists that were written beside it."""
    removed: int = 0
    """Rows that left the store: packed before, and older than they are kept."""
    until: int = 0
    """The last event that is packed."""
    erased_users: int = 0
    """Users who left all files, having been erased since the last time."""
    erased_events: int = 0
    """Events of theirs that left the log."""
    is_settled: bool = True
    """Whether what was deleted is in no file of the store any more; see `LiveStore.settle`."""


def compact(workspace: Workspace, store: LiveStore, config: CompactionConfig | None = None) -> Compacted:
    """Pack everything that the store has now, rid all files of who was erased, and remove what is old.

    Raises:
        WorkspaceError: another process writes to the workspace, or the disk is full; nothing is lost then,
            and the next call goes on.
        DataError: the workspace's log has no true times, which the events of a live store have.

    Cost: a pass over the new events; memory for `rows_at_once` of them. Others may write meanwhile.
    """
    config = config or CompactionConfig()
    with workspace.lock():
        log = EventLog(workspace.events)
        archive = Archive(workspace.folder / FOLDER, store.store_id)
        archive.settle(packed_until(log.manifest, store.store_id))
        _number_after(store, log.manifest, archive)
        done = Compacted()
        while (packed := _pack_events(log, archive, store, config.rows_at_once)) is not None:
            done = replace(done, behaviour=done.behaviour + packed[0], feedback=done.feedback + packed[1])
        while n := _pack_lists(archive, store, config.rows_at_once):
            done = replace(done, lists=done.lists + n)
        until, lists_until = packed_until(log.manifest, store.store_id), archive.lists_until()
        erasure = begin_erasure(workspace, store, log, archive)
    end_erasure(workspace, store, erasure, config.refuse_days)
    store.write(lambda connection: _move_marks(connection, until, lists_until)).result()
    removed = _remove(store, events, events.c.received_us, until, config.keep_days)
    removed += _remove(store, impressions, impressions.c.time_us, lists_until, config.keep_days)
    cutoff = now_us() - round(config.keep_requests_days * DAY_US)
    store.write(lambda c: c.execute(requests.delete().where(requests.c.time_us < cutoff))).result()
    return replace(
        done,
        removed=removed,
        until=until,
        erased_users=len(erasure.before_us),
        erased_events=erasure.rows,
        is_settled=store.settle() if erasure.before_us else True,
    )


def packed_until(manifest: Manifest, store_id: str, n_events: int | None = None) -> int:
    """The last event of a store that a log has; 0 where it has none.

    Args:
        manifest: of the event log.
        store_id: which store.
        n_events: asks for sequences of so many events, built from the log when it was shorter.

    Raises:
        DataError: the log has events of the store, but never had just so many in all.
    """
    if all(_range_of(ingest, store_id) is None for ingest in manifest.ingests):
        return 0
    last, rows, fits = 0, 0, n_events in (None, 0)
    for ingest in manifest.ingests:
        rows += ingest.rows_kept
        if n_events is not None and rows > n_events:
            break
        fits = fits or rows == n_events
        found = _range_of(ingest, store_id)
        last = last if found is None else max(last, found[1])
    if not fits:
        raise DataError(
            f"Sequences must hold the event log as it was after some intake; it never had {n_events} events. "
            "Run `desirepath run` again to build them anew."
        )
    return last


def _range_of(ingest: IngestReport, store_id: str) -> tuple[int, int] | None:
    for fingerprint in ingest.fingerprints:
        found = FROM_STORE.fullmatch(fingerprint)
        if found and found["store"] == store_id:
            return int(found["first"]), int(found["last"])
    return None


def _pack_events(log: EventLog, archive: Archive, store: LiveStore, n: int) -> tuple[int, int] | None:
    """Pack the next events, up to n; how many were behaviour and how many feedback, None where none wait."""
    before = packed_until(log.manifest, store.store_id)
    columns = [*(c for c in events.c if c.name != "more"), cast(events.c.more, Text).label("more")]
    schema = {
        "seq": pl.Int64(),
        "time_us": pl.Int64(),
        "received_us": pl.Int64(),
        "value": pl.Float64(),
        "position": pl.Int32(),
    }
    rows = _read(store, columns, events.c.seq, before, n, schema)
    if not rows.height:
        return None
    last = int(rows["seq"][-1])
    rows = rows.with_columns(pl.col("time_us").cast(TIME_DTYPE).alias(TIME))
    is_feedback = pl.col("action").is_in(list(NOT_BEHAVIOUR))
    feedback = rows.filter(is_feedback).drop("time_us")
    archive.prepare_feedback(feedback, before + 1, last)
    behaviour = _canonical(rows.filter(~is_feedback))
    log.append(_raw(behaviour, f"live:{store.store_id}:{before + 1}-{last}"), KEEP_ALL)
    archive.settle(last)
    return behaviour.height, feedback.height


def _pack_lists(archive: Archive, store: LiveStore, n: int) -> int:
    """Write the next served lists, up to n; how many there were."""
    before = archive.lists_until()
    columns = [
        *(c for c in impressions.c if c.name != "slate"),
        cast(impressions.c.slate, Text).label("slate"),
    ]
    rows = _read(store, columns, impressions.c.seq, before, n, {"seq": pl.Int64(), "time_us": pl.Int64()})
    if rows.height:
        rows = rows.with_columns(pl.col("time_us").cast(TIME_DTYPE).alias(TIME)).drop("time_us")
        archive.add_lists(rows, before + 1, int(rows["seq"][-1]))
    return rows.height


def _read(
    store: LiveStore,
    columns: Iterable[ColumnElement[Any]],
    seq: Column[Any],
    after: int,
    n: int,
    numbers: Mapping[str, pl.DataType],
) -> pl.DataFrame:
    """Up to n rows with greater numbers, as a table; columns that `numbers` does not name are text."""
    chosen = select(*columns).where(seq > after).order_by(seq).limit(n)
    schema = {name: numbers.get(name, pl.String()) for name in chosen.selected_columns.keys()}  # noqa: SIM118
    return store.table(chosen, schema)


def _canonical(rows: pl.DataFrame) -> pl.DataFrame:
    """Events as the log has them; columns that say nothing are left out, but for the ids of events."""
    more = pl.col("more")
    others = [more.str.json_path_match(f"$.{name}").alias(name) for name in _OTHERS]
    whole = rows.with_columns(others).with_columns(
        pl.col(name).cast(EVENT[name]) for name in _OTHERS if name in EVENT
    )
    names = [*REQUIRED, EVENT_ID, "session_id", "value", "position", "recommendation_id", *_OTHERS]
    kept = [
        name
        for name in names
        if name in REQUIRED or name == EVENT_ID or whole[name].null_count() < whole.height
    ]
    return whole.select(kept)


def _raw(rows: pl.DataFrame, fingerprint: str) -> RawLog:
    raw = canonical_log(rows, "the live store")
    source = FileUnderstanding(
        name=fingerprint,
        format="live store",
        dialect="",
        encoding="",
        compression="",
        rows=rows.height,
        fingerprint=fingerprint,
    )
    return replace(raw, understanding=replace(raw.understanding, files=(source,)))


def _move_marks(connection: Connection, until: int, lists_until: int) -> None:
    for name, value in ((PACKED, until), (PACKED_LISTS, lists_until)):
        if not connection.execute(marks.update().where(marks.c.name == name).values(value=value)).rowcount:
            connection.execute(marks.insert().values(name=name, value=value))


def _remove(store: LiveStore, table: Table, moment: Column[Any], until: int, days: float) -> int:
    """Remove rows that are packed and old, oldest first, a few at a time; how many they were."""
    cutoff, seq, total = now_us() - round(days * DAY_US), table.c.seq, 0
    first: int | None = store.read(lambda c: c.execute(select(func.min(seq))).scalar())
    while first is not None and first <= until:
        last = min(until, first + REMOVED_AT_ONCE - 1)
        n, first = store.write(_removal(table, (first, last), moment < cutoff)).result()
        if not n:
            break
        total += n
    return total


def _removal(
    table: Table, numbers: tuple[int, int], is_old: ColumnElement[bool]
) -> Callable[[Connection], tuple[int, int | None]]:
    """Work that removes the old rows among some, and says how many, and which number is the next."""
    seq = table.c.seq

    def work(connection: Connection) -> tuple[int, int | None]:
        gone = connection.execute(table.delete().where(seq.between(*numbers), is_old))
        following = connection.execute(select(func.min(seq)).where(seq > numbers[1])).scalar()
        return gone.rowcount, following

    return work


def resume(workspace: Workspace, store: LiveStore, base: Sequences) -> int:
    """The last event of the store that `base` has: what comes after it is to be replayed.

    A store that is older than the log, such as one restored from a backup, numbers what comes from now on
    beyond what is packed; otherwise new events would take numbers of old ones and pass for packed.

    Args:
        workspace: whose log `base` was built from, now or when it was shorter.
        store: where events are kept.
        base: the packed log.
    """
    manifest = EventLog(workspace.events).manifest
    _number_after(store, manifest, Archive(workspace.folder / FOLDER, store.store_id))
    return packed_until(manifest, store.store_id, base.n_events)


def _number_after(store: LiveStore, manifest: Manifest, archive: Archive) -> None:
    packed = {
        events.name: packed_until(manifest, store.store_id),
        impressions.name: archive.lists_until(),
    }

    def work(connection: Connection) -> None:
        for name, last in packed.items():
            if connection.dialect.name == "postgresql":
                numbers = f"pg_get_serial_sequence('{name}', 'seq')"
                given = f"coalesce(pg_sequence_last_value({numbers}), 0)"
                raised = text(f"SELECT setval({numbers}, :last) WHERE {given} < :last")
            else:
                known = text("SELECT count(*) FROM sqlite_sequence WHERE name = :name").bindparams(name=name)
                if not connection.execute(known).scalar():
                    first = text("INSERT INTO sqlite_sequence (name, seq) VALUES (:name, 0)")
                    connection.execute(first.bindparams(name=name))
                raised = text("UPDATE sqlite_sequence SET seq = :last WHERE name = :name AND seq < :last")
                raised = raised.bindparams(name=name)
            connection.execute(raised.bindparams(last=last))

    store.write(work).result()


def stand_on(
    workspace: Workspace,
    store: LiveStore,
    states: UserStates | SharedStates,
    base: Sequences,
    item: Take,
    action: Take,
) -> int:
    """Let states that are being served stand on sequences built from the log after `compact`.

    Histories stay as they are, and events may come meanwhile; what is packed leaves the memory.

    Args:
        workspace: whose log `base` was built from.
        store: where events are kept.
        states: what is being served.
        base: the packed log.
        item: the catalogue's index of an item.
        action: likewise of an action.

    Returns:
        The last event of the store that `base` has.
    """
    until = resume(workspace, store, base)
    if isinstance(states, UserStates):
        rebase(store, states, base, until, item, action).result()
    else:
        states.stand_on(base, until)
    return until
