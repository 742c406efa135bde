# SPDX-License-Identifier: Apache-2.0
"""Keys of a workspace: make, list, revoke, rotate."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from desirepath.flows.words import Answer
from desirepath.serving.keys import Key, KeyRing
from desirepath.workspace import Workspace

ONCE = "It is shown this once and kept nowhere; hand it over by a safe way."


def create_key(folder: Path, scope: str, label: str, expires_days: float | None) -> Answer:
    """Make a key; the answer is the only place where its token stands."""
    token, key = _ring(folder).create(scope, label=label, expires_days=expires_days)
    return _token_shown(token, key)


def list_keys(folder: Path) -> Answer:
    """All keys of the workspace, without what would open anything."""
    keys = _ring(folder).all()
    table = Table("id", "scope", "label", "state", "made", "expires", box=None, pad_edge=False)
    for plain in map(_plain, keys):
        table.add_row(
            *(escape(str(plain[name] or "")) for name in ("id", "scope", "label", "state")),
            *(str(plain[name] or "never")[:16] for name in ("created", "expires")),
        )
    nothing = f"No keys: only this machine may ask. `desirepath keys create {folder}` makes one."
    return Answer({"keys": [_plain(key) for key in keys]}, [table if keys else escape(nothing)])


def revoke_key(folder: Path, key_id: str) -> Answer:
    """Make a key worthless; a running server knows at once."""
    key = _ring(folder).revoke(key_id)
    return Answer(_plain(key), [f"{key.id} opens nothing any more."])


def rotate_key(folder: Path, key_id: str, overlap_hours: float) -> Answer:
    """Make a key's successor; the old one goes on to work for a while."""
    token, key = _ring(folder).rotate(key_id, overlap_hours=overlap_hours)
    return _token_shown(token, key, f"{key_id} goes on to work for {overlap_hours:g} hours.")


def _ring(folder: Path) -> KeyRing:
    return KeyRing(Workspace.open(folder).folder)


def _token_shown(token: str, key: Key, *more: str) -> Answer:
    def print_token(console: Console) -> None:
        console.print(f"[bold]{token}[/]", soft_wrap=True, highlight=False)

    return Answer(_plain(key) | {"key": token}, [print_token, ONCE, *more])


def _plain(key: Key) -> dict[str, Any]:
    return {
        "id": key.id,
        "scope": key.scope,
        "label": key.label,
        "state": key.state(time.time()),
        "created": _told(key.created_s),
        "expires": _told(key.expires_s),
        "revoked": _told(key.revoked_s),
    }


def _told(moment_s: float | None) -> str | None:
    return None if moment_s is None else datetime.fromtimestamp(moment_s, UTC).isoformat(timespec="seconds")
