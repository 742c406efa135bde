# SPDX-License-Identifier: Apache-2.0
"""What an event log consists of: the parts and lists of ids that count, and where they came from.

The manifest is the log: a file that it does not name is no part of it. It is replaced in one step.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from desirepath.errors import WorkspaceError
from desirepath.events.parts import Group, Part
from desirepath.workspace import write_atomically

FORMAT = 1
NAME = "manifest.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestReport:
    """What became of one raw log."""

    number: int
    """1 for the first that a log took in; 0 when nothing was taken in, as the log had it."""
    names: tuple[str, ...]
    """Files, or whatever the raw log came from."""
    fingerprints: tuple[str, ...]
    """Identity of the content of each."""
    rows_read: int
    rows_kept: int
    removed: Mapping[str, int] = field(default_factory=dict)
    """Reason (a key of `cleaning.RULES`) to rows removed; only reasons that struck."""
    mended: Mapping[str, int] = field(default_factory=dict)
    """What was changed, such as "html_entities:query", to the rows in which it was."""
    n_users: int = 0
    """Users with rows kept."""
    n_items: int = 0
    """Items with rows kept."""
    new_users: int = 0
    """Users that the log did not know."""
    new_items: int = 0
    """Items that the log did not know."""
    is_relative: bool = False
    """Times count from an origin that the log does not state."""
    seconds: float = 0.0
    at: str = ""
    """When it was taken in, ISO 8601."""

    @property
    def was_known(self) -> bool:
        """Whether the log had all of it already, so that nothing was read."""
        return self.number == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Everything that makes up a log."""

    ingests: tuple[IngestReport, ...] = ()
    parts: tuple[Part, ...] = ()
    """In the order in which they were taken in; by user within one intake."""
    id_files: tuple[str, ...] = ()
    """One a list and intake, "000001/user_id.parquet"; together, in order, they are all ids."""
    n_users: int = 0
    n_items: int = 0
    n_actions: int = 0
    erasures: int = 0
    """How many times rows of users were taken out."""

    @property
    def rows(self) -> int:
        """Number of events."""
        return sum(part.rows for part in self.parts)

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that some part has, in order of first appearance."""
        return tuple(dict.fromkeys(name for part in self.parts for name in part.columns))

    def known(self, fingerprints: Iterable[str]) -> set[str]:
        """Those fingerprints whose content the log has."""
        return {print_ for ingest in self.ingests for print_ in ingest.fingerprints} & set(fingerprints)

    def save(self, folder: Path) -> None:
        """Write it in one step."""
        write_atomically(folder / NAME, json.dumps({"format": FORMAT, **asdict(self)}) + "\n")

    @staticmethod
    def load(folder: Path) -> Manifest:
        """The manifest of a folder; an empty one where there is none.

        Raises:
            WorkspaceError: it is damaged, or of a newer format.
        """
        path = folder / NAME
        try:
            plain = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return Manifest()
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise WorkspaceError(f"{path} is damaged ({error}). Restore it from a backup.") from error
        made_by = plain.get("format") if isinstance(plain, dict) else None
        if not isinstance(made_by, int):
            raise WorkspaceError(f"{path} must name its format; it does not. Restore it from a backup.")
        if made_by > FORMAT:
            raise WorkspaceError(
                f"An event log must have format {FORMAT} or older; {folder} has {made_by}. "
                "Upgrade desirepath."
            )
        try:
            return _read(plain)
        except (KeyError, TypeError) as error:
            raise WorkspaceError(f"{path} is damaged ({error!r}). Restore it from a backup.") from error


def _read(plain: dict[str, Any]) -> Manifest:
    ingests = tuple(
        IngestReport(
            **{**entry, "names": tuple(entry["names"]), "fingerprints": tuple(entry["fingerprints"])}
        )
        for entry in plain["ingests"]
    )
    parts = tuple(
        Part(
            **{
                **entry,
                "columns": tuple(entry["columns"]),
                "groups": tuple(Group(**group) for group in entry["groups"]),
            }
        )
        for entry in plain["parts"]
    )
    return Manifest(
        ingests=ingests,
        parts=parts,
        id_files=tuple(plain["id_files"]),
        n_users=plain["n_users"],
        n_items=plain["n_items"],
        n_actions=plain["n_actions"],
        erasures=plain.get("erasures", 0),
    )
