# SPDX-License-Identifier: Apache-2.0
"""The page itself: sections into one HTML file that needs nothing beside it.

It knows blocks and the page's own template, style and script. All text is escaped by the template;
figures travel as JSON and are drawn by the plotly script inside the file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from jinja2 import Environment, StrictUndefined
from plotly.offline import get_plotlyjs
from plotly.utils import PlotlyJSONEncoder

from desirepath.report.behaviour_part import behaviour_sections
from desirepath.report.blocks import Notes, Plot, Section
from desirepath.report.caution import cautions
from desirepath.report.data import ReportData
from desirepath.report.log_part import (
    actions_section,
    course_section,
    log_basis,
    overview_section,
    rhythm_section,
    spread_section,
    visits_section,
)
from desirepath.report.model_part import (
    calibration_section,
    comparison_section,
    recommendations_section,
    training_section,
)
from desirepath.report.overview import overview
from desirepath.report.theme import template

Progress = Callable[[float, str], None]
"""Called with the share done, 0 to 1, and the title of the section under way."""


def write_report(path: Path | str, data: ReportData, progress: Progress | None = None) -> Path:
    """The path of the HTML file, written whole or not at all; about 5 MB, of which plotly is 4.8.

    The events are only aggregated, by streaming, so that memory does not grow with their number.
    Each part that the data does not support is replaced by a sentence that says why.

    Raises:
        TooLittleData: the log has no event.
    """
    path = Path(path)
    text = render(sections(data, progress), data.title)
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)
    return path


def sections(data: ReportData, progress: Progress | None = None) -> list[Section]:
    """All sections in their order, warnings first; `progress` is told of each before it is made."""
    size = overview(data.events)
    basis = log_basis(data, size)
    makers: list[tuple[str, Callable[[], Section]]] = [
        ("Overview", lambda: overview_section(data, size)),
        ("Events over time", lambda: course_section(data, size, basis)),
        ("Actions", lambda: actions_section(data, basis)),
        ("Activity and popularity", lambda: spread_section(data, basis)),
        ("Rhythm of the week", lambda: rhythm_section(data, size, basis)),
        ("Sessions", lambda: visits_section(data, size, basis)),
        *behaviour_sections(data),
        ("Models compared", lambda: comparison_section(data)),
        ("Training", lambda: training_section(data)),
        ("Probabilities", lambda: calibration_section(data)),
        ("Recommendations", lambda: recommendations_section(data)),
    ]
    made = []
    for place, (title, make) in enumerate(makers):
        if progress:
            progress(place / len(makers), title)
        made.append(make())
    if progress:
        progress(1.0, "")
    known = cautions(data, size) or ["Nothing was found that speaks against the figures below."]
    warnings = Section(name="warnings", title="Before you believe it", blocks=[Notes(sentences=known)])
    return [made[0], warnings, *made[1:]]


def render(parts: Sequence[Section], title: str) -> str:
    """The HTML text of the page."""
    here = files("desirepath.report")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page = environment.from_string((here / "page.html").read_text(encoding="utf-8"))
    plots = [block for part in parts for block in part.blocks if isinstance(block, Plot)]
    return page.render(
        title=title,
        sections=parts,
        style=(here / "page.css").read_text(encoding="utf-8"),
        script=(here / "page.js").read_text(encoding="utf-8"),
        plotly=get_plotlyjs(),
        templates=_json({"light": _plain(template()), "dark": _plain(template(dark=True))}),
        figures={plot.name: _json(_figure(plot.figure)) for plot in plots},
    )


def _figure(figure: go.Figure) -> dict[str, Any]:
    """Data and layout without the template, which the page lays on by itself."""
    plain = figure.to_dict()
    plain["layout"].pop("template", None)
    return {"data": plain["data"], "layout": plain["layout"]}


def _plain(look: go.layout.Template) -> dict[str, Any]:
    plain: dict[str, Any] = look.to_plotly_json()
    return plain


def _json(value: Any) -> str:
    # Inside <script> only "<" can end or open anything; JSON may write it as an escape.
    return json.dumps(value, cls=PlotlyJSONEncoder, ensure_ascii=False).replace("<", "\\u003c")
