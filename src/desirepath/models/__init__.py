# SPDX-License-Identifier: Apache-2.0
"""Models: one file each, and mathematics only.

Importing this package loads no model; a name is fetched from its file when it is first asked for, so
that neither torch nor implicit is imported by those who need neither.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

from desirepath.models.base import Model

_BASELINES = {
    "popularity": ("popularity", "Popularity"),
    "popularity-decayed": ("popularity", "DecayedPopularity"),
    "popularity-7d": ("popularity", "RecentPopularity"),
    "repeat-last": ("repeat", "RepeatLast"),
    "markov": ("markov", "Markov"),
    "markov-backoff": ("backoff", "MarkovBackoff"),
    "item-knn": ("neighbours", "ItemKnn"),
    "ease": ("ease", "Ease"),
    "als": ("factorisation", "Als"),
    "bpr": ("factorisation", "Bpr"),
}


def _class(module: str, name: str) -> Any:
    return getattr(import_module(f"desirepath.models.{module}"), name)


def _make(module: str, name: str) -> Model:
    model: Model = _class(module, name)()
    return model


BASELINES: dict[str, Callable[[], Model]] = {
    row: partial(_make, module, name) for row, (module, name) in _BASELINES.items()
}
"""The baselines with their default options, in the order of the table; each key is the model's `name`."""

__all__ = ["BASELINES", "Model"]
