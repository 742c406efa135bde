# SPDX-License-Identifier: Apache-2.0
"""What a log holds and what is odd about it, measured over all rows; writes nothing.

It reads through `read_events` and measures with streaming queries. How the findings look on a
terminal is `display`'s business.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from desirepath.errors import DataError
from desirepath.events.clock import SECOND
from desirepath.events.masking import NULLS
from desirepath.events.raw import ColumnChoice, RawLog, Understanding
from desirepath.events.reading import first_line, read_events
from desirepath.events.tables import BROKEN
from desirepath.schema import ACTION, ITEM, TIME, USER

LARGE = 20_000_000
"""Rows beyond which the costly figures are taken from the first so many rows."""
BINS = 48
"""Bars of the activity chart."""
ROBOT_PER_HOUR = 500
"""Events of one user in one clock hour from which a robot is suspected."""
ROBOT_PER_DAY = 2000
"""The same in one day, for logs whose clock shows only days."""
OLDEST = datetime(1990, 1, 1, tzinfo=UTC)
"""Moments before this are shown as outside any plausible window."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """Counts of what a cleaner should know. Rows unless said otherwise."""

    exact_duplicates: int
    """Rows equal to an earlier row in every column."""
    repeated: int
    """Rows whose (user, item, action) came before: behaviour, not an error."""
    missing_user: int
    missing_item: int
    missing_time: int
    """Rows whose time is absent or cannot be read."""
    backward: int
    """Rows earlier than the row of the same user before them."""
    tied: int
    """Rows that share (user, time) with another; their file order is kept."""
    before_1990: int
    in_future: int
    """Rows dated more than a day after the inspection."""
    leading_zero_ids: int
    """Rows whose user or item id begins with a zero before further digits."""
    negative_ids: int
    """Rows whose user or item id is a negative number."""
    marker_ids: int
    """Rows whose user or item id reads like a null marker, such as "NA"; kept as an id."""
    robot_users: int
    """Users with more events in an hour (or day) than a person makes."""
    header_only_files: int
    unreadable: int
    """Rows that could not be read at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """A log as understood, with its size and quality."""

    understanding: Understanding
    rows: int
    users: int
    items: int
    actions: dict[str, int]
    """Rows of each action, the most frequent 50."""
    n_actions: int
    events_per_user: tuple[float, int]
    """Median and largest."""
    null_shares: dict[str, float]
    """Exact share of rows without a value, by canonical or own name."""
    activity: tuple[int, ...]
    """Rows in `BINS` equal stretches of time between the 0.1% and 99.9% quantiles; empty without times."""
    problems: dict[str, int]
    """Rows that could not be read, by reason."""
    quality: Quality
    findings: tuple[str, ...]
    """What deserves attention, in words, the gravest first."""
    is_sampled: bool
    """Whether costly figures come from the first `LARGE` rows only."""

    @property
    def is_usable(self) -> bool:
        """Whether users and items were found."""
        return not self.understanding.missing

    def to_dict(self) -> dict[str, Any]:
        """The same as plain values for JSON."""
        plain = {
            name: getattr(self, name) for name in self.__slots__ if name not in ("understanding", "quality")
        }
        return {
            **plain,
            "is_usable": self.is_usable,
            "understanding": self.understanding.to_dict(),
            "quality": asdict(self.quality),
            "activity": list(self.activity),
            "findings": list(self.findings),
            "events_per_user": list(self.events_per_user),
        }


def inspect(
    sources: str | Path | pl.DataFrame | pl.LazyFrame | Sequence[str | Path],
    *,
    overrides: ColumnChoice | None = None,
    show_samples: bool = False,
) -> Inspection:
    """How a log is understood, how large it is, and what is odd about it.

    Args:
        sources: Whatever `read_events` takes.
        overrides: What the caller says of columns and dialects.
        show_samples: Whether real values are shown rather than their shapes.

    Raises: ConfigError and DataError as `read_events` does; a log without users or items is inspected too.
    Cost: some passes over the columns; memory grows with the number of distinct rows.
    """
    log = read_events(sources, overrides=overrides, show_samples=show_samples, must_be_usable=False)
    return inspect_log(log)


def inspect_log(log: RawLog) -> Inspection:
    """The inspection of a log that has been read already."""
    try:
        return _measured(log)
    except BROKEN as error:
        raise DataError(f"The log must be readable to its end; polars says: {first_line(error)}") from error


def _measured(log: RawLog) -> Inspection:
    lazy, understanding = log.lazy, log.understanding
    names = lazy.collect_schema().names()
    ordered_by_file = understanding.ordered_by_file
    shape = lazy.select(
        pl.len().alias("rows"),
        pl.col(USER).n_unique().alias("users") - pl.col(USER).has_nulls(),
        pl.col(ITEM).n_unique().alias("items") - pl.col(ITEM).has_nulls(),
        *(pl.col(name).null_count().alias(f"null {name}") for name in names),
        _ids_like(r"^-?0\d").alias("zeros"),
        _ids_like(r"^-\d+$").alias("negative"),
        pl.any_horizontal(pl.col(USER, ITEM).is_in(NULLS[1:])).sum().alias("markers"),
        pl.col(TIME).lt(OLDEST).sum().alias("old"),
        pl.col(TIME).gt(datetime.now(UTC) + timedelta(days=1)).sum().alias("future"),
    )
    actions = lazy.group_by(ACTION).len().sort("len", ACTION, descending=[True, False])
    per_user = lazy.filter(pl.col(USER).is_not_null()).group_by(USER).len()
    spread = per_user.select(pl.col("len").median().alias("median"), pl.col("len").max().alias("most"))
    first, counts, per = pl.collect_all([shape, actions, spread], engine="streaming")
    figures = first.row(0, named=True)
    rows = int(figures["rows"])
    part = lazy.head(LARGE) if rows > LARGE else lazy
    prints = _fingerprints(part, [name for name in names if name != TIME or not ordered_by_file])
    odd = _oddities(prints, not ordered_by_file, understanding.time.resolution_s >= 86_400)
    median, most = per.row(0)
    empty_files = sum(file.rows == 0 for file in understanding.files)
    relative = ordered_by_file or understanding.time.is_relative
    quality = Quality(
        exact_duplicates=odd["duplicates"],
        repeated=odd["repeated"],
        missing_user=figures[f"null {USER}"],
        missing_item=figures[f"null {ITEM}"],
        missing_time=figures[f"null {TIME}"],
        backward=odd["backward"],
        tied=odd["tied"],
        before_1990=0 if relative else figures["old"],
        in_future=0 if relative else figures["future"],
        leading_zero_ids=figures["zeros"],
        negative_ids=figures["negative"],
        marker_ids=figures["markers"],
        robot_users=odd["robots"],
        header_only_files=empty_files,
        unreadable=sum(log.problems.values()),
    )
    return Inspection(
        understanding=understanding,
        rows=rows,
        users=int(figures["users"]),
        items=int(figures["items"]),
        actions={str(name): n for name, n in counts.head(50).iter_rows()},
        n_actions=counts.height,
        events_per_user=(float(median or 0.0), int(most or 0)),
        null_shares={name: figures[f"null {name}"] / max(rows, 1) for name in names},
        activity=() if ordered_by_file else _activity(prints["time"]),
        problems=log.problems,
        quality=quality,
        findings=_findings(quality, rows, understanding),
        is_sampled=rows > LARGE,
    )


def _ids_like(pattern: str) -> pl.Expr:
    return pl.any_horizontal(pl.col(USER, ITEM).str.contains(pattern)).sum()


def _fingerprints(lazy: pl.LazyFrame, columns: list[str]) -> pl.DataFrame:
    """Each row as four numbers: hashes of the whole, of (user, item, action), of the user; its time."""
    return lazy.select(
        pl.struct(columns).hash(seed=1).alias("row"),
        pl.struct(USER, ITEM, ACTION).hash(seed=1).alias("key"),
        pl.when(pl.col(USER).is_not_null()).then(pl.col(USER).hash(seed=1)).alias("user"),
        pl.col(TIME).cast(pl.Int64).alias("time"),
    ).collect(engine="streaming")


def _oddities(rows: pl.DataFrame, has_clock: bool, day_grained: bool) -> dict[str, int]:
    """Duplicates, repetitions, and what the clock shows."""
    found = {
        "duplicates": rows.height - rows["row"].n_unique(),
        "repeated": rows.height - rows["key"].n_unique(),
        "tied": 0,
        "backward": 0,
        "robots": 0,
    }
    if not has_clock:
        return found
    window, limit = (86_400, ROBOT_PER_DAY) if day_grained else (3600, ROBOT_PER_HOUR)
    keyed = rows.lazy().select("user", "time").drop_nulls()
    ties = (
        keyed.group_by("user", "time")
        .len()
        .select(pl.col("len").filter(pl.col("len") > 1).sum().alias("tied"))
    )
    back = keyed.select((pl.col("time") < pl.col("time").shift().over("user")).sum().alias("backward"))
    robots = (
        keyed.group_by("user", pl.col("time") // (window * SECOND))
        .len()
        .filter(pl.col("len") >= limit)
        .select(pl.col("user").n_unique().alias("robots"))
    )
    for figure in pl.collect_all([ties, back, robots]):
        found |= figure.row(0, named=True)
    return {name: int(count or 0) for name, count in found.items()}


def _activity(micros: pl.Series) -> tuple[int, ...]:
    """Rows in equal stretches of time, the outermost 0.1% on either side left out."""
    present = micros.drop_nulls()
    low, high = present.quantile(0.001, "nearest"), present.quantile(0.999, "nearest")
    if low is None or high is None or high <= low:
        return ()
    inner = present.filter(present.is_between(low, high))
    bins = ((inner - int(low)) * (BINS / (high - low))).floor().clip(0, BINS - 1).cast(pl.Int32)
    counts = dict(bins.rename("bin").value_counts().iter_rows())
    return tuple(int(counts.get(i, 0)) for i in range(BINS))


def _findings(quality: Quality, rows: int, understanding: Understanding) -> tuple[str, ...]:
    """What deserves attention, in words."""
    told: list[str] = []
    some: list[tuple[int, str]] = [
        (quality.unreadable, "rows could not be read; --rejects FILE shows them"),
        (quality.missing_user, "events have no user"),
        (quality.missing_item, "events have no item"),
        (quality.missing_time, "events have no time that can be read"),
        (quality.exact_duplicates, "rows are exact duplicates of an earlier one"),
        (quality.before_1990, "events are dated before 1990"),
        (quality.in_future, "events are dated in the future"),
        (quality.robot_users, "users act faster than people do: robots?"),
        (quality.marker_ids, "events have an id such as 'NA', which is kept as an id"),
        (quality.leading_zero_ids, "events have an id with a leading zero: never store it as a number"),
        (quality.negative_ids, "events have a negative number as an id"),
        (quality.header_only_files, "files hold no events"),
    ]
    told += [
        f"{count:,} {text}." for count, text in some if count and not (count == rows and "have no" in text)
    ]
    if quality.tied > 0.2 * rows:
        told.append(
            f"{quality.tied / rows:.0%} of events share user and time with another; file order decides."
        )
    if quality.backward:
        told.append(
            f"{quality.backward:,} events are earlier than their user's event before: not in order of time."
        )
    if understanding.time.is_relative:
        told.append("Times count from an unknown origin: only distances mean something, dates do not.")
    return tuple(told)
