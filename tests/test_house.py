# SPDX-License-Identifier: Apache-2.0
"""The house rules that a linter does not know: sizes, documentation, and what an import costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "desirepath"
FILES = sorted(SOURCE.rglob("*.py"))
FORBIDDEN_NAMES = {"utils", "helpers", "common", "manager", "misc", "core", "base"}


def functions(tree: ast.AST):
    return [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_rooms_are_calm(path):
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# SPDX-License-Identifier: Apache-2.0\n")
    assert text.count("\n") <= 500, "look for the second noun in this file"
    assert path.stem not in FORBIDDEN_NAMES or path.parent.name == "models"
    for function in functions(ast.parse(text)):
        length = (function.end_lineno or 0) - function.lineno + 1
        n_parameters = len(function.args.args) + len(function.args.kwonlyargs)
        assert length <= 80, f"{function.name} has {length} lines"
        # The command line declares one parameter an option.
        few = n_parameters <= 9 or path.parent.name == "cli"
        assert few, f"{function.name} has {n_parameters} parameters"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_every_option_is_documented(path):
    """Each field of a *Config dataclass has a docstring under it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ClassDef) and node.name.endswith("Config"):
            for field, after in zip(node.body, [*node.body[1:], None], strict=True):
                if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                    documented = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
                    assert documented, f"{node.name}.{field.target.id} needs a docstring under it"


def test_every_room_has_a_page():
    rooms = {p.name for p in SOURCE.iterdir() if p.is_dir() and p.name != "__pycache__"}
    assert rooms <= {p.stem for p in (ROOT / "docs").glob("*.md")}


def test_import_is_light():
    """`import desirepath` loads no torch, no plots, no sklearn, no web framework."""
    heavy = {"torch", "plotly", "sklearn", "implicit", "fastapi", "uvicorn", "numba"}
    code = "import sys, desirepath; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not heavy & set(loaded.stdout.split())
