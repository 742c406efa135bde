# SPDX-License-Identifier: Apache-2.0
"""Groups to be told apart: by what people did, when, who they are, or a table of labels.

A group by an action ends each sequence right before the first such event, so that what is found comes
before what it is to tell.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from desirepath.errors import ConfigError, DataError, nearest
from desirepath.flows.subject import Subject
from desirepath.patterns.database import SequenceDatabase, joined
from desirepath.patterns.paths import select
from desirepath.profiles import Segments
from desirepath.schema import USER

FORMS = "did:ACTION, since:DATE, segment, a column of the users' table, or a FILE of user ids and labels"


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """Sequences, each with the label of its group."""

    database: SequenceDatabase
    labels: NDArray[np.str_]
    """(S,) label of each sequence."""
    title: str
    notes: tuple[str, ...] = ()

    @property
    def sizes(self) -> tuple[list[str], list[int]]:
        """Names of the groups and how many sequences each has."""
        names, counts = np.unique(self.labels, return_counts=True)
        return names.tolist(), counts.tolist()


def groups_of(subject: Subject, between: str) -> Groups:
    """The groups that `between` names; sequences without a label are left out and counted.

    Args:
        subject: whose sequences they are.
        between: "did:ACTION" (those who ever did it and those who did not), "since:DATE" (events before and
            from a day on), "segment", a column of the users' table, or a file with user ids and labels.

    Raises:
        ConfigError: it is none of these.
    """
    kind, _, word = between.partition(":")
    if kind == "did" and word:
        return _by_action(subject, word)
    if kind == "since" and word:
        return _by_day(subject, word)
    users = subject.workspace.table("users")
    known = pl.read_parquet_schema(users) if users.exists() else {}
    if between == "segment":
        found = Segments.load(subject.workspace.segments)
        named = pl.col("segment").replace_strict(found.names, default=None, return_dtype=pl.String)
        return _by_table(subject, found.members.select(USER, named), "segments")
    if between in known and between != USER:
        return _by_table(subject, pl.read_parquet(users, columns=[USER, between]), f"users by {between}")
    path = Path(between)
    if path.suffix in (".csv", ".parquet") and path.exists():
        table = pl.read_csv(path, infer_schema=False) if path.suffix == ".csv" else pl.read_parquet(path)
        if table.width < 2:
            raise DataError(
                f"{path} must have a column of user ids and one of labels; it has {table.columns}."
            )
        return _by_table(subject, table.select(table.columns[:2]), f"users by {table.columns[1]}")
    columns = [name for name in known if name != USER]
    raise ConfigError(
        f"--between must be {FORMS}; got '{between}'. {nearest(between, [*columns, 'segment'])}"
    )


def _by_action(subject: Subject, action: str) -> Groups:
    sequences, database = subject.sequences, subject.database
    ix = sequences.actions.index(action)
    if ix is None:
        raise ConfigError(
            f"No event has the action '{action}'. {nearest(action, sequences.actions.ids.to_list())}"
        )
    # The moment is read from all events, since those of the action itself may not be among the symbols.
    did = np.flatnonzero(np.asarray(sequences.action_ix) == ix)
    sequence = _sequence_of(database, sequences.user_ix[did], np.asarray(sequences.time_s)[did])
    first = np.full(database.n_sequences, np.iinfo(np.int64).max)
    np.minimum.at(first, sequence[sequence >= 0], did[sequence >= 0])
    own = np.repeat(np.arange(database.n_sequences), np.diff(database.offsets))
    kept = database.row < first[own]
    has_it = first < np.iinfo(np.int64).max
    if database.element is not None:  # events of one instant are one: none of that instant came before
        first_s = np.full(database.n_sequences, np.inf)
        first_s[has_it] = sequences.time_s[first[has_it]]
        kept &= database.time_s < first_s[own]
    cut = database.keep(kept)
    labels = np.where(has_it, f"did {action}", f"never {action}")
    filled = np.diff(cut.offsets) > 0
    whose = "users" if subject.symbols.per == "user" else "sessions"
    return Groups(
        database=select(cut, filled),
        labels=labels[filled],
        title=f"{whose} that did {action} from those that never did",
        notes=(
            f"Only what came before the first {action} counts, so what is found tells it ahead; "
            f"{np.count_nonzero(~filled & has_it):,} {whose} began with it and are left out.",
            "Those who never did it are seen to the end of their history, which may be longer.",
        ),
    )


def _by_day(subject: Subject, word: str) -> Groups:
    try:
        day = datetime.fromisoformat(word)
    except ValueError:
        raise ConfigError(f"since: must be followed by a day such as 2026-03-01; got '{word}'.") from None
    moment = day.replace(tzinfo=day.tzinfo or UTC).timestamp()
    database = subject.database
    early = np.asarray(database.time_s) < moment
    parts = [(f"before {word}", database.keep(early)), (f"since {word}", database.keep(~early))]
    filled = [(label, select(part, np.diff(part.offsets) > 0)) for label, part in parts]
    both = joined([part for _, part in filled])
    labels = np.concatenate([np.full(part.n_sequences, label) for label, part in filled])
    return Groups(
        database=both,
        labels=labels,
        title=f"what was before {word} from what came since",
        notes=("A sequence that spans the day is cut there and counts on both sides.",),
    )


def _by_table(subject: Subject, table: pl.DataFrame, title: str) -> Groups:
    user, label = table.columns
    named = table.select(pl.col(user).cast(pl.String).alias(USER), pl.col(label).cast(pl.String)).unique(USER)
    owners = pl.DataFrame({USER: subject.database.users.decode(subject.database.user_ix)})
    labels = owners.join(named, on=USER, how="left", maintain_order="left")[label]
    known = labels.is_not_null().to_numpy()
    missing = int(np.count_nonzero(~known))
    notes = (f"{missing:,} sequences have no label and are left out.",) if missing else ()
    return Groups(
        database=select(subject.database, known),
        labels=labels.drop_nulls().to_numpy().astype(str),
        title=title,
        notes=notes,
    )


def _sequence_of(
    database: SequenceDatabase, user_ix: NDArray[np.integer], time_s: NDArray[np.float64]
) -> NDArray[np.int64]:
    """The sequence that each (user, moment) falls into; the latest that began by then, -1 for none.

    Sequences lie in order of their users, and within one in order of their beginning.
    """
    filled = np.flatnonzero(np.diff(database.offsets) > 0)
    owner = database.user_ix[filled].astype(np.float64)
    begun = database.time_s[database.offsets[filled]]
    table = pl.DataFrame({"user": owner, "at": begun, "sequence": filled}).sort(
        "user", "at", maintain_order=True
    )
    asked = pl.DataFrame({"user": user_ix.astype(np.float64), "at": time_s}).with_row_index("place")
    found = asked.sort("user", "at").join_asof(
        table, on="at", by="user", strategy="backward", check_sortedness=False
    )
    return found.sort("place")["sequence"].fill_null(-1).to_numpy().astype(np.int64)
