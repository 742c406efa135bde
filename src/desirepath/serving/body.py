# SPDX-License-Identifier: Apache-2.0
"""Reads a request's body: never more than is allowed, and JSON that can be understood in one way only."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import orjson
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError

from desirepath.serving.access import scope_of
from desirepath.serving.problems import FieldError, ProblemError

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])
Shape = TypeVar("Shape", bound=BaseModel)
SCOPE = "x-scope"
"""Where an operation of the schema says which scope it asks for."""
MOST_DEPTH = 32
"""Lists and objects within each other."""
_SPACED_COLONS = (b" :", b"\t:", b"\n:", b"\r:")


async def read_body(request: Request, most_bytes: int | None = None) -> bytes:
    """The whole body.

    Raises:
        ProblemError: 413 where it is longer than `most_bytes`, whatever its header says; without it, than
            the application allows.
    """
    most_bytes = most_bytes or request.app.state.limits.body_bytes
    refused = ProblemError(413, f"A body must have at most {most_bytes} bytes. Send it in parts.")
    stated = request.headers.get("content-length", "0")
    if stated.isdigit() and int(stated) > most_bytes:
        raise refused
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most_bytes:
            raise refused
        parts.append(part)
    return b"".join(parts)


def loads(text: bytes, what: str = "the body") -> Any:
    """The value of a JSON text in UTF-8.

    Refused are NaN and infinities, lone surrogates, values nested deeper than 32, and a name that comes twice
    in one object: readers differ in which of the two they take, and a guard must not see another value than
    the guarded.

    Raises:
        ProblemError: 400, saying where.

    Cost: one pass of orjson and one count. A second, slower pass only for texts with backslashes, blanks
    before colons, or strings that begin with a colon.

    >>> loads(b'{"a": [1, 2]}')
    {'a': [1, 2]}
    >>> loads(b'{"a": 1, "a": 2}')
    Traceback (most recent call last):
    desirepath.serving.problems.ProblemError: 400: The body names 'a' twice in one object.
    """
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        detail = f"{what.capitalize()} must be JSON in UTF-8: {error}."
        raise ProblemError(400, detail, [FieldError(field="", reason=f"is not JSON: {error}")]) from None
    n_names, depth = _counted(value)
    if depth > MOST_DEPTH:
        detail = f"{what.capitalize()} must not nest deeper than {MOST_DEPTH}; it nests {depth} deep."
        raise ProblemError(400, detail, [FieldError(field="", reason="is nested too deeply")])
    # Without backslashes a quote always begins or ends a string, and without blanks before colons every name
    # ends in '":'. So there are at least as many of these as names, and more exactly where a name comes twice
    # or a string begins with a colon.
    is_plain = b"\\" not in text and not any(spaced in text for spaced in _SPACED_COLONS)
    if not (is_plain and text.count(b'":') == n_names):
        twice = _named_twice(text)
        if twice is not None:
            shown = twice[:60]
            detail = f"{what.capitalize()} names '{shown}' twice in one object."
            raise ProblemError(400, detail, [FieldError(field=shown, reason="is named twice")])
    return value


def _counted(value: Any) -> tuple[int, int]:
    """How many names all objects have together, and how deep they are nested."""
    n, depth = 0, 0
    level = [value] if isinstance(value, dict | list) else []
    while level:
        depth += 1
        if depth > MOST_DEPTH:
            return n, depth
        following: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                n += len(one)
                following += [part for part in one.values() if isinstance(part, dict | list)]
            else:
                following += [part for part in one if isinstance(part, dict | list)]
        level = following
    return n, depth


def _named_twice(text: bytes) -> str | None:
    """A name that comes twice in one object, found by reading slowly."""
    found: list[str] = []

    def pairs(given: list[tuple[str, Any]]) -> None:
        seen: set[str] = set()
        for name, _ in given:
            if name in seen:
                found.append(name)
            seen.add(name)

    json.loads(text, object_pairs_hook=pairs)
    return found[0] if found else None


class _StrictRequest(Request):
    """A request whose JSON is read by `loads`."""

    async def json(self) -> Any:
        if not hasattr(self, "_strict"):
            self._strict = loads(await self.body())
        return self._strict


Quick = Callable[[Request], Awaitable[Response]]


def answered_by(quick: Quick) -> Callable[[Endpoint], Endpoint]:
    """Mark a route's function, which tells the schema what is asked, as answered by another.

    What is asked most is answered so: solving the framework's dependencies takes as long as the answer.
    """

    def mark(endpoint: Endpoint) -> Endpoint:
        endpoint.quick = quick  # type: ignore[attr-defined]
        return endpoint

    return mark


async def read_shape(request: Request, shape: type[Shape]) -> Shape:
    """The body as a shape.

    Raises:
        ProblemError: 415 where it is not said to be JSON, 400 where it is none.
        RequestValidationError: it is not of the shape.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not (kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))):
        raise ProblemError(415, f"The body must be application/json; got '{kind[:80]}'. Name it so.")
    value = loads(await read_body(request))
    try:
        return shape.model_validate(value)
    except ValidationError as error:
        raise RequestValidationError(error.errors(include_url=False, include_input=False)) from None


class StrictRoute(APIRoute):
    """A route that reads its body by `loads`, and says in the schema which scope it asks for.

    Give it to a router as `route_class`.
    """

    def __init__(self, *given: Any, **options: Any) -> None:
        """As the framework's own."""
        super().__init__(*given, **options)
        scope = scope_of(self.dependant)
        if scope is not None:
            self.openapi_extra = {**(self.openapi_extra or {}), SCOPE: scope}

    def get_route_handler(self) -> Any:
        """The handler of the framework, with a request of ours."""
        quick: Quick | None = getattr(self.endpoint, "quick", None)
        if quick is not None:
            return quick
        handle = super().get_route_handler()

        async def strict(request: Request) -> Any:
            return await handle(_StrictRequest(request.scope, request.receive))

        return strict
