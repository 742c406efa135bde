# SPDX-License-Identifier: Apache-2.0
"""Fixtures that every room's tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets; the test is skipped where it is absent."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("DESIREPATH_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set DESIREPATH_DATA to test with it")
    return folder
