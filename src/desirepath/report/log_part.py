# SPDX-License-Identifier: Apache-2.0
"""The sections about the log: its size, what was cleaned, its course, spread, rhythm and visits.

It asks the event log for counts by streaming and hands blocks to the page.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from desirepath.features.rhythm import hour_weekday_counts
from desirepath.features.sessions import sessions
from desirepath.report.actions import action_counts, actions_bar, actions_reading
from desirepath.report.blocks import Absent, Block, Facts, Plot, Section, Table
from desirepath.report.concentration import (
    counts_of_counts,
    doublings,
    histogram,
    histogram_reading,
    lorenz_curves,
    lorenz_reading,
)
from desirepath.report.data import ReportData
from desirepath.report.overview import Overview, sample_users
from desirepath.report.theme import many, share
from desirepath.report.timeline import counts_over_time, step_for, timeline, timeline_reading
from desirepath.report.visits import (
    count_sessions,
    minutes_bars,
    minutes_reading,
    session_minutes,
    session_sizes,
)
from desirepath.report.week import heat_map, week_reading, weekday_bars
from desirepath.schema import ITEM, SESSION, USER

MAX_SORTED = 20_000_000
"""Events whose sessions are told in full; a longer log is sampled by users."""
NO_TIME = "The log bears no times; the order of its rows stands for them. Name the time column to see this."
NO_CALENDAR = (
    "The log tells only how far apart its moments lie, not their dates. Name the time unit to see this."
)


def day_grained(data: ReportData, size: Overview) -> bool:
    """Whether the log knows days but no hours."""
    return size.is_day_grained or data.resolution_s >= 86_400


def overview_section(data: ReportData, size: Overview) -> Section:
    """Large numbers, what was removed and why, the columns as understood."""
    numbers = [
        (f"{size.n_events:,}", "events"),
        (f"{size.n_users:,}", "users"),
        (f"{size.n_items:,}", "items"),
        (f"{size.n_actions:,}", "action" if size.n_actions == 1 else "actions"),
        (f"{size.n_events / size.n_users:,.1f}", "events per user"),
        (share(size.n_pairs, size.n_users * size.n_items), "of user-item pairs seen"),
    ]
    if data.has_calendar and size.first and size.last:
        numbers.insert(0, (f"{size.first:%Y-%m-%d} –\n{size.last:%Y-%m-%d}", "period (UTC)"))
    elif data.has_time:
        numbers.insert(0, (f"{size.span_days:,.1f}", "days from first to last event"))
    blocks: list[Block] = [Facts(numbers=numbers), _cleaning(data, size)]
    blocks += [_files(data.understanding), _columns(data.understanding)]
    return Section(name="overview", title="Overview", blocks=blocks)


def _cleaning(data: ReportData, size: Overview) -> Block:
    removed = {reason: n for reason, n in data.cleaning.items() if n}
    if not data.cleaning:
        return Absent(title="What was cleaned", reason="Nothing is recorded about cleaning.")
    if not removed:
        rules = ", ".join(str(reason).replace("_", " ") for reason in data.cleaning)
        return Absent(title="What was cleaned", reason=f"No row was removed. Looked for: {rules}.")
    before = size.n_events + sum(removed.values())
    order = sorted(removed.items(), key=lambda pair: (-pair[1], pair[0]))
    return Table(
        title="What was cleaned",
        head=("reason", "rows removed", "share of rows"),
        rows=[(str(reason).replace("_", " "), f"{n:,}", share(n, before)) for reason, n in order],
        numeric=frozenset({1, 2}),
        reading=f"{many(size.n_events, 'event')} of {many(before, 'row')} were kept "
        f"({share(size.n_events, before)}).",
    )


def _files(understanding: Mapping[str, Any]) -> Block:
    files = list(understanding.get("files") or [])
    if not files:
        return Absent(title="Files read", reason="The report was not told which files were read.")
    shown = files[:12]
    rows = []
    for file in shown:
        n = file.get("rows", -1)
        kind = ", ".join(
            str(file[key]) for key in ("format", "dialect", "encoding", "compression") if file.get(key)
        )
        rows.append(
            (str(file.get("name", "")), kind, f"{n:,}" if isinstance(n, int) and n >= 0 else "not counted")
        )
    rest = f"{many(len(files) - len(shown), 'further file')} not listed." if len(files) > len(shown) else ""
    return Table(
        title="Files read", head=("file", "form", "rows"), rows=rows, numeric=frozenset({2}), reading=rest
    )


def _columns(understanding: Mapping[str, Any]) -> Block:
    columns = list(understanding.get("columns") or [])
    if not columns:
        return Absent(
            title="Columns as understood", reason="The report was not told how the columns were understood."
        )
    time = understanding.get("time") or {}
    rows = []
    for column in columns:
        null = column.get("null_share")
        rows.append(
            (
                str(column.get("source", "")),
                str(column.get("role") or "kept as it is"),
                str(column.get("dtype", "")),
                "" if null is None else share(float(null), 1),
                str(column.get("reason", "")),
            )
        )
    told = f"Time is read as {time['unit']}: {time.get('reason', '')}." if time.get("unit") else ""
    return Table(
        title="Columns as understood",
        head=("column", "taken for", "kind", "empty", "why"),
        rows=rows,
        numeric=frozenset({3}),
        reading=told,
    )


def course_section(data: ReportData, size: Overview, basis: str) -> Section:
    """Events over time."""
    title = "Events over time"
    if not data.has_time or size.first is None:
        return Section(name="course", title=title, blocks=[Absent(title=title, reason=NO_TIME)])
    _, step = step_for(size.span_days)
    counts = counts_over_time(data.events, size.span_days)
    since = None if data.has_calendar else size.first
    reading = (
        timeline_reading(counts, step) if since is None else f"The log spans {many(size.span_days, 'day')}."
    )
    plot = Plot(
        name="timeline",
        title=f"Events per {step}, by action",
        figure=timeline(counts, step, since),
        reading=reading + f" The first and the last {step} may be cut by the log's ends.",
        basis=basis,
    )
    return Section(name="course", title=title, blocks=[plot])


def actions_section(data: ReportData, basis: str) -> Section:
    """What people do."""
    counts = action_counts(data.events)
    plot = Plot(
        name="actions",
        title="Events by action",
        figure=actions_bar(counts),
        reading=actions_reading(counts),
        basis=basis,
    )
    return Section(name="actions", title="Actions", blocks=[plot])


def spread_section(data: ReportData, basis: str) -> Section:
    """How events lie on users and items."""
    users, items = counts_of_counts(data.events, USER), counts_of_counts(data.events, ITEM)
    blocks = [
        Plot(
            name="activity",
            title="Activity: users by number of events",
            figure=histogram(doublings(users), "events of the user", "users"),
            reading=histogram_reading(users, "user"),
            basis=basis,
        ),
        Plot(
            name="popularity",
            title="Popularity: items by number of events",
            figure=histogram(doublings(items), "events on the item", "items"),
            reading=histogram_reading(items, "item"),
            basis=basis,
        ),
        Plot(
            name="lorenz",
            title="Who carries the log",
            figure=lorenz_curves(users, items),
            reading=lorenz_reading(users, items),
            basis=basis,
        ),
    ]
    return Section(name="spread", title="Activity and popularity", blocks=blocks)


def rhythm_section(data: ReportData, size: Overview, basis: str) -> Section:
    """Hours and weekdays."""
    title = "Rhythm of the week"
    if not data.has_calendar or size.first is None:
        reason = NO_CALENDAR if data.has_time and size.first else NO_TIME
        return Section(name="rhythm", title=title, blocks=[Absent(title="Hour and weekday", reason=reason)])
    hours = not day_grained(data, size)
    # A day without hours is midnight UTC; on another clock it would become the day before.
    tz = data.clock.tz if hours else "UTC"
    grid = hour_weekday_counts(data.events, tz)
    plot = Plot(
        name="week",
        title="Events by hour and weekday" if hours else "Events by weekday",
        figure=heat_map(grid, tz) if hours else weekday_bars(grid, tz),
        reading=week_reading(grid, with_hours=hours),
        basis=basis,
    )
    blocks: list[Block] = [plot]
    if not hours:
        blocks.append(
            Absent(
                title="Hour of the day", reason="The log's times are whole days, so that hours are unknown."
            )
        )
    return Section(name="rhythm", title=title, blocks=blocks)


def visits_section(data: ReportData, size: Overview, basis: str) -> Section:
    """Sessions by events and minutes."""
    title = "Sessions"
    by_id = data.sessions.by != "gap" and size.has_session_ids
    if not data.has_time or size.last is None:
        return Section(name="visits", title=title, blocks=[Absent(title="Session lengths", reason=NO_TIME)])
    if not by_id and day_grained(data, size):
        reason = "The log has whole days and no session id, so that the pauses between sessions are unknown."
        return Section(name="visits", title=title, blocks=[Absent(title="Session lengths", reason=reason)])
    columns = [USER, "time", *([SESSION] if by_id else [])]
    # The sort of sessions is the one step whose memory grows with events: a long log is sampled by users.
    k = -(-size.n_events // MAX_SORTED)
    kept = data.events.select(columns)
    if k > 1:
        kept = sample_users(kept, k)
    counted = count_sessions(sessions(kept, size.end, data.sessions))
    gap = f"a pause of more than {data.sessions.session_gap_s / 60:g} minutes ends a session"
    ground = f"{basis} " + ("Sessions as the log's session id names them." if by_id else f"By rule: {gap}.")
    if k > 1:
        ground += f" Sessions of one user in {k}, drawn by the hash of the id."
    sizes = session_sizes(counted)
    blocks: list[Block] = [
        Plot(
            name="session-events",
            title="Sessions by number of events",
            figure=histogram(doublings(sizes), "events of the session", "sessions"),
            reading=histogram_reading(sizes, "session"),
            basis=ground,
        )
    ]
    if day_grained(data, size):
        blocks.append(Absent(title="Sessions by minutes", reason="The log's times are whole days."))
    else:
        minutes = session_minutes(counted)
        blocks.append(
            Plot(
                name="session-minutes",
                title="Sessions by duration",
                figure=minutes_bars(minutes),
                reading=minutes_reading(minutes),
                basis=ground,
            )
        )
    return Section(name="visits", title=title, blocks=blocks)


def log_basis(data: ReportData, size: Overview) -> str:
    """The sentence beside each figure of the log."""
    cleaned = " after cleaning" if data.cleaning else ""
    times = "; times in UTC unless the axis says otherwise" if data.has_calendar else ""
    return f"All {many(size.n_events, 'event')}{cleaned}{times}."


def last_events(events: pl.LazyFrame, users: list[str], n: int = 3) -> pl.DataFrame:
    """The last `n` different items of each of a few users, newest first: user_id, items (list)."""
    return (
        events.filter(pl.col(USER).is_in(users))
        .sort("time", maintain_order=True)
        .group_by(USER)
        .agg(pl.col(ITEM).reverse().unique(maintain_order=True).head(n).alias("items"))
        .collect(engine="streaming")
    )
