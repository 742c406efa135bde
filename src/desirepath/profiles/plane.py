# SPDX-License-Identifier: Apache-2.0
"""A plane for the eye: UMAP, where its package is installed.

It knows coordinates only. The default plane needs no code: it is the first two components.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from desirepath.errors import ConfigError


def umap_plane(points: NDArray[np.float32], seed: int = 0) -> NDArray[np.float32]:
    """(U, 2) places such that neighbours stay neighbours; distances between far groups mean nothing.

    Source: McInnes, Healy and Melville, arXiv 1802.03426, as in the package umap-learn, with its
    defaults and a seed (which makes it use one thread).

    Raises:
        ConfigError: the package umap-learn is not installed.
    """
    try:
        from umap import UMAP  # type: ignore[import-not-found,unused-ignore]
    except ImportError as error:
        raise ConfigError(
            "A UMAP map needs the package umap-learn. Install it with `pip install umap-learn`, "
            'or use map = "pca".'
        ) from error
    n_neighbours = max(2, min(15, len(points) - 1))
    plane = UMAP(n_neighbors=n_neighbours, random_state=seed, n_jobs=1).fit_transform(points)
    return np.asarray(plane, np.float32)
