# SPDX-License-Identifier: Apache-2.0
"""The sequence database: what the miners read, one small integer an event.

It chooses what an event is called (its item, its action, a category, or several joined), whose
sequence it belongs to (a user's, or one session's), and which events count as simultaneous. It knows no
miner. It comes from `Sequences`; every row remembers where it came from.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from desirepath.errors import ConfigError, DataError, ShapeError, TooLittleData, nearest
from desirepath.schema import FIRST, ITEM
from desirepath.sequences import Sequences, Vocabulary

JOINT = ":"
NO_LABEL = "<none>"


@dataclass(frozen=True, slots=True, kw_only=True)
class SymbolConfig:
    """What an event is called, and what a sequence is."""

    by: tuple[str, ...] = ("item",)
    """What names an event: "item", "action", a column of the items' table such as "category", or a coded
    context column such as "device"; several are joined in this order by ":", as in "view:shoes"."""
    per: Literal["user", "session"] = "user"
    """Whose events make a sequence: all of a user's, or those of one session."""
    session_gap_s: float = 1800.0
    """Seconds without an event that end a session, above 0; used where the log bears no session."""
    collapse_repeats: bool = False
    """Whether an event with the name of the one before it in its sequence is passed over."""
    simultaneous: bool = False
    """Whether events of one sequence at the same instant are one element, a set without order."""
    actions: tuple[str, ...] = ()
    """Only events with these actions; empty for all."""

    def __post_init__(self) -> None:
        if not self.by:
            raise ConfigError(
                "by must name at least one of item, action, an item column or a context column."
            )
        if self.per not in ("user", "session"):
            raise ConfigError(f"per must be 'user' or 'session'; got '{self.per}'.")
        if not self.session_gap_s > 0:
            raise ConfigError(f"session_gap_s must be above 0 seconds; got {self.session_gap_s}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceDatabase:
    """S sequences of N events; sequence s owns rows offsets[s]:offsets[s+1], oldest first."""

    offsets: NDArray[np.int64]
    """(S + 1,) first row of each sequence."""
    symbol_ix: NDArray[np.int32]
    """(N,) what happened, an index into `symbols` from 0."""
    time_s: NDArray[np.float64]
    """(N,) seconds since 1970 UTC, never decreasing within a sequence."""
    symbols: Vocabulary
    """The names of what can happen; nothing is reserved."""
    user_ix: NDArray[np.int32]
    """(S,) whose sequence it is, an index into `users`."""
    users: Vocabulary
    row: NDArray[np.int64]
    """(N,) row of the event in the `Sequences` it came from."""
    element: NDArray[np.int32] | None = None
    """(N,) number of the event's element within its sequence, from 0, never decreasing; events that share it
    happened at once, and their symbols are distinct and ascending. None: every event is its own."""

    def __post_init__(self) -> None:
        n = len(self.symbol_ix)
        if len(self.time_s) != n or len(self.row) != n or int(self.offsets[-1]) != n:
            raise ShapeError(
                f"time_s and row must have {n} entries like symbol_ix and offsets must end there; they have "
                f"{len(self.time_s)} and {len(self.row)}, and offsets ends at {int(self.offsets[-1])}."
            )
        if len(self.user_ix) != len(self.offsets) - 1:
            raise ShapeError(
                f"user_ix must have an entry for each of {len(self.offsets) - 1} sequences; "
                f"it has {len(self.user_ix)}."
            )

    @property
    def n_sequences(self) -> int:
        """Number of sequences, empty ones included: what a share of support is a share of."""
        return len(self.offsets) - 1

    @property
    def n_events(self) -> int:
        """Number of events."""
        return len(self.symbol_ix)

    @property
    def n_symbols(self) -> int:
        """Number of different names."""
        return len(self.symbols)

    def keep(self, rows: NDArray[np.bool_]) -> SequenceDatabase:
        """The same sequences with only the events where `rows` is true; some may become empty.

        Shapes: rows (N,) bool.     Cost: one pass over each column.
        """
        if rows.shape != (self.n_events,):
            raise ShapeError(f"rows must have shape ({self.n_events},); got {rows.shape}.")
        before = np.concatenate([np.zeros(1, np.int64), np.cumsum(rows, dtype=np.int64)])
        return SequenceDatabase(
            offsets=before[self.offsets],
            symbol_ix=self.symbol_ix[rows],
            time_s=self.time_s[rows],
            symbols=self.symbols,
            user_ix=self.user_ix,
            users=self.users,
            row=self.row[rows],
            element=None if self.element is None else self.element[rows],
        )

    @staticmethod
    def from_lists(
        sequences: Sequence[Sequence[str]] | Sequence[Sequence[Iterable[str]]],
        *,
        time_s: Sequence[Sequence[float]] | None = None,
    ) -> SequenceDatabase:
        """A database from plain lists of names; a name may be a set, for events that happen at once.

        Times count 0, 1, 2... within a sequence unless given. For teaching and tests: it loops in Python.

        >>> SequenceDatabase.from_lists([["a", "b"], ["b"]]).symbol_ix.tolist()
        [0, 1, 1]
        """
        plain = all(isinstance(event, str) for one in sequences for event in one)
        events = [
            [(name,) if isinstance(name, str) else tuple(sorted(set(name))) for name in one]
            for one in sequences
        ]
        names = sorted({name for one in events for event in one for name in event})
        symbols = Vocabulary(names, reserved=0)
        flat = [(s, e, name) for s, one in enumerate(events) for e, event in enumerate(one) for name in event]
        lengths = (
            np.bincount([s for s, _, _ in flat], minlength=len(events)) if flat else np.zeros(len(events))
        )
        times = [float(e) if time_s is None else float(time_s[s][e]) for s, e, _ in flat]
        return SequenceDatabase(
            offsets=np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)]),
            symbol_ix=np.array([symbols.index(name) for _, _, name in flat], dtype=np.int32),
            time_s=np.array(times, dtype=np.float64),
            symbols=symbols,
            user_ix=np.arange(len(events), dtype=np.int32),
            users=Vocabulary([str(s) for s in range(len(events))], reserved=0),
            row=np.arange(len(flat), dtype=np.int64),
            element=None if plain else np.array([e for _, e, _ in flat], dtype=np.int32),
        )


def sequence_database(
    sequences: Sequences, config: SymbolConfig | None = None, items: pl.DataFrame | None = None
) -> SequenceDatabase:
    """The database that a miner reads.

    Args:
        sequences: all users' events.
        config: what an event is called, and what a sequence is.
        items: a table with `item_id` and the columns that `config.by` names; a column of lists or a text
            with several labels counts as one label.

    Cost: a few passes over the events; 16 to 28 bytes an event.

    Raises:
        ConfigError: a name in `by` is neither item, action, a column of `items` nor coded context.
        TooLittleData: no event is left.
    """
    config = config or SymbolConfig()
    kept = _kept_rows(sequences, config)
    code, symbols = _names(sequences, config, items)
    if kept is None:
        # Copies, not maps of a file: compiled code has one form for arrays that may be written to.
        row, offsets = np.arange(sequences.n_events, dtype=np.int64), np.array(sequences.offsets)
        time_s, symbol = np.array(sequences.time_s), code
    else:
        row = np.flatnonzero(kept)
        before = np.concatenate([np.zeros(1, np.int64), np.cumsum(kept, dtype=np.int64)])
        offsets = before[np.asarray(sequences.offsets)]
        time_s, symbol = np.asarray(sequences.time_s)[row], code[row]
    if not len(row):
        raise TooLittleData(
            f"Mining needs at least one event; none of {sequences.n_events} is left. Choose other actions."
        )
    owner = np.arange(sequences.n_users, dtype=np.int32)
    if config.per == "session":
        session = sequences.context.get("session_ix")
        if session is not None:
            session = np.asarray(session)[row]
            order = _session_order(session, offsets)
            if order is not None:
                row, time_s, symbol, session = row[order], time_s[order], symbol[order], session[order]
        user = np.repeat(owner, np.diff(offsets))
        opens = _opens(offsets)
        opens[1:] |= _session_opens(session, time_s, config)
        first = np.flatnonzero(opens)
        owner, offsets = user[first], np.append(first, len(row))
    if config.collapse_repeats:
        fresh = _opens(offsets)
        fresh[1:] |= symbol[1:] != symbol[:-1]
        before = np.concatenate([np.zeros(1, np.int64), np.cumsum(fresh, dtype=np.int64)])
        row, time_s, symbol, offsets = row[fresh], time_s[fresh], symbol[fresh], before[offsets]
    element = None
    if config.simultaneous:
        order, element = _elements(_opens(offsets), time_s, symbol)
        row, time_s, symbol = row[order], time_s[order], symbol[order]
        if len(order) < int(offsets[-1]):  # the same thing twice at one instant is one member of the set
            sequence = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))[order]
            lengths = np.bincount(sequence, minlength=len(offsets) - 1)
            offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])
    return SequenceDatabase(
        offsets=offsets,
        symbol_ix=symbol,
        time_s=time_s,
        symbols=symbols,
        user_ix=owner,
        users=sequences.users,
        row=row,
        element=element,
    )


def _kept_rows(sequences: Sequences, config: SymbolConfig) -> NDArray[np.bool_] | None:
    kept = None
    if config.actions:
        wanted = []
        for name in config.actions:
            ix = sequences.actions.index(name)
            if ix is None:
                raise ConfigError(
                    f"No event has the action '{name}'. {nearest(name, sequences.actions.ids.to_list())}"
                )
            wanted.append(ix)
        kept = np.isin(np.asarray(sequences.action_ix), wanted)
    return kept


def _names(
    sequences: Sequences, config: SymbolConfig, items: pl.DataFrame | None
) -> tuple[NDArray[np.int32], Vocabulary]:
    """The code of every event and what the codes mean, only those that occur, in order of their parts."""
    total: NDArray[np.integer] | None = None
    words: list[pl.Series] = []
    for name in config.by:
        code, labels = _part(sequences, name, items)
        total = code if total is None else total.astype(np.int64) * len(labels) + code
        words.append(labels)
    assert total is not None, "by names at least one part"
    space = int(np.prod([len(labels) for labels in words], dtype=np.float64))
    if space <= 1 << 26:  # a table of all codes is cheaper than sorting the events
        seen = np.zeros(max(1, space), bool)
        seen[total] = True
        present = np.flatnonzero(seen)
        place = np.zeros(len(seen), np.int32)
        place[present] = np.arange(len(present), dtype=np.int32)
        symbol = place[total]
    else:
        present, inverse = np.unique(total, return_inverse=True)
        symbol = inverse.astype(np.int32)
    parts = []
    rest = present
    for labels in reversed(words):
        parts.append(labels.gather(pl.Series(rest % len(labels))))
        rest = rest // len(labels)
    columns = {str(i): part for i, part in enumerate(reversed(parts))}
    names = pl.select(pl.concat_str(list(columns.values()), separator=JOINT)).to_series()
    if names.n_unique() < len(names):
        # Two columns can spell the same joined name; they are then the same event.
        distinct = names.unique(maintain_order=True)
        symbol = Vocabulary(distinct, reserved=0).encode(names)[symbol].astype(np.int32)
        names = distinct
    return symbol, Vocabulary(names, reserved=0)


def _part(
    sequences: Sequences, name: str, items: pl.DataFrame | None
) -> tuple[NDArray[np.integer], pl.Series]:
    """Codes from 0 and labels of one part of a name."""
    if name == "item":
        return np.asarray(sequences.item_ix), sequences.items.decode(range(len(sequences.items)))
    if name == "action":
        return np.asarray(sequences.action_ix), sequences.actions.decode(range(len(sequences.actions)))
    if items is not None and name in items.columns and name != ITEM:
        known = pl.DataFrame({ITEM: sequences.items.ids})
        column = items.select(ITEM, name).unique(ITEM, keep="first", maintain_order=True)
        if isinstance(column[name].dtype, pl.List):
            column = column.with_columns(pl.col(name).cast(pl.List(pl.String)).list.join("|"))
        text = known.join(column, on=ITEM, how="left", maintain_order="left")[name].cast(pl.String)
        text = text.fill_null(NO_LABEL)
        labels = pl.concat([pl.Series([NO_LABEL]), text]).unique(maintain_order=True)
        of_item = Vocabulary(labels, reserved=0).encode(text)
        by_entry = np.concatenate([np.zeros(FIRST, np.int64), of_item])
        return by_entry[np.asarray(sequences.item_ix)], labels
    if name in sequences.labels:
        vocabulary = sequences.labels[name]
        return np.asarray(sequences.context[name]), vocabulary.decode(range(len(vocabulary)))
    known_names = ["item", "action", *sequences.labels]
    known_names += [] if items is None else [column for column in items.columns if column != ITEM]
    raise ConfigError(f"by must name what events are called by; got '{name}'. {nearest(name, known_names)}")


def _opens(offsets: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(N,) whether each row is the first of its sequence."""
    opens = np.zeros(int(offsets[-1]), bool)
    opens[offsets[:-1][offsets[:-1] < offsets[1:]]] = True
    return opens


def _session_order(session: NDArray[np.integer], offsets: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """The order in which each session of a user is one piece, or None where they are.

    Sessions of one user may run side by side; only the users of whom that is true are sorted.
    """
    back = session[1:] < session[:-1]
    back &= ~_opens(offsets)[1:]
    if not back.any():
        return None
    lengths = np.diff(offsets)
    user = np.repeat(np.arange(len(lengths)), lengths)
    mixed = np.zeros(len(lengths), bool)
    mixed[user[1:][back]] = True
    order = np.arange(len(session))
    rows = np.flatnonzero(mixed[user])
    order[rows] = rows[np.lexsort((session[rows], user[rows]))]
    return order


def _session_opens(
    session: NDArray[np.integer] | None, time_s: NDArray[np.float64], config: SymbolConfig
) -> NDArray[np.bool_]:
    """Whether each row but the first begins a session of its user: another session, or a pause."""
    pause = np.diff(time_s) > config.session_gap_s
    if session is None:
        return pause
    return np.where((session[1:] >= 0) & (session[:-1] >= 0), session[1:] != session[:-1], pause)


def _elements(
    opens: NDArray[np.bool_], time_s: NDArray[np.float64], symbol: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """The order of rows with symbols ascending within an instant, doubles left out; and element numbers."""
    starts = opens.copy()
    starts[1:] |= time_s[1:] != time_s[:-1]
    instant = np.cumsum(starts) - 1
    order = np.lexsort((symbol, instant))
    kept = np.ones(len(order), bool)
    kept[1:] = (np.diff(instant[order]) > 0) | (np.diff(symbol[order]) != 0)
    order = order[kept]
    first_instant = np.maximum.accumulate(np.where(opens, instant, 0))
    return order, (instant - first_instant)[order].astype(np.int32)


def joined(parts: Sequence[SequenceDatabase]) -> SequenceDatabase:
    """The sequences of all parts, one part after the other; the parts share symbols and users."""
    elements = [part.element for part in parts if part.element is not None]
    return SequenceDatabase(
        offsets=np.concatenate(
            [np.zeros(1, np.int64), np.cumsum(np.concatenate([np.diff(part.offsets) for part in parts]))]
        ),
        symbol_ix=np.concatenate([part.symbol_ix for part in parts]),
        time_s=np.concatenate([part.time_s for part in parts]),
        symbols=parts[0].symbols,
        user_ix=np.concatenate([part.user_ix for part in parts]),
        users=parts[0].users,
        row=np.concatenate([part.row for part in parts]),
        element=np.concatenate(elements) if elements else None,
    )


def check_nonempty(database: SequenceDatabase) -> None:
    """Raise where there is nothing to mine.

    Raises:
        DataError: no sequence holds an event.
    """
    if not database.n_events:
        raise DataError("Mining needs at least one event; the database holds none. Select more of the log.")
