# SPDX-License-Identifier: Apache-2.0
"""The OpenAPI document tells the truth: every operation is asked many things, right and wrong ones."""

from __future__ import annotations

import re

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import (
    allow_header_conformance,
    content_type_conformance,
    missing_required_header,
    negative_data_rejection,
    not_a_server_error,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)
from shop import open_shop, served

from desirepath.serving.app import make_app
from desirepath.serving.options import GuardConfig, LimitsConfig

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    missing_required_header,
    unsupported_method,
    allow_header_conformance,
]
TAKEN_IN_PART = {("POST", "/v1/events")}
"""Bodies of which the valid part is kept: a wrong row does not make the request wrong."""
STARTS_PROCESSES = {("POST", "/v1/models/train")}


def wrong_data_is_refused(ctx, response, case):
    """The library's own check; it does not know that a URL may be too long."""
    return None if response.status_code == 414 else negative_data_rejection(ctx, response, case)


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """The schema of a running server, whose limits do not come between."""
    shop = open_shop(tmp_path_factory.mktemp("schema"))
    limits = LimitsConfig(rate_per_s=0, request_s=60.0)
    with served(make_app({"default": shop}, GuardConfig(limits=limits))) as client:
        yield schemathesis.openapi.from_url(f"{client.base_url}/openapi.json"), client


def operations(schema):
    found = [result.ok() for result in schema.get_all_operations()]
    assert len(found) > 30
    return [one for one in found if (one.method.upper(), one.path) not in STARTS_PROCESSES]


def asking(operation, mode: GenerationMode, n: int, asked: list[str]):
    """A function that asks one operation n times, and complains about what does not keep its word."""
    checks = list(CHECKS)
    if mode.is_negative and (operation.method.upper(), operation.path) not in TAKEN_IN_PART:
        checks.append(wrong_data_is_refused)

    @settings(
        max_examples=n,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case):
        asked.append(operation.label)
        case.call_and_validate(checks=checks)

    return ask


def ask_everything(schema, n: int) -> int:
    """Ask each operation n right and n wrong things; returns how many requests were made."""
    asked, failures = [], []
    for operation in operations(schema):
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            try:
                asking(operation, mode, n, asked)()
            except Unsatisfiable:
                assert mode.is_negative  # nothing can be wrong about a request without parameters
            except (Exception, ExceptionGroup) as error:
                told = getattr(error, "exceptions", [error])
                failures.append(f"{operation.label} ({mode.value}): " + "\n".join(map(str, told)))
    assert not failures, "\n\n".join(failures)
    return len(asked)


def test_every_operation_keeps_its_word(asked):
    assert ask_everything(asked[0], 3) > 150


@pytest.mark.slow
def test_every_operation_keeps_its_word_when_asked_much(asked):
    assert ask_everything(asked[0], 25) > 1000


def test_every_route_asks_for_a_scope(asked):
    """A route that nobody thought of would be open to every key; here it is seen."""
    schema = asked[1].get("/openapi.json").json()
    assert schema["openapi"].startswith("3.1.")
    told = {
        (method, path): operation.get("x-scope")
        for path, operations in schema["paths"].items()
        for method, operation in operations.items()
    }
    without = {path for (_, path), scope in told.items() if scope is None}
    assert without == {"/livez", "/readyz"} | {path for path in without if path.startswith("/api/health")}
    assert told["post", "/v1/events"] == "events"
    assert told["post", "/v1/recommend"] == "read"
    changing = {key: scope for key, scope in told.items() if key[0] in ("put", "patch", "delete")}
    changing = {key: scope for key, scope in changing.items() if key[1].startswith("/v1/")}
    assert changing
    assert set(changing.values()) == {"admin"}
    assert set(schema["components"]["securitySchemes"]) == {"bearer", "apiKey"}


def test_problems_are_told_as_such(asked):
    schema = asked[1].get("/openapi.json").json()
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            for status in operation["responses"]:
                if int(status) >= 400 and path.startswith("/v1/"):
                    name = operation["responses"][status]["$ref"].rpartition("/")[2]
                    content = schema["components"]["responses"][name]["content"]
                    assert list(content) == ["application/problem+json"]
    assert "HTTPValidationError" not in schema["components"]["schemas"]
    assert schema["x-limits"]["body_bytes"] == 8 * 2**20


def test_the_manual_needs_nothing_from_elsewhere(asked):
    page = asked[1].get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "<script" not in page.text
    assert not re.findall(r"""(?:src|href)=["']?(?:https?:)?//""", page.text)
    schema = asked[1].get("/openapi.json").json()
    for path in schema["paths"]:
        assert f"<code>{path}</code>" in page.text
    for name in schema["components"]["schemas"]:
        assert f'id="shape-{name}"' in page.text
    anchors = set(re.findall(r'href="#([^"]+)"', page.text))
    assert anchors <= set(re.findall(r'id="([^"]+)"', page.text))
