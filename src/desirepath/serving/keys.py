# SPDX-License-Identifier: Apache-2.0
"""Keys: random tokens that are shown once, kept as salted hashes in one file of the workspace.

The file, not a table of the live store, so that a key can be made before any database runs, revoked while one
is down, and never travels with the data. Who may do what with a key is not decided here.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import hmac
import json
import os
import secrets
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from desirepath.errors import ConfigError, WorkspaceError, nearest

Scope = Literal["read", "events", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
FILE = "keys.json"
SECRET_BYTES = 32
DAY_S = 86_400.0
_FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A key as it is kept: everything but the secret, which only its holder has."""

    id: str
    """The part of the token that is no secret; names the key in lists and logs."""
    scope: Scope
    label: str
    """What it is for, in its maker's words."""
    salt: str
    digest: str
    """Hexadecimal BLAKE2b of the secret under `salt`."""
    created_s: float
    expires_s: float | None = None
    revoked_s: float | None = None

    def state(self, now_s: float) -> Literal["valid", "expired", "revoked"]:
        """What holds of it at a moment."""
        if self.revoked_s is not None:
            return "revoked"
        return "expired" if self.expires_s is not None and now_s >= self.expires_s else "valid"


@dataclass(frozen=True, slots=True)
class Found:
    """What a token turned out to be; `key` is None for one that nobody was given."""

    key: Key | None
    state: Literal["valid", "expired", "revoked", "unknown"]


class KeyRing:
    """The keys of one workspace, read anew whenever their file changes."""

    def __init__(self, folder: Path) -> None:
        """The keys that lie in `folder`.

        Raises:
            WorkspaceError: the file is there but cannot be understood.
        """
        self.path = folder / FILE
        self._stamp: tuple[int, int, int] | None = None
        self._keys: dict[str, Key] = {}
        self._signing = b""
        self._was_closed = False
        self._refresh()

    @property
    def is_closed(self) -> bool:
        """Whether a key is needed; once it was, it stays so while the process lives, whatever happens."""
        self._refresh()
        self._was_closed = self._was_closed or bool(self._keys)
        return self._was_closed

    @property
    def signing(self) -> bytes:
        """A secret of the workspace with which sessions are signed; empty where there are no keys."""
        self._refresh()
        return self._signing

    def all(self) -> list[Key]:
        """All keys, the oldest first."""
        self._refresh()
        return sorted(self._keys.values(), key=lambda key: key.created_s)

    def find(self, token: str) -> Found:
        """Which key a token is, compared in constant time.

        The id in a token only chooses the hash to compare with; a token with an unknown id costs the same.
        """
        self._refresh()
        key_id, secret = _parts(token)
        key = self._keys.get(key_id)
        salt, digest = (key.salt, key.digest) if key is not None else ("00" * 16, "00" * 32)
        same = hmac.compare_digest(_digest(secret, salt), digest)
        if key is None or not same:
            return Found(None, "unknown")
        return Found(key, key.state(time.time()))

    def get(self, key_id: str) -> Key | None:
        """The key of that id, valid or not."""
        self._refresh()
        return self._keys.get(key_id)

    def is_valid(self, key_id: str) -> bool:
        """Whether the key of that id works now."""
        key = self.get(key_id)
        return key is not None and key.state(time.time()) == "valid"

    def create(
        self, scope: str = "read", *, label: str = "", expires_days: float | None = None
    ) -> tuple[str, Key]:
        """Make a key; returns the token, which nothing can show again, and the key.

        Raises:
            ConfigError: there is no such scope, or it would expire at once.
        """
        if scope not in SCOPES:
            raise ConfigError(f"There is no scope '{scope}'. {nearest(scope, SCOPES)}")
        if expires_days is not None and not expires_days > 0:
            raise ConfigError(f"A key must live longer than 0 days; got {expires_days}.")
        if len(label) > 200 or not label.isprintable():
            raise ConfigError("A label must have at most 200 characters, all of them printable.")
        with self._changing() as keys:
            now_s = time.time()
            expires_s = None if expires_days is None else now_s + expires_days * DAY_S
            token, key = _made(scope, label, now_s, expires_s)
            keys[key.id] = key
        return token, key

    def revoke(self, key_id: str) -> Key:
        """Make a key worthless from now on.

        Raises:
            ConfigError: there is no such key.
        """
        with self._changing() as keys:
            key = self._known(key_id)
            keys[key_id] = replace(key, revoked_s=key.revoked_s or time.time())
            return keys[key_id]

    def rotate(self, key_id: str, *, overlap_hours: float = 24.0) -> tuple[str, Key]:
        """Make a key like an old one, which goes on to work for `overlap_hours`.

        The new key lives as long as the old one was meant to. Returns its token and the key.

        Raises:
            ConfigError: there is no such key, it is no longer valid, or the overlap is negative.
        """
        if not 0 <= overlap_hours <= 24 * 90:
            raise ConfigError(f"The overlap must be from 0 to 2160 hours; got {overlap_hours}.")
        with self._changing() as keys:
            old, now_s = self._known(key_id), time.time()
            if old.state(now_s) != "valid":
                raise ConfigError(
                    f"Only a valid key can be rotated; {key_id} is {old.state(now_s)}. Make one."
                )
            expires_s = None if old.expires_s is None else now_s + (old.expires_s - old.created_s)
            token, key = _made(old.scope, old.label, now_s, expires_s)
            ends_s = now_s + overlap_hours * 3600
            keys[key.id] = key
            keys[key_id] = replace(old, expires_s=min(ends_s, old.expires_s or ends_s))
        return token, key

    def _known(self, key_id: str) -> Key:
        key = self._keys.get(key_id)
        if key is None:
            raise ConfigError(f"There is no key '{key_id}'. {nearest(key_id, self._keys)}")
        return key

    @contextlib.contextmanager
    def _changing(self) -> Iterator[dict[str, Key]]:
        """The keys, to be changed by this process alone and written when all went well."""
        with self.path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._refresh()
            keys = dict(self._keys)
            yield keys
            signing = self._signing or secrets.token_bytes(SECRET_BYTES)
            _write_private(self.path, _plain(keys, signing))
            self._refresh()

    def _refresh(self) -> None:
        try:
            found = self.path.stat()
        except FileNotFoundError:
            self._stamp, self._keys, self._signing = None, {}, b""
            return
        stamp = (found.st_mtime_ns, found.st_ino, found.st_size)
        if stamp == self._stamp:
            return
        if found.st_mode & 0o077:
            raise WorkspaceError(f"Nobody but its owner may read {self.path}. Run `chmod 600 {self.path}`.")
        self._keys, self._signing = _read(self.path)
        self._stamp = stamp


def _made(scope: Scope | str, label: str, now_s: float, expires_s: float | None) -> tuple[str, Key]:
    key_id = base64.b32encode(secrets.token_bytes(5)).decode().lower()
    secret, salt = secrets.token_urlsafe(SECRET_BYTES), secrets.token_hex(16)
    key = Key(
        id=key_id,
        scope=scope,  # type: ignore[arg-type]
        label=label,
        salt=salt,
        digest=_digest(secret, salt),
        created_s=now_s,
        expires_s=expires_s,
    )
    return f"dp_{scope}_{key_id}_{secret}", key


def _parts(token: str) -> tuple[str, str]:
    """The id and the secret of a token; empty ones where it does not have our shape."""
    parts = token.split("_", 3)
    return (parts[2], parts[3]) if len(parts) == 4 and parts[0] == "dp" else ("", "")


def _digest(secret: str, salt: str) -> str:
    """A fast hash is enough: 256 random bits cannot be guessed, unlike a password."""
    return hashlib.blake2b(
        secret.encode("utf-8", "surrogatepass"), salt=bytes.fromhex(salt), digest_size=32
    ).hexdigest()


def _plain(keys: dict[str, Key], signing: bytes) -> str:
    plain = {"format": _FORMAT, "signing": signing.hex(), "keys": [asdict(key) for key in keys.values()]}
    return json.dumps(plain, indent=1) + "\n"


def _read(path: Path) -> tuple[dict[str, Key], bytes]:
    try:
        plain: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        keys = {row["id"]: Key(**row) for row in plain["keys"]}
        signing = bytes.fromhex(plain["signing"])
        damaged = plain["format"] != _FORMAT or any(key.scope not in SCOPES for key in keys.values())
    except (ValueError, KeyError, TypeError) as error:
        raise WorkspaceError(f"{path} is damaged ({error}). Restore it, or make new keys.") from None
    if damaged:
        raise WorkspaceError(f"{path} was written by another version of desirepath. Upgrade to read it.")
    return keys, signing


def _write_private(path: Path, text: str) -> None:
    """As a whole or not at all, and never readable by others, not even for a moment."""
    part = path.with_suffix(".part")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
