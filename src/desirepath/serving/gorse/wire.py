# SPDX-License-Identifier: Apache-2.0
"""How Gorse writes things down: moments, durations, numbers in a query, keys of objects, labels.

It reads what Gorse's clients send as Go's standard library would, and writes what they expect. It knows no
project and no routes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import polars as pl
from fastapi import Request, Response

from desirepath.events.foreign.moments import moments
from desirepath.serving.body import read_body
from desirepath.serving.problems import ProblemError

ZERO = "0001-01-01T00:00:00Z"
"""How Go writes a time that was never set."""
DEFAULT_N = 10
MOST = 10_000
"""Rows of one page, and objects of one body."""
ID_LENGTH = 512
KIND_LENGTH = 128
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


def bad(detail: str) -> ProblemError:
    """The answer to a request that cannot be read."""
    return ProblemError(400, detail)


def answer(value: Any) -> Response:
    """A JSON response of plain values."""
    return Response(orjson.dumps(value), media_type="application/json")


def affected(n: int) -> Response:
    """The response to a write."""
    return answer({"RowAffected": n})


def integer(request: Request, name: str, default: int, most: int = MOST) -> int:
    """A whole number of the query; `default` where it is absent or empty, at most `most`.

    Raises:
        ProblemError: 400 where it is none, as Go's strconv.Atoi says it.
    """
    text = request.query_params.get(name, "")
    if not text:
        return default
    if not re.fullmatch(r"[+-]?\d{1,18}", text):
        raise bad(f'strconv.Atoi: parsing "{text[:80]}": invalid syntax')
    return max(0, min(int(text), most))


def duration_us(text: str) -> int:
    """A duration as Go writes it, in microseconds.

    >>> duration_us("1h30m"), duration_us("1.5s"), duration_us("")
    (5400000000, 1500000, 0)
    """
    if text in ("", "0"):
        return 0
    sign = -1 if text[0] == "-" else 1
    bare = text.lstrip("+-")
    if "".join(match[0] for match in _PART.finditer(bare)) != bare or len(text) > 64:
        raise bad(f'time: invalid duration "{text[:80]}"')
    seconds = math.fsum(float(match[1]) * _SECONDS[match[2]] for match in _PART.finditer(bare))
    if seconds > 1e10:
        raise bad(f'time: invalid duration "{text[:80]}"')
    return sign * round(seconds * 1e6)


def moment_us(text: Any, field: str = "Timestamp") -> int | None:
    """A moment in microseconds since 1970 UTC; None where none was given, or Go's zero.

    Raises:
        ProblemError: 400 where it is no moment.
    """
    if text is None or text in ("", ZERO):
        return None
    if not isinstance(text, str) or len(text) > 64:
        raise bad(f"{field} must be a moment such as 2024-05-01T12:00:00Z")
    try:
        found = datetime.fromisoformat(text)
        found = found if found.tzinfo else found.replace(tzinfo=UTC)
    except ValueError:
        read = pl.DataFrame({"moment": [text]}).select(moments("moment"))["moment"][0]
        if read is None:
            raise bad(f'Could not find format for "{text}"') from None
        found = read
    if found.year == 1:
        return None
    return (found - EPOCH) // timedelta(microseconds=1)


def told(moment: int | None) -> str:
    """A moment as Go writes it in JSON.

    >>> told(1714564800123000), told(None)
    ('2024-05-01T12:00:00.123Z', '0001-01-01T00:00:00Z')
    """
    if moment is None:
        return ZERO
    text = (EPOCH + timedelta(microseconds=moment)).strftime("%Y-%m-%dT%H:%M:%S.%f")
    return f"{text.zfill(26).rstrip('0').rstrip('.')}Z"


def scores(pairs: Sequence[tuple[str, float | None]]) -> list[dict[str, Any]]:
    """Ids with their scores; a score that is not known or not finite is 0."""
    return [
        {"Id": name, "Score": value if value is not None and math.isfinite(value) else 0.0}
        for name, value in pairs
    ]


def named(value: Any, what: str, most: int = ID_LENGTH) -> str:
    """An id.

    Raises:
        ProblemError: 400 where it is no text, empty, too long, or has control characters or a slash.
    """
    if not isinstance(value, str):
        raise bad(f"json: cannot unmarshal {_kind(value)} into Go struct field {what} of type string")
    if not value or len(value) > most or _CONTROL.search(value) or "/" in value:
        raise bad(f"invalid {what}: it must be 1 to {most} characters without slashes and control characters")
    return value


def text(value: Any, what: str) -> str | None:
    """A text of an object; None where it is absent or null."""
    if value is None or isinstance(value, str):
        if value and (len(value) > 2**16 or "\x00" in value):
            raise bad(f"invalid {what}: it is too long, or has a NUL character")
        return value
    raise bad(f"json: cannot unmarshal {_kind(value)} into Go struct field {what} of type string")


def texts(value: Any, what: str) -> list[str] | None:
    """A list of texts; None where it is absent or null."""
    if value is None:
        return None
    if not isinstance(value, list) or len(value) > 1000:
        raise bad(f"json: cannot unmarshal {_kind(value)} into Go struct field {what} of type []string")
    return [named(part, what) for part in value]


def number(value: Any, what: str) -> float:
    """A finite number of an object; 0 where it is absent or null."""
    if value is None:
        return 0.0
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= 1e15:
        raise bad(f"json: cannot unmarshal {_kind(value)} into Go struct field {what} of type float64")
    return float(value)


def flag(value: Any, what: str) -> bool | None:
    """A truth value; None where it is absent or null."""
    if value is None or isinstance(value, bool):
        return value
    raise bad(f"json: cannot unmarshal {_kind(value)} into Go struct field {what} of type bool")


def _kind(value: Any) -> str:
    names = {str: "string", int: "number", float: "number", bool: "bool", list: "array", dict: "object"}
    return names.get(type(value), "value")


async def read_object(request: Request) -> dict[str, Any]:
    """The object of a body, keys in small letters, as Go reads them whatever their case.

    Raises:
        ProblemError: 400 where it is none.
    """
    value = await _json(request)
    if not isinstance(value, dict):
        raise bad(f"json: cannot unmarshal {_kind(value)} into an object")
    return _lowered(value)


async def read_objects(request: Request) -> list[dict[str, Any]]:
    """The array of objects of a body; null is an empty one.

    Raises:
        ProblemError: 400 where it is none, 413 where it is too long.
    """
    value = await _json(request)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(part, dict) for part in value):
        raise bad(f"json: cannot unmarshal {_kind(value)} into an array of objects")
    if len(value) > MOST:
        raise ProblemError(413, f"A request may hold {MOST} objects; this one has {len(value)}. Send parts.")
    return [_lowered(part) for part in value]


def _lowered(value: Mapping[str, Any]) -> dict[str, Any]:
    return {str(key).lower(): part for key, part in value.items()}


async def _json(request: Request) -> Any:
    try:
        return orjson.loads(await read_body(request))
    except orjson.JSONDecodeError as error:
        raise bad(f"invalid JSON: {error}") from None
