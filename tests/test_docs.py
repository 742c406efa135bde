# SPDX-License-Identifier: Apache-2.0
"""The tables of files in the documentation must name every file there is, and none that is not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("room", ["recommend", "live", "serving"])
def test_every_file_stands_in_its_rooms_table(room):
    text = (ROOT / "docs" / f"{room}.md").read_text(encoding="utf-8")
    table = re.search(r"^\| file[^\n]*\n\|[-|]+\n((?:\|[^\n]*\n)+)", text, re.M)[1]
    named = re.findall(r"`([a-z_]+/?)`", " ".join(row.split("|")[1] for row in table.splitlines()))
    folder = ROOT / "src" / "desirepath" / room
    there = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    there |= {f"{path.parent.name}/" for path in folder.glob("*/__init__.py")}
    assert sorted(named) == sorted(there)
