# SPDX-License-Identifier: Apache-2.0
"""A project on disk: event log, sequences, runs, reports, and which steps are done.

    DIR/
      desirepath.json     format and version of the workspace
      desirepath.toml     settings, if the user wrote any
      events/             the event log
      items.parquet       what is known of items, if given; users.parquet likewise
      sequences/          the packed sequences
      runs/NAME/          one folder a trained model: weights, settings, curve
      behaviour/          what was mined: patterns, paths, contrasts
      segments/           the segments of users
      evaluation.json     the models compared
      recommendations.parquet
      report.html
      steps/NAME.json     what a finished step was made from, so that `run` can continue

Everything is written under another name and then renamed, so that a cut leaves the old or the new.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from desirepath.errors import WorkspaceError

FORMAT = 1
HEADER = "desirepath.json"


def write_atomically(path: Path, text: str) -> None:
    """Write a text file so that a cut leaves the old one or the new one, never half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def stamp(path: Path) -> tuple[int, int] | None:
    """What changes when a file is replaced: its date (ns) and size (bytes); None where there is none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_mtime_ns, status.st_size


def fingerprint(*parts: Any) -> str:
    """A short hash of plain values; equal inputs, equal fingerprint.

    >>> fingerprint("a", {"k": 10}) == fingerprint("a", {"k": 10})
    True
    """
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


class Workspace:
    """A folder that holds one project; made by `create`, found again by `open`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def create(cls, folder: Path) -> Workspace:
        """The workspace in `folder`, made when there is none yet.

        Raises:
            WorkspaceError: the folder is a file, holds something else, or a newer workspace.
        """
        if (folder / HEADER).exists():
            return cls.open(folder)
        if folder.exists() and not folder.is_dir():
            raise WorkspaceError(f"A workspace must be a folder; {folder} is a file. Choose another --to.")
        ours = {"desirepath.toml", f"{HEADER}.part"}
        if folder.exists() and any(path.name not in ours for path in folder.iterdir()):
            raise WorkspaceError(
                f"A new workspace must start in an empty folder; {folder} holds other files. "
                "Choose another --to."
            )
        write_atomically(folder / HEADER, json.dumps({"format": FORMAT}) + "\n")
        return cls(folder)

    @classmethod
    def open(cls, folder: Path) -> Workspace:
        """The workspace that lies in `folder`.

        Raises:
            WorkspaceError: there is none, it is damaged, or a newer version wrote it.
        """
        try:
            header = json.loads((folder / HEADER).read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            raise WorkspaceError(
                f"{folder} is no workspace. Make one with `desirepath run FILE --to {folder}`."
            ) from None
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise WorkspaceError(f"{folder / HEADER} is damaged ({error}). Restore a backup.") from error
        if not isinstance(header, dict) or not isinstance(header.get("format"), int):
            raise WorkspaceError(f"{folder / HEADER} must name its format; it does not. Restore it.")
        if header["format"] > FORMAT:
            raise WorkspaceError(
                f"A workspace must have format {FORMAT} or older; {folder} has {header['format']}. "
                "Upgrade desirepath to open it."
            )
        return cls(folder)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the workspace alone; the lock goes with the process, however it ends.

        Raises:
            WorkspaceError: another process holds it.
        """
        with (self.folder / ".lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise WorkspaceError(
                    f"Another desirepath process is writing to {self.folder}. Wait for it, or stop it."
                ) from None
            yield

    @property
    def settings_path(self) -> Path:
        """The user's TOML; it need not exist."""
        return self.folder / "desirepath.toml"

    @property
    def events(self) -> Path:
        """Folder of the event log."""
        return self.folder / "events"

    @property
    def sequences(self) -> Path:
        """Folder of the packed sequences."""
        return self.folder / "sequences"

    def table(self, kind: str) -> Path:
        """Where the table of "items" or "users" lies."""
        return self.folder / f"{kind}.parquet"

    def run(self, name: str) -> Path:
        """Folder of one trained model."""
        return self.folder / "runs" / name

    @property
    def behaviour(self) -> Path:
        """Folder of what was mined for the report: patterns, paths, contrasts."""
        return self.folder / "behaviour"

    @property
    def segments(self) -> Path:
        """Folder of the segments."""
        return self.folder / "segments"

    @property
    def evaluation(self) -> Path:
        """The models compared, as JSON."""
        return self.folder / "evaluation.json"

    @property
    def recommendations(self) -> Path:
        """Parquet of (user_id, item_id, rank, score, probability)."""
        return self.folder / "recommendations.parquet"

    @property
    def report(self) -> Path:
        """The report to look at in a browser."""
        return self.folder / "report.html"

    def step(self, name: str) -> dict[str, Any] | None:
        """What a finished step left behind, or None when it is not finished."""
        path = self.folder / "steps" / f"{name}.json"
        try:
            done: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except json.JSONDecodeError as error:
            raise WorkspaceError(f"{path} is damaged ({error}). Remove it to do the step again.") from error
        return done

    def finish(self, name: str, made_from: str, **left: Any) -> None:
        """Mark a step as finished: the fingerprint of its input, and plain values to remember."""
        entry = {"made_from": made_from, **left}
        write_atomically(self.folder / "steps" / f"{name}.json", json.dumps(entry, indent=1) + "\n")

    def is_done(self, name: str, made_from: str) -> bool:
        """Whether the step was finished from this very input."""
        done = self.step(name)
        return done is not None and done["made_from"] == made_from

    def replace_folder(self, made: Path, place: Path) -> None:
        """Put a freshly made folder in the place of an older one.

        Two renames and a removal: between the renames the place is empty, never half full.
        """
        old = place.with_name(place.name + ".old")
        shutil.rmtree(old, ignore_errors=True)
        if place.exists():
            place.replace(old)
        made.replace(place)
        shutil.rmtree(old, ignore_errors=True)
