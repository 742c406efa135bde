# SPDX-License-Identifier: Apache-2.0
"""The waist of the house: every user's events in order of time, packed into flat arrays.

Mining, features, models, evaluation and serving read this structure and nothing rawer. It knows
no tables and no models. It comes from `build`, and lies on disk as one `.npy` file a column, so
that it is memory-mapped rather than loaded.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from desirepath.errors import DataError, ShapeError
from desirepath.sequences.vocabulary import Vocabulary

FORMAT = 1
HEADER = "sequences.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequences:
    """All users' events; user u owns rows offsets[u]:offsets[u+1], oldest first.

    Tied times keep the order of the file they came from.
    """

    offsets: NDArray[np.int64]
    """(n_users + 1,) first row of each user; the last entry is the number of events."""
    item_ix: NDArray[np.int32]
    """(n_events,) index into `items`."""
    action_ix: NDArray[np.int16]
    """(n_events,) index into `actions`."""
    time_s: NDArray[np.float64]
    """(n_events,) seconds since 1970 UTC, exact to the microsecond; never decreases within a user."""
    users: Vocabulary
    """User ids; no reserved index, so that user_ix is the row of `offsets`."""
    items: Vocabulary
    actions: Vocabulary
    context: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    """Further columns of (n_events,), such as "value" (float32) or "session_ix" (int32)."""
    labels: Mapping[str, Vocabulary] = field(default_factory=dict)
    """The words behind context columns that are coded, such as "device"; index 1 is none or unknown."""

    def __post_init__(self) -> None:
        n = len(self.item_ix)
        columns: dict[str, NDArray[Any]] = {
            "action_ix": self.action_ix,
            "time_s": self.time_s,
            **self.context,
        }
        for name, column in columns.items():
            if len(column) != n:
                raise ShapeError(f"Every column must have {n} rows like item_ix; {name} has {len(column)}.")
        if (
            len(self.offsets) != len(self.users) + 1
            or int(self.offsets[-1]) != n
            or int(self.offsets[0]) != 0
        ):
            raise ShapeError(
                f"offsets must run from 0 to {n} in {len(self.users) + 1} entries; "
                f"it has {len(self.offsets)} and ends at {self.offsets[-1] if len(self.offsets) else None}."
            )

    @property
    def n_users(self) -> int:
        """Number of users, those without events included."""
        return len(self.offsets) - 1

    @property
    def n_events(self) -> int:
        """Number of events."""
        return len(self.item_ix)

    @property
    def n_items(self) -> int:
        """Number of real items: the vocabulary without its reserved indexes."""
        return len(self.items) - self.items.reserved

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(n_users,) events of each user."""
        return np.diff(self.offsets)

    @property
    def user_ix(self) -> NDArray[np.int32]:
        """(n_events,) the user of each row; made on call, 4 bytes an event."""
        return np.repeat(np.arange(self.n_users, dtype=np.int32), self.lengths)

    def select(self, rows: NDArray[np.bool_]) -> Sequences:
        """The same users and vocabularies with only the rows where `rows` is true.

        Shapes: rows (n_events,) bool.     Cost: one pass over each column.
        """
        if rows.shape != (self.n_events,):
            raise ShapeError(f"rows must have shape ({self.n_events},); got {rows.shape}.")
        before = np.concatenate([np.zeros(1, np.int64), np.cumsum(rows, dtype=np.int64)])
        return Sequences(
            offsets=before[self.offsets],
            item_ix=self.item_ix[rows],
            action_ix=self.action_ix[rows],
            time_s=self.time_s[rows],
            users=self.users,
            items=self.items,
            actions=self.actions,
            context={name: column[rows] for name, column in self.context.items()},
            labels=self.labels,
        )

    def with_action(self, action_id: str) -> Sequences:
        """Only the events of one action."""
        ix = self.actions.index(action_id)
        if ix is None:
            raise DataError(f"No event has the action '{action_id}'. Known: {self.actions.ids.to_list()}.")
        return self.select(np.asarray(self.action_ix == ix))

    def to_frame(self) -> pl.DataFrame:
        """One row an event, with outside ids and words: user_id, item_id, action, time, context columns."""
        micros = np.rint(np.asarray(self.time_s) * 1e6).astype(np.int64)
        return pl.DataFrame(
            {
                "user_id": self.users.decode(self.user_ix),
                "item_id": self.items.decode(self.item_ix),
                "action": self.actions.decode(self.action_ix),
                "time": pl.Series(micros).cast(pl.Datetime("us", "UTC")),
                **{
                    name: self.labels[name].decode(column) if name in self.labels else np.asarray(column)
                    for name, column in self.context.items()
                },
            }
        )

    def save(self, folder: Path) -> None:
        """Write one file a column into `folder`; see `replaced` for what a cut leaves."""
        with replaced(folder) as (part, header):
            columns: dict[str, NDArray[Any]] = {
                "offsets": self.offsets,
                "item_ix": self.item_ix,
                "action_ix": self.action_ix,
                "time_s": self.time_s,
                **self.context,
            }
            for name, column in columns.items():
                with part(f"{name}.npy").open("wb") as file:  # a name would be given one more suffix
                    np.save(file, column, allow_pickle=False)
            write_words(part, self.users, self.items, self.actions, self.labels)
            header |= {
                "n_users": self.n_users,
                "n_events": self.n_events,
                "n_items": self.n_items,
                "context": sorted(self.context),
                "labels": sorted(self.labels),
            }

    @staticmethod
    def load(folder: Path) -> Sequences:
        """Open what `save` wrote, memory-mapped: opening costs the vocabularies, not the events.

        Raises:
            DataError: the folder holds no complete sequences, or those of a newer format.
        """
        try:
            header = json.loads((folder / HEADER).read_text())
        except FileNotFoundError:
            raise DataError(f"{folder} holds no sequences. Run `desirepath ingest` first.") from None
        if header["format"] > FORMAT:
            raise DataError(
                f"Sequences must be of format {FORMAT} or older; {folder} has {header['format']}. "
                "Upgrade desirepath."
            )

        def column(name: str) -> NDArray[Any]:
            # An empty file cannot be mapped.
            mode: Literal["r"] | None = "r" if header["n_events"] else None
            array: NDArray[Any] = np.load(folder / f"{name}.npy", mmap_mode=mode, allow_pickle=False)
            return array

        def vocabulary(name: str, reserved: int) -> Vocabulary:
            ids = pl.read_ipc(folder / f"{name}.arrow").get_column("id")
            return Vocabulary(ids, reserved=reserved)

        return Sequences(
            offsets=column("offsets"),
            item_ix=column("item_ix"),
            action_ix=column("action_ix"),
            time_s=column("time_s"),
            users=vocabulary("users", 0),
            items=vocabulary("items", 2),
            actions=vocabulary("actions", 2),
            context={name: column(name) for name in header["context"]},
            labels={name: vocabulary(f"labels-{name}", 2) for name in header.get("labels", [])},
        )

    @staticmethod
    def from_lists(histories: Mapping[str, Sequence[str]] | Iterable[Sequence[str]]) -> Sequences:
        """Sequences from plain lists of item ids; times are 0, 1, 2 ... seconds within a user.

        For small worlds, tests and ids typed by hand. A mapping names the users; without one they
        are "0", "1", ...

        >>> world = Sequences.from_lists([["a", "b"], ["b"]])
        >>> world.offsets.tolist(), world.item_ix.tolist()
        ([0, 2, 3], [2, 3, 3])
        """
        named = (
            dict(histories)
            if isinstance(histories, Mapping)
            else {str(u): items for u, items in enumerate(histories)}
        )
        lengths = np.array([len(items) for items in named.values()], dtype=np.int64)
        flat = pl.Series([item for items in named.values() for item in items], dtype=pl.String)
        items = Vocabulary([]).extended(flat)
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        rows = np.arange(len(flat), dtype=np.int64)
        return Sequences(
            offsets=offsets,
            item_ix=items.encode(flat).astype(np.int32),
            action_ix=np.full(len(flat), 2, dtype=np.int16),
            time_s=(rows - np.repeat(offsets[:-1], lengths)).astype(np.float64),
            users=Vocabulary(named, reserved=0),
            items=items,
            actions=Vocabulary(["event"]),
        )


@contextmanager
def replaced(folder: Path) -> Iterator[tuple[Callable[[str], Path], dict[str, Any]]]:
    """Write the files of `folder` anew: gives the path for each name, and the header to fill in.

    Everything is written beside the old files; they are swapped at the end, the header last, so that a
    cut leaves the old sequences or none that can be opened, and maps of the old files stay valid.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts: list[Path] = []

    def part(name: str) -> Path:
        parts.append(folder / f"{name}.part")
        return parts[-1]

    header: dict[str, Any] = {"format": FORMAT}
    try:
        yield part, header
        head = part(HEADER)
        head.write_text(json.dumps(header, indent=1))
    except BaseException:
        for path in parts:
            path.unlink(missing_ok=True)
        raise
    (folder / HEADER).unlink(missing_ok=True)
    for path in parts:
        path.replace(path.with_suffix(""))


def write_words(
    part: Callable[[str], Path],
    users: Vocabulary,
    items: Vocabulary,
    actions: Vocabulary,
    labels: Mapping[str, Vocabulary],
) -> None:
    """Write the vocabularies into files that `part` names."""
    named = {"users": users, "items": items, "actions": actions}
    for name, vocabulary in {**named, **{f"labels-{name}": words for name, words in labels.items()}}.items():
        pl.DataFrame({"id": vocabulary.ids}).write_ipc(part(f"{name}.arrow"))
