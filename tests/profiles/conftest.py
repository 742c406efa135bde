# SPDX-License-Identifier: Apache-2.0
"""The planted world as fixtures."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from profile_worlds import planted


@pytest.fixture(scope="session")
def world() -> tuple[pl.DataFrame, pl.DataFrame]:
    """Events and items of 90 users of three kinds."""
    return planted()


@pytest.fixture(scope="session")
def truth() -> np.ndarray:
    """Kind of each of the 90 users."""
    return np.arange(90) % 3
