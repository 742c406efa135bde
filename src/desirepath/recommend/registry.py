# SPDX-License-Identifier: Apache-2.0
"""Which of a workspace's trained models answers, which one waits, and how it came to that.

    runs/versions/NAME/     one folder a version; see recommend.versions
    runs/serving.json       the ledger: current, candidate, the way back, every change with its reason

It knows folders and names; it trains nothing and answers nobody. The model that `desirepath run` leaves in
runs/final is taken in by itself.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

import polars as pl

from desirepath.errors import WorkspaceError, nearest
from desirepath.recommend.versions import HEADER, Version, open_version, save_model, save_version
from desirepath.workspace import Workspace, write_atomically

FORMAT = 1
LEDGER = "serving.json"
MOST_LINES = 1000
"""Lines of history that are kept."""
TABLE = {
    "name": pl.String(),
    "model": pl.String(),
    "state": pl.String(),
    "made_at": pl.Datetime("us", "UTC"),
    "trained_until": pl.Datetime("us", "UTC"),
    "validation": pl.Float64(),
    "verdict": pl.String(),
    "difference": pl.Float64(),
    "low": pl.Float64(),
    "high": pl.Float64(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """What serving.json holds."""

    way: tuple[str, ...] = ()
    """Versions in the order they were promoted, the current one last; a rollback takes the last away."""
    candidate: str | None = None
    """The version in shadow."""
    known: tuple[str, ...] = ()
    """Versions that lie in runs/versions, oldest first."""
    adopted: tuple[str, ...] = ()
    """Names of runs/final that were taken in, so that none is taken in twice."""
    rejected: Mapping[str, str] = field(default_factory=dict)
    """Versions that are not to be promoted by themselves, and why."""
    history: tuple[Mapping[str, Any], ...] = ()
    """The latest changes, oldest first: at (UTC), what ("promote", "rollback", ...), name, reason."""

    @property
    def current(self) -> str | None:
        """The version that answers."""
        return self.way[-1] if self.way else None

    def noting(self, what: str, name: str, reason: str) -> Ledger:
        """This ledger with one more line of history; the oldest go once there are very many."""
        at = datetime.now(UTC).isoformat(timespec="seconds")
        line = {"at": at, "what": what, "name": name, "reason": reason}
        return replace(self, history=(*self.history, line)[-MOST_LINES:])


class Registry:
    """The versions of one workspace.

    Every change holds a lock, and replaces the ledger in one step: two processes may change it at once, and
    a cut leaves the old ledger or the new one. Reading takes no lock.
    """

    def __init__(self, workspace: Workspace) -> None:
        """Open the registry; a model of `desirepath run` that it does not know yet becomes the current one.

        Cost: the first time after such a run, a copy of runs/final.

        Raises:
            WorkspaceError: the ledger is damaged, or of a newer format.
        """
        self.workspace = workspace
        self.path = workspace.run(LEDGER)
        final = workspace.run("final")
        name = _name_in(final)
        if name is not None and name not in self.ledger().adopted:
            self._adopt(final, name)

    def folder(self, name: str) -> Path:
        """Where the version of that name lies."""
        return self.workspace.run("versions") / name

    def ledger(self) -> Ledger:
        """What serving.json says now; an empty ledger where there is none."""
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return Ledger()
        try:
            content = json.loads(text)
            written = content.pop("format")
            if written > FORMAT:
                raise WorkspaceError(
                    f"A ledger must be of format {FORMAT} or older; {self.path} has {written}. "
                    "Upgrade desirepath."
                )
            return Ledger(
                way=tuple(content["way"]),
                candidate=content["candidate"],
                known=tuple(content["known"]),
                adopted=tuple(content["adopted"]),
                rejected=content["rejected"],
                history=tuple(content["history"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise WorkspaceError(f"{self.path} is damaged ({error}). Restore a backup.") from error

    def current(self) -> str | None:
        """Name of the version that answers; None before the first."""
        return self.ledger().current

    def candidate(self) -> str | None:
        """Name of the version in shadow, or None."""
        return self.ledger().candidate

    def previous(self) -> str | None:
        """Name of the version that `rollback` would go back to, or None."""
        way = self.ledger().way
        return way[-2] if len(way) > 1 else None

    def open(self, name: str) -> Version:
        """The version of that name, ready to answer.

        Raises:
            WorkspaceError: there is none of that name.
        """
        self._must_know(self.ledger(), name)
        return open_version(self.folder(name))

    def versions(self) -> pl.DataFrame:
        """One row a version, the newest first.

        Columns: name, model, state ("current", "candidate", "rejected", "kept"; "damaged" where its folder
        cannot be read), made_at, trained_until, validation (NDCG@10 on events that chose it), and of its
        gate: verdict, difference from the model that was current then, low and high of its interval; null
        where there was no gate.
        """
        ledger = self.ledger()
        rows: list[dict[str, Any]] = []
        for name in reversed(ledger.known):
            try:
                header = _header(self.folder(name))
            except WorkspaceError:  # one folder that was damaged must not hide the others
                rows.append({"name": name, "state": "damaged", "made_at": _stamp(name)})
                continue
            made, model = header["made"], header["model"]
            gate = made.get("gate") or {}
            rows.append(
                {
                    "name": name,
                    "model": model,
                    "state": _state(ledger, name),
                    "made_at": _moment(made.get("made_at")) or _stamp(name),
                    "trained_until": _seconds(made.get("trained_until_s")),
                    "validation": (made.get("validation") or {}).get(model),
                    **{key: gate.get(key) for key in ("verdict", "difference", "low", "high")},
                }
            )
        return pl.DataFrame(rows, schema=TABLE)

    def add(self, version: Version, *, candidate: bool = False, reason: str = "") -> str:
        """Keep a version, and put it into shadow if it is the candidate; returns its name.

        Raises:
            WorkspaceError: a version of that name is there already.
        """
        place = self.folder(version.name)
        with self._changing() as ledger:
            if version.name in ledger.known:
                raise WorkspaceError(
                    f"A version's name must be new; {self.workspace.folder} has '{version.name}' already."
                )
            part = self._part(version.name)
            save_model(version.model, part)
            save_version(part, version)
            _settle(part, place)
            ledger = replace(ledger, known=(*ledger.known, version.name)).noting("add", version.name, reason)
            if candidate:
                ledger = replace(ledger, candidate=version.name)
            self._write(ledger)
        return version.name

    def promote(self, name: str, reason: str) -> None:
        """Make a version the current one; if it was the candidate, there is none any more.

        Raises:
            WorkspaceError: there is no such version, or it answers already.
        """
        with self._changing() as ledger:
            self._must_know(ledger, name)
            if ledger.current == name:
                raise WorkspaceError(f"'{name}' is the current version already; nothing was changed.")
            self._write(_promoted(ledger, name, reason))

    def reject(self, name: str, reason: str) -> None:
        """Take the candidate out of the shadow; it stays on disk, marked with the reason."""
        with self._changing() as ledger:
            self._must_know(ledger, name)
            if ledger.candidate == name:
                ledger = replace(ledger, candidate=None)
            rejected = {**ledger.rejected, name: reason}
            self._write(replace(ledger, rejected=rejected).noting("reject", name, reason))

    def rollback(self, reason: str = "") -> str:
        """Go one step back on the way of promotions, and say to which version; can be repeated.

        Raises:
            WorkspaceError: there is nothing to go back to.
        """
        with self._changing() as ledger:
            if len(ledger.way) < 2:
                raise WorkspaceError(
                    f"{self.workspace.folder} has no earlier version to go back to; the current one is "
                    f"{ledger.current!r}. See `desirepath models list`."
                )
            left, name = ledger.way[-1], ledger.way[-2]
            why = f"rolled back: {reason}" if reason else "rolled back"
            ledger = replace(ledger, way=ledger.way[:-1], rejected={**ledger.rejected, left: why})
            self._write(ledger.noting("rollback", name, reason))
        return name

    def retire(self, keep: int = 5) -> list[str]:
        """Remove all but the newest `keep` versions; returns what went.

        The current one, the candidate and the one that `rollback` would go back to always stay.
        """
        if keep < 1:
            raise WorkspaceError(f"At least 1 version must be kept; got keep={keep}.")
        with self._changing() as ledger:
            stay = {*ledger.known[-keep:], *ledger.way[-2:], ledger.candidate}
            gone = [name for name in ledger.known if name not in stay]
            if gone:
                ledger = replace(
                    ledger,
                    known=tuple(name for name in ledger.known if name in stay),
                    way=tuple(name for name, _ in groupby(name for name in ledger.way if name in stay)),
                    rejected={name: why for name, why in ledger.rejected.items() if name in stay},
                ).noting("retire", ", ".join(gone), f"keeping {keep}")
                self._write(ledger)
            for name in gone:  # after the ledger: a cut leaves folders too many, never a name without one
                shutil.rmtree(self.folder(name), ignore_errors=True)
        return gone

    def _adopt(self, final: Path, name: str) -> None:
        with self._changing() as ledger:
            if name in ledger.adopted:
                return
            if name not in ledger.known:
                part = self._part(name)
                shutil.copytree(final, part, ignore=shutil.ignore_patterns("checkpoint", "*.part"))
                _settle(part, self.folder(name))
                ledger = replace(ledger, known=(*ledger.known, name))
            self._write(_promoted(replace(ledger, adopted=(*ledger.adopted, name)), name, "desirepath run"))

    def _part(self, name: str) -> Path:
        """An empty folder beside the versions, for one that is being written."""
        part = self.workspace.run("versions") / f".{name}.part"
        shutil.rmtree(part, ignore_errors=True)
        part.parent.mkdir(parents=True, exist_ok=True)
        return part

    @contextlib.contextmanager
    def _changing(self) -> Iterator[Ledger]:
        """The ledger, while this process alone may change it; the lock goes with the process."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with (self.path.parent / ".serving.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield self.ledger()

    def _write(self, ledger: Ledger) -> None:
        write_atomically(self.path, json.dumps({"format": FORMAT, **asdict(ledger)}, indent=1) + "\n")
        _make_durable(self.path.parent)

    def _must_know(self, ledger: Ledger, name: str) -> None:
        if name not in ledger.known:
            raise WorkspaceError(
                f"{self.workspace.folder} has no version '{name}'. {nearest(name, reversed(ledger.known))}"
            )


def _promoted(ledger: Ledger, name: str, reason: str) -> Ledger:
    return replace(
        ledger,
        way=(*ledger.way, name),
        candidate=None if ledger.candidate == name else ledger.candidate,
        rejected={other: why for other, why in ledger.rejected.items() if other != name},
    ).noting("promote", name, reason)


def _state(ledger: Ledger, name: str) -> str:
    if name == ledger.current:
        return "current"
    if name == ledger.candidate:
        return "candidate"
    return "rejected" if name in ledger.rejected else "kept"


def _name_in(folder: Path) -> str | None:
    """The name of the version that lies in `folder`; None where there is no whole one."""
    return str(_header(folder)["name"]) if (folder / HEADER).exists() else None


def _header(folder: Path) -> dict[str, Any]:
    try:
        header: dict[str, Any] = json.loads((folder / HEADER).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError) as error:
        raise WorkspaceError(f"The version in {folder} is damaged ({error}). Restore a backup.") from error
    return header


def _settle(part: Path, place: Path) -> None:
    """Put a folder that was written wholly into its place, and make it outlast a power cut."""
    for path in part.iterdir():
        _make_durable(path)
    _make_durable(part)
    shutil.rmtree(place, ignore_errors=True)  # left by a cut between this step and the ledger
    part.replace(place)
    _make_durable(place.parent)


def _make_durable(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _stamp(name: str) -> datetime | None:
    """The moment that a name such as 20261122T101500-sasrec begins with."""
    try:
        return datetime.strptime(name[:15], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None


def _seconds(moment_s: float | None) -> datetime | None:
    return None if moment_s is None else datetime.fromtimestamp(moment_s, UTC)
