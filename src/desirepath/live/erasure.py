# SPDX-License-Identifier: Apache-2.0
"""Makes an erasure real: who was erased leaves every file of the workspace, and then the last mark of him.

The live store says who is to go until all of it is done, so that a cut at any step is made good by the next
packing. Each file is replaced in one step. It knows no server.
"""

from __future__ import annotations

import html
import os
import re
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl
from sqlalchemy import Connection, bindparam

from desirepath.events.erasure import erase_users, origin, sweep
from desirepath.events.log import EventLog, make_durable
from desirepath.live.archive import Archive
from desirepath.live.folding import set_mark
from desirepath.live.laying import FOLDER as LEDGER
from desirepath.live.replay import erasures
from desirepath.live.store import LiveStore, now_us
from desirepath.live.tables import ERASURES_LOOKED, events, impressions, users
from desirepath.profiles import Segments
from desirepath.schema import USER
from desirepath.sequences.current import open_sequences
from desirepath.workspace import Workspace

TYPICAL = "typical"
"""Column of tables of segments that names some of their members."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure:
    """Users who are to leave the files, and how far it is."""

    before_us: Mapping[str, int]
    """User to moment: what he did before it goes."""
    looked: tuple[int, int] = (0, 0)
    """The last intake of the log that was looked at for erased users who came back by a file, and how many
    erasures the log had by then."""
    rows: int = 0
    """Events that left the log."""


def begin_erasure(workspace: Workspace, store: LiveStore, log: EventLog, archive: Archive) -> Erasure:
    """Take who was erased out of all files but the packed sequences; the workspace's lock must be held.

    Raises:
        WorkspaceError: another process writes to the log, or the disk is full; the next call goes on.

    Cost: nothing where nobody is to go; else what holds them is written again (see `erase_users`).
    """
    asked, looked = _asked(store, log)
    if log.manifest.erasures:
        sweep(log)  # an erasure may have been cut
    if not asked:
        return Erasure(before_us={}, looked=(looked, log.manifest.erasures))
    store.write(lambda connection: _purge(connection, asked)).result()
    done = erase_users(log, asked)
    sweep(log)
    archive.erase(asked)
    if (workspace.folder / LEDGER).exists():
        shutil.rmtree(workspace.folder / LEDGER)  # made again from the log when somebody asks
    _leave_tables(workspace, asked)
    return Erasure(before_us=asked, looked=(looked, log.manifest.erasures), rows=done.rows)


def end_erasure(workspace: Workspace, store: LiveStore, erasure: Erasure, refuse_days: float) -> None:
    """Pack the sequences without those who left, and then forget their ids; the lock must not be held.

    Args:
        workspace: whose log was rid of them.
        store: what said that they are to go.
        erasure: from `begin_erasure`.
        refuse_days: days for which their late events are refused.
    """
    if erasure.before_us:
        if len(EventLog(workspace.events)):
            open_sequences(workspace)
        elif workspace.sequences.exists():
            shutil.rmtree(workspace.sequences)
    until_us = now_us() - round(refuse_days * 86_400_000_000)

    def work(connection: Connection) -> None:
        named = [{"who": user_id, "moment": before} for user_id, before in erasure.before_us.items()]
        if named:
            # Who was erased again meanwhile, or said to be somebody again, has another row than we did.
            same = (users.c.user_id == bindparam("who"), users.c.erased_us == bindparam("moment"))
            connection.execute(users.delete().where(*same, users.c.is_deleted), named)
            connection.execute(users.update().where(*same).values(erased_us=None), named)
        set_mark(connection, ERASURES_LOOKED, list(erasure.looked))
        store.refusals.expire(connection, until_us)

    store.write(work, then=lambda _: store.read(store.refusals.reload)).result()


def _asked(store: LiveStore, log: EventLog) -> tuple[dict[str, int], int]:
    """Who is to go, with the moment of each; and the last intake that this is known of."""
    looked, erasures_then = store.mark(ERASURES_LOOKED) or (0, 0)
    if log.manifest.erasures < erasures_then:
        looked = 0  # the log was restored from a backup of before
    asked: dict[str, int] = {}
    if len(store.refusals):
        # A file may bring back what was erased. One hash an id that is new in the log, and nothing else.
        for name in log.manifest.id_files:
            if Path(name).stem == USER and int(origin(name)[:6]) > looked:
                for user_id in pl.read_parquet(log.folder / name).get_column("id"):
                    if (before := store.refusals.before_us(user_id)) is not None:
                        asked[user_id] = before
    asked |= dict(store.read(erasures))
    return asked, max((ingest.number for ingest in log.manifest.ingests), default=0)


def _purge(connection: Connection, asked: Mapping[str, int]) -> None:
    """Remove what another process kept of them before it knew."""
    named = [{"who": user_id, "moment": before} for user_id, before in asked.items()]
    for table in (events, impressions):
        connection.execute(
            table.delete().where(table.c.user_id == bindparam("who"), table.c.time_us < bindparam("moment")),
            named,
        )


def _leave_tables(workspace: Workspace, asked: Collection[str]) -> None:
    """Take them out of what was made of the log: lists, segments, their examples, attributes, the report."""
    ids = list(asked)
    for path in (workspace.recommendations, workspace.table("users"), *workspace.behaviour.glob("*.parquet")):
        if path.exists():
            _leave_table(path, ids)
    _leave_segments(workspace, ids)
    if workspace.report.exists():
        named = "|".join(re.escape(html.escape(user_id)) for user_id in ids)
        if re.search(rf'<td dir="auto"[^>]*>(?:{named})</td>', workspace.report.read_text(encoding="utf-8")):
            workspace.report.unlink()


def _leave_table(path: Path, ids: list[str]) -> None:
    """Write a table again without rows of these users and without their names among examples."""
    table = pl.scan_parquet(path)
    names = table.collect_schema().names()
    if USER in names:
        goes = pl.col(USER).cast(pl.String).is_in(ids)
        if table.select(goes.any()).collect().item():
            _replace(path, table.filter(~goes.fill_null(False)).collect())
    elif TYPICAL in names:
        frame = table.collect()
        left = _untypical(frame, ids)
        if not left.equals(frame):
            _replace(path, left)


def _untypical(table: pl.DataFrame, ids: list[str]) -> pl.DataFrame:
    return table.with_columns(pl.col(TYPICAL).list.eval(pl.element().filter(~pl.element().is_in(ids))))


def _replace(path: Path, table: pl.DataFrame) -> None:
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        table.write_parquet(file)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    make_durable(path.parent)


def _leave_segments(workspace: Workspace, ids: list[str]) -> None:
    """Write the segments again without these members; who they were found from stays in the averages."""
    place = workspace.segments
    fresh, old = place.with_name(place.name + ".part"), place.with_name(place.name + ".old")
    shutil.rmtree(fresh, ignore_errors=True)
    if old.exists() and not place.exists():  # cut between two renames
        old.replace(place)
    shutil.rmtree(old, ignore_errors=True)
    if not place.exists():
        return
    found = Segments.load(place)
    stays = ~found.members[USER].is_in(ids)
    table = _untypical(found.table, ids)
    if stays.all() and table.equals(found.table):
        return
    left = replace(
        found,
        members=found.members.filter(stays),
        coordinates=found.coordinates[stays.to_numpy()],
        table=table,
    )
    left.save(fresh)
    for path in fresh.iterdir():
        make_durable(path)
    workspace.replace_folder(fresh, place)
    make_durable(place.parent)
