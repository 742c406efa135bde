# SPDX-License-Identifier: Apache-2.0
"""Ids in paths: whatever an id holds, percent-encoded it is one segment of the path and stays one.

A server hands paths on with all escapes undone, where `/items/a%2Fsimilar` and `/items/a/similar` are one; a
route that reads the path as it was sent tells them apart.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any
from urllib.parse import unquote

from starlette.routing import Match

from desirepath.serving.body import StrictRoute

HELD = "\x1f"
"""Stands for a slash within a segment while routes are compared; no id may hold it."""
REFUSED = "\x00"
"""Stands for that sign itself where somebody sends it; no id may hold this one either."""


class IdRoute(StrictRoute):
    """A route whose ids may hold slashes, sent as %2F. Give it to a router as `route_class`."""

    def matches(self, scope: MutableMapping[str, Any]) -> tuple[Match, MutableMapping[str, Any]]:
        """Whether the route answers this path, and what it reads from it."""
        raw: bytes = scope.get("raw_path") or b""
        if b"%" not in raw:
            return super().matches(scope)
        match, child = super().matches({**scope, "path": as_sent(raw)})
        if match is not Match.NONE:
            found = child["path_params"].items()
            child["path_params"] = {
                name: value.replace(HELD, "/") if isinstance(value, str) else value for name, value in found
            }
        return match, child


def as_sent(raw: bytes) -> str:
    r"""A path with its escapes undone but those of slashes, which are held.

    >>> as_sent(b"/v1/items/a%2Fb/similar").split("/")
    ['', 'v1', 'items', 'a\x1fb', 'similar']
    """
    segments = raw.decode("latin-1").split("/")
    return "/".join(unquote(one).replace(HELD, REFUSED).replace("/", HELD) for one in segments)
