# SPDX-License-Identifier: Apache-2.0
"""Desirepath: from a raw log of user behaviour to understanding, prediction and recommendations.

>>> import polars as pl, desirepath as dp
>>> clicks = pl.DataFrame({
...     "user": ["ann", "ann", "ann", "bob", "bob", "cy", "cy", "cy"],
...     "item": ["tea", "cup", "pot", "tea", "cup", "cup", "pot", "tea"],
...     "at": ["2026-01-01", "2026-01-02", "2026-01-03", "2026-01-02", "2026-01-05",
...            "2026-01-03", "2026-01-04", "2026-01-07"]})
>>> log = dp.read_events(clicks)
>>> log.understanding.time.unit
'yyyy-mm-dd'
>>> sequences = dp.to_sequences(log)
>>> sequences.n_users, sequences.n_items, sequences.n_events
(3, 3, 8)
>>> model = dp.BASELINES["markov"]().fit(sequences)
>>> patterns = dp.mine(dp.sequence_database(sequences), dp.MiningConfig(min_support=2, min_length=2))
>>> patterns.to_frame()["pattern"].to_list()
[['tea', 'cup'], ['cup', 'pot']]
>>> dp.Recommender(model, sequences).recommend("bob", k=1).items["item_id"].item()
'pot'

Names are fetched from their rooms when they are first asked for, so that importing the package loads
neither torch nor plots.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from desirepath.evaluation.comparison import evaluate
    from desirepath.evaluation.judge import EvaluationConfig
    from desirepath.events import ColumnChoice, RawLog, inspect_log, read_events, read_table
    from desirepath.events.cleaning import CleaningConfig
    from desirepath.events.log import EventLog
    from desirepath.features import item_features, user_features
    from desirepath.flows.ingestion import to_sequences
    from desirepath.models import BASELINES
    from desirepath.models.backoff import BackoffChain
    from desirepath.models.sasrec import SASRecConfig
    from desirepath.patterns.constraints import ConstraintConfig
    from desirepath.patterns.contrast import ContrastConfig, contrast
    from desirepath.patterns.database import SequenceDatabase, SymbolConfig, sequence_database
    from desirepath.patterns.foresight import predict_next
    from desirepath.patterns.frequent import MiningConfig, mine
    from desirepath.patterns.match import match
    from desirepath.patterns.matrix import pattern_matrix
    from desirepath.patterns.partitions import mine_partitioned
    from desirepath.patterns.paths import (
        funnel,
        path_tree,
        retention,
        sankey,
        step_matrix,
        top_paths,
        transitions,
    )
    from desirepath.patterns.rules import RuleConfig, rules
    from desirepath.profiles import item_portrait, segment, user_portrait, user_vectors
    from desirepath.recommend.calibration import Calibration
    from desirepath.recommend.recommender import Recommender
    from desirepath.report import ReportData, write_figure, write_report
    from desirepath.sequences import Queries, Sequences, Vocabulary
    from desirepath.sequences.build import build_sequences
    from desirepath.sequences.leaks import check_leaks
    from desirepath.sequences.splits import split_leave_one_out, split_temporal, split_users
    from desirepath.training import TrainConfig, Transformer

__version__ = "0.1.0"

_PLACES = {
    "BASELINES": "models",
    "BackoffChain": "models.backoff",
    "Calibration": "recommend.calibration",
    "CleaningConfig": "events.cleaning",
    "ColumnChoice": "events",
    "ConstraintConfig": "patterns.constraints",
    "ContrastConfig": "patterns.contrast",
    "EvaluationConfig": "evaluation.judge",
    "EventLog": "events.log",
    "MiningConfig": "patterns.frequent",
    "Queries": "sequences",
    "RawLog": "events",
    "Recommender": "recommend.recommender",
    "ReportData": "report",
    "RuleConfig": "patterns.rules",
    "SASRecConfig": "models.sasrec",
    "SequenceDatabase": "patterns.database",
    "Sequences": "sequences",
    "SymbolConfig": "patterns.database",
    "TrainConfig": "training",
    "Transformer": "training",
    "Vocabulary": "sequences",
    "build_sequences": "sequences.build",
    "check_leaks": "sequences.leaks",
    "contrast": "patterns.contrast",
    "evaluate": "evaluation.comparison",
    "funnel": "patterns.paths",
    "inspect_log": "events",
    "item_features": "features",
    "item_portrait": "profiles",
    "match": "patterns.match",
    "mine": "patterns.frequent",
    "mine_partitioned": "patterns.partitions",
    "path_tree": "patterns.paths",
    "pattern_matrix": "patterns.matrix",
    "predict_next": "patterns.foresight",
    "read_events": "events",
    "read_table": "events",
    "retention": "patterns.paths",
    "rules": "patterns.rules",
    "sankey": "patterns.paths",
    "segment": "profiles",
    "sequence_database": "patterns.database",
    "split_leave_one_out": "sequences.splits",
    "split_temporal": "sequences.splits",
    "split_users": "sequences.splits",
    "step_matrix": "patterns.paths",
    "to_sequences": "flows.ingestion",
    "top_paths": "patterns.paths",
    "transitions": "patterns.paths",
    "user_features": "features",
    "user_portrait": "profiles",
    "user_vectors": "profiles",
    "write_figure": "report",
    "write_report": "report",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'desirepath' has no attribute '{name}'")
    return getattr(import_module(f"desirepath.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)


__all__ = [
    "BASELINES",
    "BackoffChain",
    "Calibration",
    "CleaningConfig",
    "ColumnChoice",
    "ConstraintConfig",
    "ContrastConfig",
    "EvaluationConfig",
    "EventLog",
    "MiningConfig",
    "Queries",
    "RawLog",
    "Recommender",
    "ReportData",
    "RuleConfig",
    "SASRecConfig",
    "SequenceDatabase",
    "Sequences",
    "SymbolConfig",
    "TrainConfig",
    "Transformer",
    "Vocabulary",
    "__version__",
    "build_sequences",
    "check_leaks",
    "contrast",
    "evaluate",
    "funnel",
    "inspect_log",
    "item_features",
    "item_portrait",
    "match",
    "mine",
    "mine_partitioned",
    "path_tree",
    "pattern_matrix",
    "predict_next",
    "read_events",
    "read_table",
    "retention",
    "rules",
    "sankey",
    "segment",
    "sequence_database",
    "split_leave_one_out",
    "split_temporal",
    "split_users",
    "step_matrix",
    "to_sequences",
    "top_paths",
    "transitions",
    "user_features",
    "user_portrait",
    "user_vectors",
    "write_figure",
    "write_report",
]
