# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec

import numpy as np
import polars as pl
import pytest
import scipy.sparse as sp
from profile_worlds import AS_OF, KINDS, planted, with_future
from sklearn.cluster import KMeans
from sklearn.manifold import trustworthiness
from sklearn.metrics import adjusted_rand_score

from desirepath.errors import ConfigError, DataError, ShapeError, TooLittleData
from desirepath.profiles import (
    Beside,
    PartitionConfig,
    SegmentConfig,
    Segments,
    SpaceConfig,
    UserMatrix,
    VectorConfig,
    moves,
    segment,
    track,
    user_vectors,
)
from desirepath.profiles.attributes import label_attributes
from desirepath.profiles.plane import umap_plane
from desirepath.profiles.space import Space

QUICK = SegmentConfig(partition=PartitionConfig(k_max=5, n_bootstraps=2))


@pytest.fixture(scope="module")
def vectors(world):
    events, items = world
    return user_vectors(events, AS_OF, VectorConfig(value_actions=("buy",)), Beside(items=items))


@pytest.fixture(scope="module")
def found(vectors):
    return segment(vectors, QUICK)


def test_planted_kinds_are_found_named_and_sized(found, truth):
    assert found.is_stable
    assert adjusted_rand_score(truth, found.members["segment"]) == 1.0
    assert found.table["n_users"].to_list() == [30, 30, 30]
    assert found.table["share"].sum() == pytest.approx(1)
    for row in found.table.iter_rows(named=True):
        kind = truth[int(row["typical"][0][1:])]
        assert row["name"].startswith(KINDS[kind])
        assert len(row["typical"]) == 5
        hour = (7, 13, 21)[kind]
        (told,) = re.findall(r"(\d\d)-(\d\d)h", row["name"])
        start, end = map(int, told)
        assert start <= hour < end


def test_marks_tell_the_planted_differences(found, truth):
    for number in range(3):
        typical = found.table.filter(pl.col("segment") == number)["typical"].item()[0]
        kind = truth[int(typical[1:])]
        top = found.marks.filter((pl.col("segment") == number) & (pl.col("effect") > 0))
        best = top.filter(pl.col("kind") == "interest:category").row(0, named=True)
        assert best["feature"] == KINDS[kind]
        assert best["lift"] > 2
        assert top.filter(pl.col("kind") == "hour")["feature"][0] == f"hour_{(7, 13, 21)[kind]:02d}"
        device = top.filter(pl.col("kind") == "trait:device")["feature"][0]
        assert device == ("phone" if kind == 0 else "desk")


def test_shares_of_a_segment_are_a_plain_mean(found, vectors):
    block = vectors.block("interest:category")
    mine = (found.members["segment"] == 1).to_numpy()
    row = found.marks.filter(
        (pl.col("segment") == 1) & (pl.col("kind") == "interest:category") & (pl.col("feature") == "tea")
    ).row(0, named=True)
    column = block.values[:, block.columns.index("tea")]
    assert row["value"] == pytest.approx(column[mine].mean(), rel=1e-5)
    assert row["overall"] == pytest.approx(column.mean(), rel=1e-5)


def test_kept_segments_assign_the_same_and_new_users(found, vectors, world, tmp_path):
    found.save(tmp_path)
    assert {p.suffix for p in tmp_path.iterdir()} == {".parquet", ".json"}
    kept = Segments.load(tmp_path)
    assert kept.members.equals(found.members)
    assert kept.marks.equals(found.marks)
    assert kept.choice.equals(found.choice)
    assert np.array_equal(kept.coordinates, found.coordinates)
    assert kept.assign(vectors).equals(found.members)
    # Users of another draw, unseen before, are given to the segment of their kind.
    events, _ = planted(seed=9)
    fresh = user_vectors(
        events, AS_OF, VectorConfig(value_actions=("buy",)), Beside(items=world[1]), like=kept.columns
    )
    assert adjusted_rand_score(np.arange(90) % 3, kept.assign(fresh)["segment"]) == 1.0
    with pytest.raises(DataError, match="holds no segments"):
        Segments.load(tmp_path / "elsewhere")


def test_same_seed_same_segments(found, vectors):
    again = segment(vectors, QUICK)
    assert again.members.equals(found.members)
    assert again.table.equals(found.table)
    assert again.marks.equals(found.marks)


def test_nothing_later_counts(found, vectors, world):
    later = user_vectors(
        with_future(world[0]), AS_OF, VectorConfig(value_actions=("buy",)), Beside(items=world[1])
    )
    assert later.users.equals(vectors.users)
    assert later.columns == vectors.columns
    for block in vectors.blocks:
        theirs = later.block(block.name).values
        a = block.values.toarray() if sp.issparse(block.values) else block.values
        b = theirs.toarray() if sp.issparse(theirs) else theirs
        # Sums over more threads may differ in the last bit.
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
    assert segment(later, QUICK).members["segment"].equals(found.members["segment"])


def test_movement_reconciles(found, world):
    """The same scales and centres half way through: each user is counted once, wherever from."""
    events, items = world
    middle = AS_OF - timedelta(days=14)
    beside, config = Beside(items=items), VectorConfig(value_actions=("buy",))
    newcomers = events.filter(pl.col("user_id") < "u010").with_columns(pl.col("user_id") + "x")
    log = pl.concat([events, newcomers.filter(pl.col("time") >= middle)])
    tables = [
        (m, found.assign(user_vectors(log, m, config, beside, like=found.columns))) for m in (middle, AS_OF)
    ]
    moved = track(tables, found.names)
    assert moved["n_users"].sum() == tables[1][1].height
    for side, members in (("from", tables[0][1]), ("to", tables[1][1])):
        told = dict(moved.group_by(side).agg(pl.col("n_users").sum()).iter_rows())
        told.pop("(not there)", None)
        sizes = members["segment"].replace_strict(found.names, return_dtype=pl.String).value_counts()
        assert told == dict(sizes.iter_rows())
    assert moved.filter(pl.col("from") == "(not there)")["n_users"].sum() == 10
    with pytest.raises(DataError, match="oldest first"):
        track(tables[::-1])
    with pytest.raises(DataError, match="come once"):
        moves(pl.concat([tables[0][1]] * 2), tables[1][1])


def test_handed_patterns_and_embeddings(world, truth):
    """Without items' attributes: patterns and vectors from elsewhere part users and are told as marks."""
    events, _ = world
    users = pl.Series([f"u{u:03d}" for u in range(89, 4, -1)])  # another order, and five users lack
    kind = np.array([int(u[1:]) % 3 for u in users])
    held = sp.csr_array(np.stack([kind == 0, kind == 1, kind == 2, kind < 3], axis=1).astype(np.int8))
    vectors = np.eye(3)[kind] + np.random.default_rng(0).normal(0, 0.05, (85, 3))
    made = user_vectors(
        events,
        AS_OF,
        VectorConfig(n_items=0),
        Beside(
            patterns=UserMatrix(users=users, values=held, names=("a>b", "b>c", "c>d", "all")),
            embeddings=UserMatrix(users=users, values=vectors),
        ),
    )
    block = made.block("pattern")
    assert block.values[[0]].nnz == 0  # u000 was not handed in
    assert block.values[[7]].toarray()[0].tolist() == [0, 1, 0, 1]  # u007 is of kind 1
    found = segment(made, QUICK)
    assert adjusted_rand_score(truth[5:], found.members["segment"][5:]) == 1.0
    top = found.marks.filter((pl.col("kind") == "pattern") & (pl.col("effect") > 1))
    assert sorted(top["feature"]) == ["a>b", "b>c", "c>d"]
    assert top["value"].min() > 0.8


def test_items_serve_where_no_attribute_does(world, truth):
    found = segment(user_vectors(world[0], AS_OF), QUICK, titles={"i05": "Five"})
    assert "item" in found.columns
    assert adjusted_rand_score(truth, found.members["segment"]) > 0.9


def test_space_tells_signal_from_noise(vectors):
    """Hours and interests are planted, weekdays are drawn evenly for all: they must not part anybody."""
    space = Space.fit(vectors, SpaceConfig(weights={"trait": 0.0, "age": 0.0}))
    reliability = {scale.name: scale.reliability for scale in space.scales}
    assert reliability["interest:category"] > 0.8
    assert reliability["hour"] > 0.8
    assert reliability["weekday"] < 0.3
    points = space.transform(vectors)
    assert points.shape == (90, space.n_components)
    cov = np.cov(points, rowvar=False)
    assert np.allclose(cov - np.diag(np.diag(cov)), 0, atol=1e-3)  # components are uncorrelated
    assert (np.diff(np.diag(cov)) <= 1e-4).all()


def test_similar_users_are_of_a_kind(found, truth):
    alike = found.similar_users("u004", 10)
    assert alike.height == 10
    assert {truth[int(u[1:])] for u in alike["user_id"]} == {1}
    assert alike["similarity"].is_sorted(descending=True)
    with pytest.raises(DataError, match=r"No segment has the user 'u04'. Did you mean 'u0"):
        found.similar_users("u04")


def test_labels_are_told_from_texts(world):
    table = world[1].with_columns(
        pl.col("category").replace_strict(dict(zip(KINDS, "xyz", strict=True))).alias("again"),
        pl.Series("tags", [["a", "b"], ["b"]] * 15),
    )
    assert label_attributes(table) == ("category", "tags")


def test_bad_input(vectors, world, found):
    events, items = world
    with pytest.raises(TooLittleData, match="at least 20 users"):
        segment(user_vectors(events.filter(pl.col("user_id") < "u010"), AS_OF))
    with pytest.raises(TooLittleData, match=r"no event lies|an event before"):
        user_vectors(events, datetime(2020, 1, 1, tzinfo=UTC))
    with pytest.raises(DataError, match="categry"):
        user_vectors(events, AS_OF, VectorConfig(attributes=("categry",)), Beside(items=items))
    with pytest.raises(DataError, match="no block"):
        found.assign(user_vectors(events, AS_OF))
    with pytest.raises(ShapeError, match="a row for each"):
        UserMatrix(users=pl.Series(["a"]), values=np.zeros((2, 1)))
    twice = UserMatrix(users=pl.Series(["u001", "u001"]), values=np.zeros((2, 1)))
    with pytest.raises(DataError, match="must come once"):
        user_vectors(events, AS_OF, None, Beside(embeddings=twice))
    for config in (
        lambda: SpaceConfig(weights={"hour": -1}),
        lambda: SpaceConfig(variance=0),
        lambda: SegmentConfig(seed=-1),
        lambda: VectorConfig(max_labels=1),
    ):
        with pytest.raises(ConfigError):
            config()


def test_umap_is_an_extra(vectors, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "umap", None)
    with pytest.raises(ConfigError, match=r"pip install 'desirepath\[umap\]'"):
        segment(vectors, SegmentConfig(map="umap", partition=PartitionConfig(k=3)))


@pytest.mark.slow
@pytest.mark.skipif(find_spec("umap") is None, reason="umap-learn is not installed")
def test_a_umap_plane_keeps_neighbours_and_its_seed(monkeypatch):
    """Three clouds in ten dimensions stay three clouds, and users who are not drawn have no place."""
    draw = np.random.default_rng(0)
    cloud = draw.integers(0, 3, 600)
    points = (draw.normal(size=(600, 10)) + 8 * np.eye(10)[cloud]).astype(np.float32)
    plane = umap_plane(points, seed=1)
    assert plane.shape == (600, 2)
    assert adjusted_rand_score(cloud, KMeans(3, n_init=5, random_state=0).fit_predict(plane)) > 0.99
    assert trustworthiness(points, plane, n_neighbors=10) > 0.8
    monkeypatch.setattr("desirepath.profiles.plane.MOST", 200)
    some = umap_plane(points, seed=1)
    assert np.isfinite(some).all(axis=1).sum() == 200
    assert np.array_equal(some, umap_plane(points, seed=1), equal_nan=True)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("umap") is None, reason="umap-learn is not installed")
def test_segments_on_a_umap_map(vectors, tmp_path):
    found = segment(vectors, SegmentConfig(map="umap", partition=PartitionConfig(k=3)))
    assert found.members["x"].null_count() == 0
    assert not np.allclose(found.members["x"].to_numpy(), found.coordinates[:, 0])
    found.save(tmp_path)
    assert Segments.load(tmp_path).assign(vectors)["x"].null_count() == len(vectors)
