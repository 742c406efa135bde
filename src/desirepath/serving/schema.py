# SPDX-License-Identifier: Apache-2.0
"""What the OpenAPI document says beyond what the framework knows: keys, problems, limits, read bodies."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from desirepath.serving.access import PROJECT_HEADER
from desirepath.serving.body import SCOPE
from desirepath.serving.options import LimitsConfig
from desirepath.serving.problems import PROBLEM_JSON
from desirepath.serving.shapes import EventIn

SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A key as `Authorization: Bearer dp_...`."},
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same key."},
}
ABOUT = f"""Events in, recommendations out; every answer knows all events that were acknowledged before it.

**Keys.** Without any key a server answers its own machine only, and everything is allowed. With keys, each
request needs one of its project; `read` asks, `events` sends events and nothing else, `admin` does both and
the rest. Where no key is needed, `{PROJECT_HEADER}` names the project.

**Errors** are RFC 9457 problem details (`{PROBLEM_JSON}`); `errors` names fields, `instance` the id of the
request, which is also in `X-Request-ID` of every reply and in the server's log.

**JSON** is read one way only: no NaN, no name twice in one object, at most 32 levels.
"""
PROBLEMS = {
    400: "The body is not JSON that can be read in one way only.",
    401: "There are keys, and none that is valid came.",
    403: "The key is for something else.",
    404: "There is no such thing.",
    408: "The body came too slowly.",
    409: "It does not fit what is there.",
    413: "The body is too long.",
    414: "The URL is too long.",
    415: "The body is encoded, or of another kind.",
    422: "The request does not hold what it must; `errors` names the fields.",
    429: "Too many requests; `Retry-After` says when to come again.",
    431: "The headers are too long.",
    503: "Not now; `Retry-After` says when to come again.",
}
_WITH_BODY = (400, 408, 413, 415)
_WITH_SCOPE = (401, 403)
_ALWAYS = (414, 422, 429, 431, 503)
_WAITS = (429, 503)


def describe(app: FastAPI, limits: LimitsConfig) -> None:
    """Let `app` say all of it at /openapi.json."""

    def schema() -> dict[str, Any]:
        if app.openapi_schema is None:
            found = get_openapi(
                title=app.title,
                version=app.version,
                description=ABOUT,
                routes=app.routes,
                tags=app.openapi_tags,
            )
            shapes = found["components"]["schemas"]
            event = EventIn.model_json_schema(ref_template="#/components/schemas/{model}")
            shapes.setdefault("EventIn", event)
            for name, shape in shapes["EventIn"].pop("$defs", {}).items():
                shapes.setdefault(name, shape)
            for name in ("HTTPValidationError", "ValidationError"):
                shapes.pop(name, None)  # the framework's own shape of errors is never sent
            found["components"]["securitySchemes"] = SCHEMES
            found["components"]["responses"] = {
                _name(status): _problem(status, text) for status, text in PROBLEMS.items()
            }
            for path, operations in found["paths"].items():
                for operation in operations.values():
                    _complete(operation, path)
            found["x-limits"] = {
                "body_bytes": limits.body_bytes,
                "body_s": limits.body_s,
                "url_bytes": limits.url_bytes,
                "header_bytes": limits.header_bytes,
                "request_s": limits.request_s,
                "rate_per_s": limits.rate_per_s,
                "burst": limits.burst,
            }
            app.openapi_schema = found
        return app.openapi_schema

    app.openapi = schema  # type: ignore[method-assign]


def _complete(operation: dict[str, Any], path: str) -> None:
    """The problems that an operation may answer, and the scope that it asks for."""
    scope = operation.get(SCOPE)
    responses = operation["responses"]
    responses.pop("default", None)
    statuses = [*_ALWAYS]
    if scope is not None:
        operation["security"] = [{}, *({name: [scope]} for name in SCHEMES)]
        statuses += _WITH_SCOPE
    if "requestBody" in operation:
        statuses += _WITH_BODY
    if scope is not None or "{" in path:
        statuses += (404, 409)
    for status in sorted(statuses):
        responses[str(status)] = {"$ref": f"#/components/responses/{_name(status)}"}


def _name(status: int) -> str:
    return f"Problem{status}"


def _problem(status: int, text: str) -> dict[str, Any]:
    headers: dict[str, Any] = {"X-Request-ID": {"schema": {"type": "string"}}}
    if status in _WAITS:
        headers["Retry-After"] = {"schema": {"type": "integer", "minimum": 1}, "description": "Seconds."}
    content = {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {"description": text, "headers": headers, "content": content}
