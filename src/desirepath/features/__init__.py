# SPDX-License-Identifier: Apache-2.0
"""Features of users and items, each as of a moment: nothing at or after it is used."""

from desirepath.features.activity import ActivityConfig, activity, rfm
from desirepath.features.dwell import DwellConfig, dwell, dwell_by
from desirepath.features.glossary import describe
from desirepath.features.interests import InterestConfig, interest_summary, interests
from desirepath.features.moment import before
from desirepath.features.normalisation import Normaliser
from desirepath.features.rates import BetaPrior, RateConfig, fit_prior, rates, smoothed
from desirepath.features.rhythm import RhythmConfig, hour_weekday_counts, rhythm
from desirepath.features.sessions import SessionConfig, sessions
from desirepath.features.smoothing import (
    daily,
    decaying_mean,
    double_exponential,
    exponential,
    moving_average,
)
from desirepath.features.table import FeatureConfig, item_features, user_features

__all__ = [
    "ActivityConfig",
    "BetaPrior",
    "DwellConfig",
    "FeatureConfig",
    "InterestConfig",
    "Normaliser",
    "RateConfig",
    "RhythmConfig",
    "SessionConfig",
    "activity",
    "before",
    "daily",
    "decaying_mean",
    "describe",
    "double_exponential",
    "dwell",
    "dwell_by",
    "exponential",
    "fit_prior",
    "hour_weekday_counts",
    "interest_summary",
    "interests",
    "item_features",
    "moving_average",
    "rates",
    "rfm",
    "rhythm",
    "sessions",
    "smoothed",
    "user_features",
]
