# SPDX-License-Identifier: Apache-2.0
"""Decides which column of a table plays which role, by its name and by its content, with a reason.

It works on a sample and on what the caller says; it reads no files and moves no rows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from desirepath.errors import ConfigError, DataError, nearest
from desirepath.events.clock import Clock
from desirepath.events.masking import NULLS
from desirepath.events.names import plain, strength
from desirepath.events.raw import ColumnChoice
from desirepath.events.times import understand
from desirepath.schema import ACTION, EVENT_ID, ITEM, OPTIONAL, SESSION, TIME, USER, VALUE

NONE = "none"
"""What a caller says for a role that must stay empty."""
ORDER = (TIME, USER, ITEM, ACTION, SESSION, EVENT_ID, VALUE, "lat", "lon", "position", "impression_id")
"""Roles in the order in which they choose among columns of equal strength."""
THRESHOLD = 0.3
FLAGS = {ACTION: "--action", USER: "--user", ITEM: "--item", TIME: "--time"}
TENANTS = re.compile(
    r"app(_id)?|tenant(_id)?|site(_id)?|namespace|realm|platform|domain|market(place)?|shop(_id)?|split|fold"
)
"""Names of columns within which user ids may be unique."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What the sampled values of one column look like."""

    name: str
    kind: str
    """integer, float, boolean, text, moment, nested or empty."""
    n_unique: int
    null_share: float
    unique_share: float
    """Distinct values over values present."""
    low: float | None
    """Smallest number, for columns of numbers."""
    high: float | None
    counts_up: bool
    """Whether it numbers the rows: whole, distinct, growing by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """The columns that fill one canonical column."""

    columns: tuple[str, ...]
    reason: str
    confidence: float
    joiner: str = ":"
    """Text put between the parts of a composite."""

    @property
    def source(self) -> str:
        """The columns as the caller would write them."""
        return "+".join(self.columns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Guess:
    """All roles of a table, and how its time is read."""

    roles: dict[str, Role]
    clock: Clock | None
    """None when the order of the file stands for time."""
    profiles: dict[str, Profile]
    left_out: tuple[str, ...]
    """Columns that are not carried, such as a row number."""
    notes: tuple[str, ...]
    missing: tuple[str, ...]
    """Required canonical columns that nothing fills."""


def profile(values: pl.Series) -> Profile:
    """What one sampled column looks like."""
    name, dtype = values.name, values.dtype
    present = values.drop_nulls()
    if dtype == pl.String():
        filled = present.filter(present != "")
        present = filled.filter(~filled.is_in(NULLS))
        present = filled if present.is_empty() else present  # ids may all read like null markers
    kind = "text"
    numbers: pl.Series | None = None
    if present.is_empty():
        kind = "empty"
    elif dtype.is_temporal():
        kind = "moment"
    elif dtype.is_nested() or dtype == pl.Binary() or dtype == pl.Object():
        kind = "nested"
    elif dtype == pl.Boolean():
        kind = "boolean"
    elif dtype.is_numeric() or dtype == pl.String():
        numbers = present.cast(pl.Float64, strict=False)
        if numbers.null_count() or not bool(numbers.is_finite().all()):
            numbers = None
        elif dtype.is_integer() or (dtype == pl.String() and present.str.contains(r"^\s*[+-]?\d+\s*$").all()):
            kind = "integer"
        else:
            kind = "float"
    n_unique = 0 if kind in ("nested", "empty") else present.n_unique()
    low, high = (numbers.min(), numbers.max()) if numbers is not None else (None, None)
    steps = numbers.head(200).diff().drop_nulls() if numbers is not None and kind == "integer" else None
    return Profile(
        name=name,
        kind=kind,
        n_unique=n_unique,
        null_share=1.0 - len(present) / max(len(values), 1),
        unique_share=n_unique / max(len(present), 1),
        low=float(low) if isinstance(low, int | float) else None,
        high=float(high) if isinstance(high, int | float) else None,
        counts_up=steps is not None
        and len(steps) > 0
        and bool((steps > 0).all())
        and n_unique == len(present),
    )


def infer(
    sample: pl.DataFrame, choice: ColumnChoice, hints: Mapping[str, tuple[str, str]] | None = None
) -> Guess:
    """The roles of a table's columns.

    Raises: ConfigError when the caller names a column that does not exist (with the nearest), or a
    role that does not; DataError when a chosen time column holds no moments.

    Args:
        sample: Some rows, in the file's own types.
        choice: What the caller says.
        hints: Role -> (column, reason) that the file format itself tells.
    """
    profiles = {name: profile(sample[name]) for name in sample.columns}
    roles, closed = _asked(sample.columns, choice)
    for role, (column, reason) in (hints or {}).items():
        if role not in roles and role not in closed and column in profiles:
            roles[role] = Role(columns=(column,), reason=reason, confidence=0.95)
    notes: list[str] = []
    left_out = tuple(
        p.name
        for p in profiles.values()
        if p.name.startswith("unnamed_") and (p.kind == "empty" or p.counts_up)
    )
    if left_out:
        notes.append(f"Left out: {', '.join(left_out)} (no name, and empty or only a row number).")
    free = [name for name in sample.columns if name not in left_out]
    clock = _time(sample, profiles, roles, closed, choice, free)
    _by_name(profiles, roles, closed, free)
    _by_content(profiles, roles, closed, free)
    _stand_ins(profiles, roles, closed, notes)
    _tenants(sample, roles, notes)
    if clock is None:
        notes.append("No time column: the order of the file is used (as seconds from 1970-01-01).")
    missing = tuple(role for role in (USER, ITEM) if role not in roles)
    return Guess(
        roles=roles, clock=clock, profiles=profiles, left_out=left_out, notes=tuple(notes), missing=missing
    )


def _asked(columns: list[str], choice: ColumnChoice) -> tuple[dict[str, Role], set[str]]:
    """What the caller chose, and the roles that must stay empty."""
    asked = {USER: choice.user, ITEM: choice.item, TIME: choice.time, ACTION: choice.action, **choice.others}
    roles: dict[str, Role] = {}
    closed: set[str] = set()
    for role, column in asked.items():
        if role not in (*FLAGS, *OPTIONAL):
            raise ConfigError(
                f"A role must be one of the canonical columns; got '{role}'. {nearest(role, OPTIONAL)}"
            )
        if column is None:
            continue
        if column.lower() == NONE and column not in columns:
            closed.add(role)
            continue
        parts = (column,) if column in columns else tuple(part.strip() for part in column.split("+"))
        for part in parts:
            if part not in columns:
                flag = FLAGS.get(role, f"--{role.replace('_', '-')}")
                raise ConfigError(
                    f"{flag} must name a column of the log; there is no '{part}'. {nearest(part, columns)}"
                )
        joiner = " " if role == TIME else ":"
        roles[role] = Role(columns=parts, reason="as asked for", confidence=1.0, joiner=joiner)
    return roles, closed


def _taken(roles: dict[str, Role]) -> set[str]:
    return {column for role in roles.values() for column in role.columns}


def _time(
    sample: pl.DataFrame,
    profiles: dict[str, Profile],
    roles: dict[str, Role],
    closed: set[str],
    choice: ColumnChoice,
    free: list[str],
) -> Clock | None:
    """Fill the role of time and tell its clock."""
    if TIME in closed:
        return None
    if TIME in roles:
        role = roles[TIME]
        return understand(joined(sample, role), role.source, choice.time_unit)
    taken = _taken(roles)
    parts = _date_parts(profiles, taken)
    if parts:
        roles[TIME] = parts
        return understand(joined(sample, parts), parts.source, choice.time_unit)
    named = sorted(
        (
            (strength(name, TIME), name)
            for name in free
            if name not in taken and strength(name, TIME) >= THRESHOLD
        ),
        key=lambda pair: -pair[0],
    )
    failures: list[DataError] = []
    for weight, name in named:
        usable = profiles[name].kind in ("integer", "float", "moment", "text")
        if not usable or (profiles[name].n_unique < 2 and len(sample) > 50 and len(named) > 1):
            continue
        try:
            clock = understand(sample[name], name, choice.time_unit)
        except DataError as error:
            failures.append(error)
            continue
        if clock.is_relative and weight < 0.6 and clock.confidence < 0.5:
            continue
        roles[TIME] = Role(columns=(name,), reason=f"named '{name}'", confidence=weight * clock.confidence)
        return clock
    if failures and named[0][0] >= 0.8:
        raise failures[0]
    return _unnamed_time(sample, profiles, roles, free, choice)


def _unnamed_time(
    sample: pl.DataFrame,
    profiles: dict[str, Profile],
    roles: dict[str, Role],
    free: list[str],
    choice: ColumnChoice,
) -> Clock | None:
    """A column without a telling name whose values can only be moments."""
    for name in free:
        if name in _taken(roles) or profiles[name].kind not in ("integer", "float", "moment", "text"):
            continue
        if strength(name, USER) > 0.5 or strength(name, ITEM) > 0.5 or strength(name, SESSION) > 0.5:
            continue
        try:
            clock = understand(sample[name], name, choice.time_unit)
        except DataError:
            continue
        if not clock.is_relative and clock.confidence >= 0.5 and profiles[name].n_unique > 1:
            roles[TIME] = Role(columns=(name,), reason="its values are moments", confidence=0.7)
            return clock
    return None


def _date_parts(profiles: dict[str, Profile], taken: set[str]) -> Role | None:
    """Day + month + year columns, or a date beside a time of day."""
    found = {plain(name): name for name in profiles if name not in taken}
    if any(strength(name, TIME) >= 0.9 and plain(name) != "time" for name in profiles if name not in taken):
        return None
    if {"day", "month", "year"} <= found.keys():
        return Role(
            columns=(found["year"], found["month"], found["day"]),
            reason="year, month and day stand in columns of their own",
            confidence=0.9,
            joiner="-",
        )
    if {"date", "time"} <= found.keys() and profiles[found["time"]].kind == "text":
        return Role(
            columns=(found["date"], found["time"]),
            reason="date and time stand in columns of their own",
            confidence=0.9,
            joiner=" ",
        )
    return None


def joined(sample: pl.DataFrame, role: Role) -> pl.Series:
    """The sampled values of a role; those of a composite are joined."""
    if len(role.columns) == 1:
        return sample[role.columns[0]]
    return sample.select(
        pl.concat_str([pl.col(c).cast(pl.String) for c in role.columns], separator=role.joiner).alias(
            role.source
        )
    )[role.source]


def _fits(role: str, p: Profile) -> float:
    """How well the content of a column suits a role, 0 to 1."""
    if p.kind in ("empty", "nested"):
        return 0.0
    if role in (USER, ITEM, SESSION):
        if p.kind in ("moment", "boolean") or (
            p.kind == "float" and p.low is not None and p.low != int(p.low)
        ):
            return 0.0
        if p.n_unique <= 5 and p.unique_share < 0.001:
            return 0.4  # a flag or a kind, rather than a key
        return 1.0 - 0.6 * p.null_share
    if role == ACTION:
        return 1.0 if p.n_unique <= 500 and p.kind not in ("float", "moment") else 0.0
    if role in (VALUE, "lat", "lon"):
        if p.kind not in ("integer", "float"):
            return 0.0
        limit = {"lat": 90.0, "lon": 180.0}.get(role, float("inf"))
        return (
            1.0 if p.low is not None and p.high is not None and -limit <= p.low and p.high <= limit else 0.0
        )
    if role == "position":
        return 1.0 if p.kind == "integer" and p.high is not None and abs(p.high) < 1e6 else 0.0
    if role == EVENT_ID:
        return 1.0 if p.unique_share > 0.9 else 0.0  # deliveries that came twice repeat some
    return 1.0


def _by_name(profiles: dict[str, Profile], roles: dict[str, Role], closed: set[str], free: list[str]) -> None:
    """Each role takes the column whose name and content speak for it most, the strongest pair first."""
    rank = {role: i for i, role in enumerate((*ORDER, *(r for r in OPTIONAL if r not in ORDER)))}
    pairs = sorted(
        (
            (-strength(name, role) * _fits(role, profiles[name]), rank[role], at, role, name)
            for role in rank
            for at, name in enumerate(free)
            if role != TIME and role not in closed
        ),
    )
    for score, _, _, role, name in pairs:
        if -score < THRESHOLD or role in roles or name in _taken(roles):
            continue
        roles[role] = Role(columns=(name,), reason=f"named '{name}'", confidence=round(-score, 2))


def _by_content(
    profiles: dict[str, Profile], roles: dict[str, Role], closed: set[str], free: list[str]
) -> None:
    """Columns without telling names: a rating by its few small numbers, then user before item."""
    nameless = [n for n in free if re.fullmatch(r"column_\d+|unnamed_\d+", n) and n not in _taken(roles)]
    if not nameless:
        return
    ids = [
        n
        for n in nameless
        if _fits(USER, profiles[n]) > 0.3 and profiles[n].kind in ("integer", "text", "float")
    ]
    want = [role for role in (USER, ITEM) if role not in roles and role not in closed]
    few = [n for n in ids if profiles[n].n_unique <= 30 and profiles[n].unique_share < 0.1]
    for name in few if len(ids) > len(want) else []:
        p = profiles[name]
        numeric = p.kind in ("integer", "float")
        role = VALUE if numeric else ACTION
        if role in roles or role in closed or len(ids) <= len(want):
            continue
        ids.remove(name)
        like = "numbers, as a rating has" if numeric else "words, as kinds of event are"
        reason = f"{p.n_unique} distinct {like}"
        roles[role] = Role(columns=(name,), reason=reason, confidence=0.6)
    for role, name in zip(want, ids, strict=False):
        place = "first" if role == USER else "next"
        roles[role] = Role(columns=(name,), reason=f"no names; the {place} column of ids", confidence=0.5)


def _stand_ins(
    profiles: dict[str, Profile], roles: dict[str, Role], closed: set[str], notes: list[str]
) -> None:
    """A session stands for a user that is not named, and an action for an item."""
    if USER not in roles and USER not in closed and SESSION in roles:
        session = roles[SESSION]
        roles[USER] = Role(
            columns=session.columns, reason="no user column; each session is one", confidence=0.5
        )
        notes.append(f"No user column: each session ('{session.source}') is taken for a user.")
    if ITEM not in roles and ITEM not in closed and ACTION in roles:
        action = roles[ACTION]
        roles[ITEM] = Role(
            columns=action.columns, reason="no item column; the action is what is chosen", confidence=0.4
        )
        notes.append(f"No item column: the action ('{action.source}') is taken for the item too.")


def _tenants(sample: pl.DataFrame, roles: dict[str, Role], notes: list[str]) -> None:
    """Tell when a user id may mean several people, one in each app or site."""
    user = roles.get(USER)
    if user is None or len(user.columns) > 1:
        return
    for name in sample.columns:
        if (
            not TENANTS.fullmatch(plain(name))
            or name in user.columns
            or not 2 <= sample[name].n_unique() <= 1000
        ):
            continue
        alone = sample[user.source].drop_nulls().n_unique()
        pairs = sample.select(user.source, name).drop_nulls(user.source).n_unique()
        more = f"; {pairs - alone:,} sampled ids occur in several" if pairs > alone else ""
        notes.append(
            f"User ids may be unique only within '{name}'{more}. Pass --user {user.source}+{name} if so."
        )
