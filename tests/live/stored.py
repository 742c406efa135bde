# SPDX-License-Identifier: Apache-2.0
"""Events as the live store takes them, for its tests."""

from __future__ import annotations

from typing import Any


def row(
    event_id: str, user_id: str = "u", item_id: str = "a", time_us: int = 1, **more: Any
) -> dict[str, Any]:
    """One event with every column of the store."""
    return {
        "event_id": event_id,
        "user_id": user_id,
        "item_id": item_id,
        "action": "view",
        "time_us": time_us,
        "received_us": 1,
        "session_id": None,
        "value": None,
        "recommendation_id": None,
        "position": None,
        "more": None,
        **more,
    }
