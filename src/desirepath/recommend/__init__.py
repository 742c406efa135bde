# SPDX-License-Identifier: Apache-2.0
"""Recommend: exact lists, probabilities that can be believed, neighbours, and answers by name."""

from desirepath.recommend.calibration import Calibration, CalibrationConfig
from desirepath.recommend.lists import Lists, list_batches, make_lists
from desirepath.recommend.recommender import Answer, Recommender, Written
from desirepath.recommend.similar import Similar

__all__ = [
    "Answer",
    "Calibration",
    "CalibrationConfig",
    "Lists",
    "Recommender",
    "Similar",
    "Written",
    "list_batches",
    "make_lists",
]
