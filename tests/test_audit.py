# SPDX-License-Identifier: Apache-2.0
"""The audit of dependencies must be red for faults alone, and never pass for what it could not ask."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

PLACE = Path(__file__).resolve().parents[1] / ".ci" / "audit.py"


@pytest.fixture(scope="module")
def ci():
    spec = importlib.util.spec_from_file_location("audit_of_dependencies", PLACE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def package(name: str, *faults: str, **more) -> dict:
    found = [{"id": fault, "fix_versions": ["2.0"], "aliases": [], "description": ""} for fault in faults]
    return {"name": name, "version": "1.0", "vulns": found, **more}


def skipped(name: str) -> dict:
    """As pip-audit writes of what the index has no data about; it ends with 0 nevertheless."""
    return {"name": name, "skip_reason": f"Dependency not found on PyPI and could not be audited: {name} (1)"}


def written(*packages: dict) -> tuple[str, str]:
    return json.dumps({"dependencies": packages, "fixes": []}), "No known vulnerabilities found"


AWAY = (
    "",
    "Traceback (most recent call last):\n"
    "requests.exceptions.ConnectionError: HTTPSConnectionPool(host='api.osv.dev', port=443): "
    'Max retries exceeded with url: /v1/query (Caused by NameResolutionError("..."))',
)


def test_what_has_no_fault_passes(ci):
    status, said = ci.audit({"pypi": written(package("a"), package("b"))}.get)
    assert (status, said) == (0, "audited: 2 of 2 pinned versions have no known fault (pypi)")


def test_faults_are_red_and_named(ci):
    status, said = ci.audit({"pypi": written(package("a", "CVE-1", "CVE-2"), skipped("b"))}.get)
    assert status == 1
    assert "a 1.0: CVE-1, mended in 2.0" in said
    assert "CVE-2" in said


def test_what_was_not_known_is_told(ci):
    status, said = ci.audit({"pypi": written(package("a"), skipped("torch"))}.get)
    assert status == 0
    assert "1 of 2" in said
    assert "not audited: torch, which pypi does not know" in said


@pytest.mark.parametrize("first", [written(skipped("a"), skipped("b")), AWAY])
def test_another_data_base_is_asked_where_the_first_knows_nothing(ci, first):
    assert ci.audit({"pypi": first, "osv": written(package("a"), package("b"))}.get)[1].endswith("(osv)")
    assert ci.audit({"pypi": first, "osv": written(package("a", "CVE-1"))}.get)[0] == 1


@pytest.mark.parametrize("first", [written(skipped("a"), skipped("b")), AWAY, written()])
def test_nothing_audited_is_no_pass(ci, first):
    status, said = ci.audit({"pypi": first, "osv": AWAY}.get)
    assert status == 0
    assert "not audited" in said
    assert "NameResolutionError" in said
    assert "audited: 0" not in said
    assert "no known fault " not in said


@pytest.mark.parametrize(
    "broken",
    [
        ("", "ERROR:pip_audit._cli:invalid requirement 'a=1'"),
        ("", ""),
        ("{}", "usage: pip-audit [-h]"),
        ("[1", "pip-audit: error: argument -s: invalid choice"),
    ],
)
def test_an_audit_that_breaks_is_red(ci, broken):
    status, said = ci.audit({"pypi": broken}.get)
    assert status == 1
    assert said.startswith("The audit broke (pypi)")


def test_without_pip_audit_nothing_is_audited(ci, monkeypatch, capsys):
    monkeypatch.setattr(ci.importlib.util, "find_spec", lambda name: None)
    assert ci.main() == 0
    assert "not audited" in capsys.readouterr().out
