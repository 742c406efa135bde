# SPDX-License-Identifier: Apache-2.0
"""Reads the public sequence files: a sequence a line, item numbers, -1 and -2 as marks."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from desirepath.patterns.database import SequenceDatabase
from desirepath.sequences import Vocabulary


def read(path: Path) -> SequenceDatabase:
    lines = path.read_text().splitlines()
    rows = [[int(word) for word in line.split() if word not in ("-1", "-2")] for line in lines]
    rows = [row for row in rows if row]
    names, code = np.unique(np.concatenate(rows), return_inverse=True)
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    return SequenceDatabase(
        offsets=offsets,
        symbol_ix=code.astype(np.int32),
        time_s=np.arange(len(code), dtype=np.float64),
        symbols=Vocabulary([str(name) for name in names], reserved=0),
        user_ix=np.arange(len(rows), dtype=np.int32),
        users=Vocabulary([str(s) for s in range(len(rows))], reserved=0),
        row=np.arange(len(code)),
    )
