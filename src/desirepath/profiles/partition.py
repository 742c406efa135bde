# SPDX-License-Identifier: Apache-2.0
"""Points parted into groups: K-means or HDBSCAN, and how many groups the points support.

It knows coordinates only, no users. Groups are kept as anchors (centres, or points of known group),
so that new points are assigned by the same rule as the old ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from desirepath.errors import ConfigError, TooLittleData
from desirepath.profiles.space import drawn

Points = NDArray[np.float32]

OUTLIER = -1
"""The group of points that belong to none (HDBSCAN only)."""
CHUNK = 16_384
MIN_POINTS = 20
"""Fewer users than this cannot be parted and judged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionConfig:
    """How groups are found and how their number is chosen."""

    method: Literal["kmeans", "hdbscan"] = "kmeans"
    """kmeans: every user belongs to a segment. hdbscan: dense regions, the others belong to none."""
    k: int | None = None
    """Number of groups of K-means; None: chosen between k_min and k_max."""
    k_min: int = 3
    """Fewest groups considered; at least 2."""
    k_max: int = 12
    """Most groups considered; at least k_min."""
    min_stability: float = 0.75
    """Least mean adjusted Rand index between bootstrap clusterings for a number to be trusted; 0 to 1."""
    n_bootstraps: int = 5
    """Resamples for each number of groups; at least 2."""
    sample: int = 2_000
    """Users on whom numbers of groups are judged, drawn by seed; at least 100."""
    full_below: int = 50_000
    """Up to this many users K-means sees all at once, beyond it mini-batches; at least 1."""
    min_share: float = 0.02
    """Least share of users that makes a dense region a group (HDBSCAN); above 0, below 0.5."""

    def __post_init__(self) -> None:
        if self.method not in ("kmeans", "hdbscan"):
            raise ConfigError(f"method must be kmeans or hdbscan; got '{self.method}'.")
        if self.k is not None and self.k < 2:
            raise ConfigError(f"k must be at least 2, or None; got {self.k}.")
        if not 2 <= self.k_min <= self.k_max:
            raise ConfigError(f"2 <= k_min <= k_max must hold; got {self.k_min} and {self.k_max}.")
        if not 0 <= self.min_stability <= 1:
            raise ConfigError(f"min_stability must lie between 0 and 1; got {self.min_stability}.")
        if not 0 < self.min_share < 0.5:
            raise ConfigError(f"min_share must lie above 0 and below 0.5; got {self.min_share}.")
        for name, least in (("n_bootstraps", 2), ("sample", 100), ("full_below", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} must be at least {least}; got {getattr(self, name)}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """Groups as anchors: a point belongs to the group of its nearest anchor."""

    anchors: Points
    """(A, D) centres of K-means, or points that HDBSCAN judged."""
    group: NDArray[np.int32]
    """(A,) group of each anchor, 0 to n_groups - 1, or -1 for none."""
    choice: pl.DataFrame
    """One row a number of groups judged: k, silhouette, stability, chosen; empty when k was given."""
    is_stable: bool
    """Whether the chosen number reached `min_stability`; where it did not, the groups are a convenient cut
    of a continuum rather than kinds of users. True when k was given, or by HDBSCAN."""

    @property
    def n_groups(self) -> int:
        """Number of groups."""
        return int(self.group.max(initial=-1)) + 1

    def assign(self, points: Points) -> tuple[NDArray[np.int32], Points, Points]:
        """Group of each point, its distance to the nearest anchor, and how sure that is.

        Shapes: points (U, D); returns three (U,) arrays. Sure is 1 - nearest / nearest of another group:
        0 on the border, 1 on the anchor. With a single group it is 1.     Cost: O(U A D), in chunks.
        """
        group = np.empty(len(points), np.int32)
        distance, sure = np.empty(len(points), np.float32), np.empty(len(points), np.float32)
        square = np.einsum("ad,ad->a", self.anchors, self.anchors)
        for start in range(0, len(points), CHUNK):
            x = points[start : start + CHUNK]
            d2 = square - 2 * (x @ self.anchors.T) + np.einsum("ud,ud->u", x, x)[:, None]
            near = d2.argmin(axis=1)
            mine = self.group[near]
            d1 = np.sqrt(np.maximum(d2[np.arange(len(x)), near], 0))
            other = np.where(self.group[None, :] == mine[:, None], np.inf, d2).min(axis=1)
            stop = start + len(x)
            group[start:stop], distance[start:stop] = mine, d1
            sure[start:stop] = 1 - d1 / np.maximum(np.sqrt(np.maximum(other, 0)), 1e-12)
        return group, distance, np.clip(sure, 0, 1)

    def reordered(self, order: NDArray[np.integer]) -> Partition:
        """The same groups under new numbers: old group order[i] becomes i."""
        place = np.empty(len(order) + 1, np.int32)
        place[order] = np.arange(len(order))
        place[-1] = OUTLIER
        return Partition(
            anchors=self.anchors, group=place[self.group], choice=self.choice, is_stable=self.is_stable
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; `from_dict` makes the same partition of it."""
        return {
            "anchors": self.anchors.tolist(),
            "group": self.group.tolist(),
            "choice": self.choice.to_dict(as_series=False),
            "is_stable": self.is_stable,
        }

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Partition:
        """What `to_dict` gave."""
        return Partition(
            anchors=np.array(data["anchors"], np.float32),
            group=np.array(data["group"], np.int32),
            choice=pl.DataFrame(data["choice"], schema=CHOICE),
            is_stable=bool(data["is_stable"]),
        )


CHOICE = {"k": pl.Int64, "silhouette": pl.Float64, "stability": pl.Float64, "chosen": pl.Boolean}


def part(points: Points, config: PartitionConfig | None = None, seed: int = 0) -> Partition:
    """The groups of these points.

    K-means (Lloyd) with the number of groups from `judge` unless it is given; more than `full_below`
    points are fitted by mini-batches from the centres of a sample. HDBSCAN is run on ten times
    `sample` points, and the others take the group of the nearest of them. Deterministic for a seed.

    Raises:
        TooLittleData: fewer than 20 points, fewer different points than groups, or HDBSCAN finds no
            dense region.
    """
    config = config or PartitionConfig()
    if len(points) < MIN_POINTS:
        raise TooLittleData(f"Segments need at least {MIN_POINTS} users; there are {len(points)}.")
    if config.method == "hdbscan":
        return _dense(points, config, seed)
    sample = points[drawn(len(points), config.sample, seed)]
    different = len(np.unique(sample, axis=0))
    choice, k, stable = pl.DataFrame(schema=CHOICE), config.k or 0, True
    if k > different:
        raise TooLittleData(f"{k} segments need as many different users; there are {different}.")
    # One thread: these fits are small, and more would wait for each other on a busy machine.
    with threadpool_limits(1):
        if not k:
            choice, stable = judge(sample, config, seed)
            k = int(choice.filter("chosen").get_column("k").item())
        centres = _centres(points, k, config, seed)
    return Partition(anchors=centres, group=np.arange(k, dtype=np.int32), choice=choice, is_stable=stable)


def judge(points: Points, config: PartitionConfig, seed: int = 0) -> tuple[pl.DataFrame, bool]:
    """How well each number of groups suits the points, and whether the chosen one is stable.

    Silhouette: mean of (b - a) / max(a, b) over the points (Rousseeuw 1987). Stability: the points are
    drawn anew with replacement `n_bootstraps` times; each draw is clustered, all points are given to
    the nearest of its centres, and the adjusted Rand index (Hubert and Arabie 1985) with the clustering
    of all points is averaged (after Hennig, Computational Statistics & Data Analysis 52, 2007, with the Rand
    index in place of Jaccard's).

    The rule: of the numbers whose stability is at least `min_stability`, the one with the greatest
    silhouette; if none is, the one with the greatest product of both, and the second answer is False.
    """
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_rand_score, pairwise_distances, silhouette_score

    apart = pairwise_distances(points)
    np.fill_diagonal(apart, 0.0)
    different = len(np.unique(points, axis=0))
    rng = np.random.default_rng(seed)
    draws = [rng.integers(len(points), size=len(points)) for _ in range(config.n_bootstraps)]
    rows = []
    for k in range(config.k_min, min(config.k_max, different - 1, len(points) // 5) + 1):
        whole = KMeans(k, n_init=3, random_state=seed).fit(points)
        score = float(silhouette_score(apart, whole.labels_, metric="precomputed"))
        stability = [
            adjusted_rand_score(
                whole.labels_,
                KMeans(k, n_init=2, random_state=seed + 1 + b).fit(points[draw]).predict(points),
            )
            for b, draw in enumerate(draws)
        ]
        rows.append((k, score, float(np.mean(stability))))
    if not rows:
        raise TooLittleData(
            f"{config.k_min} segments need more users who differ; there are {different} kinds of vectors."
        )
    table = pl.DataFrame(rows, schema=["k", "silhouette", "stability"], orient="row")
    stable = table.filter(pl.col("stability") >= config.min_stability)
    if stable.height:
        chosen = stable.sort("silhouette", "k", descending=[True, False]).item(0, "k")
    else:
        merit = pl.col("silhouette").clip(0) * pl.col("stability").clip(0)
        chosen = table.sort(merit, "k", descending=[True, False]).item(0, "k")
    return table.with_columns((pl.col("k") == chosen).alias("chosen")).cast(CHOICE), bool(stable.height)  # type: ignore[arg-type]


def _centres(points: Points, k: int, config: PartitionConfig, seed: int) -> Points:
    from sklearn.cluster import KMeans, MiniBatchKMeans

    if len(points) <= config.full_below:
        found = KMeans(k, n_init=10, random_state=seed).fit(points)
    else:
        start = KMeans(k, n_init=10, random_state=seed).fit(points[drawn(len(points), 20_000, seed)])
        found = MiniBatchKMeans(
            k, init=start.cluster_centers_, n_init=1, batch_size=8_192, random_state=seed
        ).fit(points)
    return np.asarray(found.cluster_centers_, np.float32)


def _dense(points: Points, config: PartitionConfig, seed: int) -> Partition:
    from sklearn.cluster import HDBSCAN

    sample = points[drawn(len(points), 10 * config.sample, seed)]
    least = max(5, round(config.min_share * len(sample)))
    labels = HDBSCAN(min_cluster_size=least, min_samples=min(least, 15), copy=True).fit(sample).labels_
    if labels.max() < 0:
        raise TooLittleData(
            f"No dense region holds {least} of {len(sample)} users. Lower min_share, or use kmeans."
        )
    return Partition(
        anchors=np.asarray(sample, np.float32),
        group=labels.astype(np.int32),
        choice=pl.DataFrame(schema=CHOICE),
        is_stable=True,
    )
