# SPDX-License-Identifier: Apache-2.0
"""Paths: transitions, funnels, steps, trees, retention, visits, loops, and groups compared.

Every table reconciles: beginnings, ends and what is left out are rows of their own, so that counts add up
to the sequences and events that were read. All read a `SequenceDatabase`, and an event counts in the order
in which it lies there.
"""

from desirepath.patterns.paths.comparison import compare_funnel, compare_steps, compare_transitions
from desirepath.patterns.paths.funnel import Funnel, FunnelConfig, funnel
from desirepath.patterns.paths.gaps import gap_counts, gap_summary, time_between
from desirepath.patterns.paths.loops import loops
from desirepath.patterns.paths.retention import RetentionConfig, retention, retention_curve
from desirepath.patterns.paths.selection import END, MORE, OTHER, START, between, select, with_ends
from desirepath.patterns.paths.steps import StepsConfig, sankey, step_matrix
from desirepath.patterns.paths.transitions import transitions
from desirepath.patterns.paths.tree import TreeConfig, path_tree
from desirepath.patterns.paths.variants import top_paths
from desirepath.patterns.paths.visits import cut_visits, visits

__all__ = [
    "END",
    "MORE",
    "OTHER",
    "START",
    "Funnel",
    "FunnelConfig",
    "RetentionConfig",
    "StepsConfig",
    "TreeConfig",
    "between",
    "compare_funnel",
    "compare_steps",
    "compare_transitions",
    "cut_visits",
    "funnel",
    "gap_counts",
    "gap_summary",
    "loops",
    "path_tree",
    "retention",
    "retention_curve",
    "sankey",
    "select",
    "step_matrix",
    "time_between",
    "top_paths",
    "transitions",
    "visits",
    "with_ends",
]
