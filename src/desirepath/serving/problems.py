# SPDX-License-Identifier: Apache-2.0
"""Errors as RFC 9457 problem details: what must hold, what came, and which field it was.

It turns the errors of the house, of validation and of the framework into one shape, and never tells more of
an unexpected one than its request id.
"""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

import orjson
import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from pydantic_core import ErrorDetails
from starlette.exceptions import HTTPException
from starlette.types import Scope

from desirepath.errors import ConfigError, DataError, DesirepathError, WorkspaceError
from desirepath.live.store import Busy

PROBLEM_JSON = "application/problem+json"
SHOWN = 200
"""Characters of a wrong value that an error repeats."""

log = structlog.get_logger("desirepath.serving")


class FieldError(BaseModel):
    """One field that is wrong."""

    field: str = Field(description="Where it stands, such as `events.3.time`; empty for the body as a whole.")
    reason: str


class Problem(BaseModel):
    """RFC 9457 problem details."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    instance: str | None = None
    errors: list[FieldError] = []


class ProblemError(HTTPException):
    """A problem to be told to the caller."""

    def __init__(
        self,
        status: int,
        detail: str,
        errors: Iterable[FieldError] = (),
        headers: dict[str, str] | None = None,
    ) -> None:
        """Say what is wrong.

        Args:
            status: the HTTP status.
            detail: what must hold, what came, what to do.
            errors: the fields that are wrong.
            headers: of the response.
        """
        super().__init__(status, detail, headers)
        self.status, self.errors = status, list(errors)


def field_errors(errors: Iterable[ErrorDetails | dict[str, Any]], *before: str | int) -> list[FieldError]:
    """What pydantic says, as fields and reasons; values are not repeated, for they may be anything."""
    found = []
    for error in errors:
        place = [str(part) for part in (*before, *error["loc"]) if part not in ("body",)]
        found.append(FieldError(field=".".join(place)[:SHOWN], reason=str(error["msg"])[: 2 * SHOWN]))
    return found


def problem_response(
    request: Request,
    status: int,
    detail: str,
    errors: Iterable[FieldError] = (),
    headers: dict[str, str] | None = None,
) -> Response:
    """The response that tells a problem."""
    problem = Problem(
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        instance=request.scope.get("request_id"),
        errors=list(errors),
    )
    return Response(
        orjson.dumps(problem.model_dump(exclude_none=True)),
        status_code=status,
        media_type=PROBLEM_JSON,
        headers=headers,
    )


def problem_bytes(scope: Scope, problem: ProblemError) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Status, headers and body of a problem, for who answers without the framework."""
    response = problem_response(
        Request(scope), problem.status, problem.detail, problem.errors, dict(problem.headers or {})
    )
    lines = [(name, value) for name, value in response.raw_headers if name != b"content-length"]
    return response.status_code, lines, bytes(response.body)


def tell_problems(app: FastAPI) -> None:
    """Answer every error of `app` with a problem."""

    @app.exception_handler(ProblemError)
    async def _told(request: Request, error: ProblemError) -> Response:
        headers = dict(error.headers) if error.headers else None
        return problem_response(request, error.status, error.detail, error.errors, headers)

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> Response:
        errors = field_errors(error.errors())
        first = errors[0] if errors else FieldError(field="", reason="not understood")
        where = f"'{first.field}': " if first.field else ""
        return problem_response(request, 422, f"The request is not valid. {where}{first.reason}.", errors)

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        headers = dict(error.headers) if error.headers else None
        return problem_response(request, error.status_code, str(error.detail), headers=headers)

    @app.exception_handler(Busy)
    async def _busy(request: Request, error: Busy) -> Response:
        return problem_response(request, 429, str(error), headers={"Retry-After": "1"})

    @app.exception_handler(DesirepathError)
    async def _ours(request: Request, error: DesirepathError) -> Response:
        status = 422 if isinstance(error, ConfigError) else 404 if isinstance(error, DataError) else 409
        status = 503 if isinstance(error, WorkspaceError) else status
        return problem_response(request, status, str(error))

    @app.exception_handler(Exception)
    async def _unexpected(request: Request, error: Exception) -> Response:
        log.error("unexpected error", exc_info=error)
        detail = "Something went wrong here, not with the request. The log has it under this request's id."
        return problem_response(request, 500, detail)
