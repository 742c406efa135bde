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
    from desirepath.models.sasrec import SASRecConfig
    from desirepath.recommend.calibration import Calibration
    from desirepath.recommend.recommender import Recommender
    from desirepath.report import ReportData, write_report
    from desirepath.sequences import Queries, Sequences, Vocabulary
    from desirepath.sequences.build import build_sequences
    from desirepath.sequences.leaks import check_leaks
    from desirepath.sequences.splits import split_leave_one_out, split_temporal, split_users
    from desirepath.training import TrainConfig, Transformer

__version__ = "0.1.0"

_PLACES = {
    "BASELINES": "models",
    "Calibration": "recommend.calibration",
    "CleaningConfig": "events.cleaning",
    "ColumnChoice": "events",
    "EvaluationConfig": "evaluation.judge",
    "EventLog": "events.log",
    "Queries": "sequences",
    "RawLog": "events",
    "Recommender": "recommend.recommender",
    "ReportData": "report",
    "SASRecConfig": "models.sasrec",
    "Sequences": "sequences",
    "TrainConfig": "training",
    "Transformer": "training",
    "Vocabulary": "sequences",
    "build_sequences": "sequences.build",
    "check_leaks": "sequences.leaks",
    "evaluate": "evaluation.comparison",
    "inspect_log": "events",
    "item_features": "features",
    "read_events": "events",
    "read_table": "events",
    "split_leave_one_out": "sequences.splits",
    "split_temporal": "sequences.splits",
    "split_users": "sequences.splits",
    "to_sequences": "flows.ingestion",
    "user_features": "features",
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
    "Calibration",
    "CleaningConfig",
    "ColumnChoice",
    "EvaluationConfig",
    "EventLog",
    "Queries",
    "RawLog",
    "Recommender",
    "ReportData",
    "SASRecConfig",
    "Sequences",
    "TrainConfig",
    "Transformer",
    "Vocabulary",
    "__version__",
    "build_sequences",
    "check_leaks",
    "evaluate",
    "inspect_log",
    "item_features",
    "read_events",
    "read_table",
    "split_leave_one_out",
    "split_temporal",
    "split_users",
    "to_sequences",
    "user_features",
    "write_report",
]
