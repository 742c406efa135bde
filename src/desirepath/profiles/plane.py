# SPDX-License-Identifier: Apache-2.0
"""A plane for the eye: UMAP, where its package is installed.

It knows coordinates only. The default plane needs no code: it is the first two components.
"""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

from desirepath.errors import ConfigError
from desirepath.profiles.space import drawn

MOST = 20_000
"""Users that are given a place: more would take minutes, and no map shows as many."""


def umap_plane(points: NDArray[np.float32], seed: int = 0) -> NDArray[np.float32]:
    """(U, 2) places such that neighbours stay neighbours; distances between far groups mean nothing.

    Of more than 20,000 users so many are drawn by seed, and the others have no place (NaN).

    Source: McInnes, Healy and Melville, arXiv 1802.03426, as in the package umap-learn, with its
    defaults and a seed (which makes it use one thread).

    Cost: half a minute to compile in each process, then some 10 s for 6,000 users.

    Raises:
        ConfigError: the package umap-learn is not installed.
    """
    try:
        with warnings.catch_warnings():
            # It warns of a part of its own that needs TensorFlow.
            warnings.simplefilter("ignore", ImportWarning)
            from umap import UMAP  # type: ignore[import-not-found,unused-ignore]
    except ImportError as error:
        raise ConfigError(
            "A UMAP map needs the package umap-learn. Install it with `pip install 'desirepath[umap]'`, "
            'or use map = "pca".'
        ) from error
    rows = drawn(len(points), MOST, seed)
    n_neighbours = max(2, min(15, len(rows) - 1))
    plane = np.full((len(points), 2), np.nan, np.float32)
    plane[rows] = UMAP(n_neighbors=n_neighbours, random_state=seed, n_jobs=1).fit_transform(points[rows])
    return plane
