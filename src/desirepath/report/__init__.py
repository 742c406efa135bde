# SPDX-License-Identifier: Apache-2.0
"""The report: one HTML file that opens offline and shows what a log holds and what models made of it.

Its figures of behaviour are here one by one as well, to be written as HTML, PNG, SVG or PDF.
"""

from desirepath.report.behaviour import BehaviourData, Ground
from desirepath.report.data import ReportData
from desirepath.report.export import write_figure
from desirepath.report.gallery import (
    cohort_figure,
    contrast_figure,
    figure_of,
    funnel_figure,
    loops_figure,
    moves_figure,
    patterns_figure,
    rules_figure,
    sankey_figure,
    segment_figure,
    steps_figure,
    transitions_figure,
    tree_figure,
    waits_figure,
)
from desirepath.report.page import write_report

__all__ = [
    "BehaviourData",
    "Ground",
    "ReportData",
    "cohort_figure",
    "contrast_figure",
    "figure_of",
    "funnel_figure",
    "loops_figure",
    "moves_figure",
    "patterns_figure",
    "rules_figure",
    "sankey_figure",
    "segment_figure",
    "steps_figure",
    "transitions_figure",
    "tree_figure",
    "waits_figure",
    "write_figure",
    "write_report",
]
