# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score, silhouette_score

from desirepath.errors import ConfigError, TooLittleData
from desirepath.profiles.partition import Partition, PartitionConfig, part


@pytest.fixture(scope="module")
def blobs():
    points, label = make_blobs(400, centers=4, n_features=5, cluster_std=0.6, random_state=3)
    return points.astype(np.float32), label


def test_number_of_groups_is_found_and_judged(blobs):
    points, label = blobs
    found = part(points, PartitionConfig(k_max=6))
    group, distance, sure = found.assign(points)
    assert adjusted_rand_score(label, group) == 1.0
    row = found.choice.filter("chosen").row(0, named=True)
    assert row["k"] == 4
    assert row["stability"] > 0.99
    # All points are judged here, so the silhouette must be the library's own.
    assert row["silhouette"] == pytest.approx(silhouette_score(points, group), abs=1e-4)
    assert found.is_stable
    assert sure.min() >= 0
    assert sure.max() <= 1
    # Distances by brute force.
    brute = np.linalg.norm(points[:, None] - found.anchors[None], axis=2)
    assert np.allclose(distance, brute.min(axis=1), atol=1e-3)
    two = np.sort(brute, axis=1)[:, :2]
    assert np.allclose(sure, 1 - two[:, 0] / two[:, 1], atol=1e-3)


def test_a_continuum_is_called_unstable():
    """A ball has no groups: whatever is cut out of it, another draw cuts otherwise."""
    points = np.random.default_rng(0).normal(size=(300, 8)).astype(np.float32)
    found = part(points, PartitionConfig(k_max=5, n_bootstraps=3))
    assert not found.is_stable
    assert found.choice.get_column("stability").max() < 0.75


def test_dense_regions_leave_outliers_out(blobs):
    points, label = blobs
    far = np.full((3, 5), 60, np.float32) * np.arange(1, 4)[:, None].astype(np.float32)
    found = part(np.vstack([points, far]), PartitionConfig(method="hdbscan"))
    group, _, _ = found.assign(np.vstack([points, far]))
    assert (group[-3:] == -1).all()
    inside = group[:-3] >= 0
    assert inside.mean() > 0.9
    assert adjusted_rand_score(label[inside], group[:-3][inside]) == 1.0


def test_mini_batches_find_the_same(blobs):
    points, label = blobs
    found = part(points, PartitionConfig(k=4, full_below=100))
    assert adjusted_rand_score(label, found.assign(points)[0]) == 1.0


def test_same_seed_same_groups_and_json_round_trip(blobs):
    points, _ = blobs
    config = PartitionConfig(k_max=5, n_bootstraps=2)
    a, b = part(points, config, seed=5), part(points, config, seed=5)
    assert np.array_equal(a.anchors, b.anchors)
    kept = Partition.from_dict(a.to_dict())
    assert np.array_equal(kept.assign(points)[0], a.assign(points)[0])
    assert kept.choice.equals(a.choice)
    order = np.array([2, 0, 1, 3])[: a.n_groups]
    moved = a.reordered(order).assign(points)[0]
    assert np.array_equal(order[moved], a.assign(points)[0])


def test_bad_input():
    points = np.zeros((50, 3), np.float32)
    with pytest.raises(TooLittleData, match="at least 20 users"):
        part(points[:10])
    with pytest.raises(TooLittleData, match="users who differ"):
        part(points)
    with pytest.raises(TooLittleData, match="there are 1"):
        part(points, PartitionConfig(k=3))
    for wrong in ({"k": 1}, {"k_min": 5, "k_max": 4}, {"min_stability": 2}, {"method": "x"}, {"sample": 1}):
        with pytest.raises(ConfigError):
            PartitionConfig(**wrong)
