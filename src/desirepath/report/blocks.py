# SPDX-License-Identifier: Apache-2.0
"""The parts of a page: plots, tables, and sentences where there is nothing to plot.

It knows figures and text; the sections are made of these, and the page writes them out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """A figure with what it says."""

    name: str
    """Id in the page: letters and dashes, used once."""
    title: str
    """What is drawn."""
    figure: go.Figure
    """Drawn by the page in its own light or dark look."""
    reading: str
    """One sentence that says what to see."""
    basis: str
    """What the figures rest on: the log, or the protocol of the comparison."""
    kind: str = "plot"


@dataclass(frozen=True, slots=True, kw_only=True)
class Absent:
    """A plot or table that the data does not support, and why."""

    title: str
    """What would have been shown."""
    reason: str
    """Why it is not, and what would bring it."""
    kind: str = "absent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows of text, plain: the page escapes them."""

    title: str
    """What the rows are."""
    head: Sequence[str]
    """Column titles with units."""
    rows: Sequence[Sequence[str]]
    """Cells, a row as long as the head."""
    reading: str = ""
    """One sentence below the table; "" for none."""
    basis: str = ""
    """What the figures rest on; "" for none."""
    numeric: frozenset[int] = frozenset()
    """Columns set to the right."""
    strong: frozenset[tuple[int, int]] = frozenset()
    """(row, column) of cells in bold."""
    merged: int = 0
    """Leading columns whose cells span several rows, as `spans` tells."""
    spans: Sequence[int] = ()
    """By row: over how many rows its merged cells reach; 0 where the row above covers it."""
    bars: int | None = None
    """Column whose cells have a bar below; None for none."""
    bar_shares: Sequence[float] = ()
    """0 to 1 by row: length of the bar."""
    kind: str = "table"


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """A few large numbers with their names."""

    numbers: Sequence[tuple[str, str]]
    """(number, name)."""
    kind: str = "facts"


@dataclass(frozen=True, slots=True, kw_only=True)
class Notes:
    """Sentences, each on its own."""

    sentences: Sequence[str]
    """Plain text."""
    kind: str = "notes"


Block = Plot | Absent | Table | Facts | Notes


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A heading and what stands under it."""

    name: str
    """Id in the page."""
    title: str
    """Heading."""
    blocks: Sequence[Block]
    """In order."""
