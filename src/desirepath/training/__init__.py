# SPDX-License-Identifier: Apache-2.0
"""Training: from sequences to a fitted transformer, in a run that survives a kill."""

from desirepath.training.run import Progress, TrainConfig
from desirepath.training.transformer import Transformer, fit_transformer

__all__ = ["Progress", "TrainConfig", "Transformer", "fit_transformer"]
