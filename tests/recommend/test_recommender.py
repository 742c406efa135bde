# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from sklearn.metrics.pairwise import cosine_similarity

from desirepath.errors import ConfigError, DataError, ShapeError
from desirepath.models.factorisation import Als, AlsConfig
from desirepath.models.markov import ActionMarkov, Markov
from desirepath.models.popularity import DecayedPopularity, Popularity
from desirepath.recommend import Calibration, Recommender, Similar, list_batches, make_lists
from desirepath.recommend.ranking import top_k
from desirepath.recommend.recommender import nearest_id
from desirepath.schema import FIRST
from desirepath.sequences import Queries, Sequences, Vocabulary
from worlds import cycle, leave_last, packed, two_tribes

LOG = {"ann": ["a", "b", "c"], "bob": ["b", "c", "d"], "cy": ["a", "b"], "dee": []}


@pytest.fixture
def log():
    return Sequences.from_lists(LOG)


@pytest.fixture
def recommender(log):
    return Recommender(Markov().fit(log), log, titles={"c": "Sea", "d": "Deep"})


# By name


def test_known_user(recommender):
    answer = recommender.recommend("cy", k=2)
    assert answer.items["item_id"].to_list() == ["c", "d"]
    assert answer.items["title"].to_list() == ["Sea", "Deep"]
    assert answer.items["rank"].to_list() == [1, 2]
    assert answer.items["score"].is_sorted(descending=True)
    assert answer.items["probability"].null_count() == 2  # no calibration, no claim
    assert (answer.model, answer.fallback) == ("markov", None)


def test_seen_is_an_option(recommender):
    assert recommender.recommend("ann", k=9).items["item_id"].to_list() == ["d"]
    every = recommender.recommend("ann", k=9, exclude_seen=False).items["item_id"].to_list()
    assert sorted(every) == ["a", "b", "c", "d"]


def test_unseen_sequence(recommender):
    answer = recommender.recommend_items(["zzz", "a", "zzz"], k=1)
    assert answer.items["item_id"].to_list() == ["b"]
    assert answer.unknown == ("zzz",)
    assert answer.fallback is None


@pytest.mark.parametrize("history", [[], ["zzz"]])
def test_cold_sequence_says_so(recommender, log, history):
    answer = recommender.recommend_items(history, k=4)
    assert answer.model == "popularity-decayed"
    assert "popular of late" in answer.fallback
    wanted = DecayedPopularity().fit(log).scores(Queries.from_items([[]], log.items))[0, FIRST:]
    assert answer.items["item_id"][0] == "b"
    np.testing.assert_allclose(answer.items["probability"].sum(), np.exp(wanted).sum(), rtol=1e-5)


def test_cold_user_says_so(recommender):
    answer = recommender.recommend("dee", k=1)
    assert answer.fallback.startswith("User 'dee' has no known events")
    assert answer.items["item_id"].to_list() == ["b"]


def test_unknown_user_names_the_nearest(recommender):
    with pytest.raises(DataError, match=r"User 'anm' is not known\. Did you mean 'ann'\?"):
        recommender.recommend("anm")
    with pytest.raises(DataError, match="None of the 4 known ids"):
        recommender.similar_users("someone else entirely")
    with pytest.raises(DataError, match="Item 'q' is not known"):
        recommender.similar_items("q")


def test_nearest_id_compares_few():
    ids = pl.Series([f"user-{n:06d}" for n in range(100_000)])
    assert nearest_id("user-0000123", ids, n_compared=500) == "Did you mean 'user-000123'?"
    assert nearest_id("client", ids) == "None of the 100000 known ids looks like it."
    assert nearest_id("", ids) == "None of the 100000 known ids looks like it."


def test_options_are_checked(recommender, log):
    with pytest.raises(ConfigError, match="k must be at least 1"):
        recommender.recommend("ann", k=0)
    with pytest.raises(ConfigError, match="k must be at least 1"):
        recommender.similar_items("a", k=0)
    with pytest.raises(ShapeError, match="allowed"):
        Recommender(Markov().fit(log), log, allowed=np.ones(3, dtype=bool))


def test_allowed_items_only(log):
    allowed = np.ones(len(log.items), dtype=bool)
    allowed[log.items.index("c")] = False
    recommender = Recommender(Markov().fit(log), log, allowed=allowed)
    assert "c" not in recommender.recommend("cy", k=9).items["item_id"].to_list()
    assert "c" not in recommender.recommend("dee", k=9).items["item_id"].to_list()


def test_log_newer_than_the_model(log):
    """Items that came after training are unknown to the model, and users who did are not."""
    model = Markov().fit(log)
    newer = Sequences.from_lists(LOG | {"eve": ["new", "a"], "flo": ["new"]})
    recommender = Recommender(model, newer, items=log.items)
    assert recommender.recommend("eve", k=1).items["item_id"].to_list() == ["b"]
    assert recommender.recommend("flo", k=1).fallback is not None
    # A vocabulary in another order is translated, not trusted.
    other = Sequences.from_lists({"zed": ["d", "c"], **LOG})
    assert other.items != log.items
    assert recommender.recommend("cy", k=1).items["item_id"].to_list() == ["c"]
    again = Recommender(model, other, items=log.items)
    assert again.recommend("cy", k=1).items["item_id"].to_list() == ["c"]


def test_next_action():
    action = np.tile([0, 0, 1], (20, 4))[:, :11]
    world = packed(np.zeros_like(action), 1, action_NL=action, actions=("view", "buy"))
    recommender = Recommender(Popularity().fit(world), world, actions=ActionMarkov().fit(world))
    table = recommender.next_action("u3")
    assert table["action"].to_list() == ["buy", "view"]
    assert table["probability"].sum() == pytest.approx(1.0)
    assert table["probability"][0] > 0.8
    with pytest.raises(ConfigError, match="ActionMarkov"):
        Recommender(Popularity().fit(world), world).next_action("u3")


# For everybody


def everybody_world() -> tuple[Sequences, Calibration, Markov]:
    world = cycle(n_users=300, n_items=12, length=6)
    train, queries = leave_last(world)
    model = Markov().fit(train)
    return world, Calibration.fit(model, queries), model


def test_recommend_all_is_recommend(tmp_path, monkeypatch):
    from desirepath.recommend import held

    monkeypatch.setattr(held, "TILE_BYTES", 1)  # 16 queries a batch
    world, calibration, model = everybody_world()
    recommender = Recommender(model, world, calibration=calibration)
    steps = []
    written = recommender.recommend_all(
        tmp_path / "lists" / "all.parquet", k=4, on_progress=lambda done, total: steps.append((done, total))
    )
    table = pl.read_parquet(written.path)
    assert dict(table.schema) == {
        "user_id": pl.String,
        "item_id": pl.String,
        "rank": pl.Int32,
        "score": pl.Float32,
        "probability": pl.Float32,
    }
    assert (written.n_users, written.n_rows, written.n_fallback) == (300, 1200, 0)
    assert steps == [(min(n, 300), 300) for n in range(16, 320, 16)]
    assert table["user_id"].unique(maintain_order=True).equals(world.users.ids.rename("user_id"))
    for user in ("u0", "u17", "u299"):
        one = recommender.recommend(user, k=4).items
        assert table.filter(pl.col("user_id") == user).drop("user_id").equals(one)
    assert [file.name for file in written.path.parent.iterdir()] == ["all.parquet"]


def test_recommend_all_with_cold_users_and_short_lists(recommender, tmp_path):
    written = recommender.recommend_all(tmp_path / "all.parquet", k=3)
    table = pl.read_parquet(written.path)
    assert written.n_fallback == 1
    # Only what was not had: 1 for ann, 1 for bob, 2 for cy, and 3 of 4 for dee, who had nothing.
    assert table["user_id"].to_list() == ["ann", "bob", "cy", "cy", "dee", "dee", "dee"]
    assert table.filter(pl.col("user_id") == "dee")["probability"].null_count() == 0
    assert table.filter(pl.col("user_id") == "cy")["probability"].null_count() == 2


def test_recommend_all_for_some(recommender, tmp_path):
    written = recommender.recommend_all(tmp_path / "some.parquet", k=1, user_ix=np.array([2, 0]))
    assert pl.read_parquet(written.path)["user_id"].to_list() == ["cy", "ann"]
    nobody = recommender.recommend_all(tmp_path / "none.parquet", k=1, user_ix=np.zeros(0, np.int64))
    assert pl.read_parquet(nobody.path).height == nobody.n_rows == 0


def test_recommend_all_leaves_the_old_file_when_cut(recommender, tmp_path):
    path = tmp_path / "all.parquet"
    recommender.recommend_all(path, k=1)
    before = path.read_bytes()

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        recommender.recommend_all(path, k=2, on_progress=stop)
    assert path.read_bytes() == before


def test_probability_of_the_ring():
    world, calibration, model = everybody_world()
    answer = Recommender(model, world, calibration=calibration).recommend("u5", k=3)
    last = int(world.item_ix[world.offsets[6] - 1]) - FIRST
    assert answer.items["item_id"][0] == str((last + 1) % 12)
    assert answer.items["probability"][0] > 0.9
    assert answer.items["probability"][1] < 0.1


# Lists


def test_lists_are_top_k(monkeypatch):
    from desirepath.recommend import held

    world = two_tribes()
    model = Als(AlsConfig(dim=4)).fit(world)
    queries = Queries.latest(world, np.arange(world.n_users))
    wanted = top_k(model, queries, 5, mask_seen=True)
    monkeypatch.setattr(held, "TILE_BYTES", 1)
    lists = make_lists(model, queries, 5, mask_seen=True)
    np.testing.assert_array_equal(lists.item_ix, wanted[0])
    np.testing.assert_allclose(lists.score, wanted[1], rtol=1e-4, atol=1e-5)
    assert np.all(np.isnan(lists.probability))
    assert [part.stop for part, _ in list_batches(model, queries, 5)] == [16, 32, 48, 60]
    assert make_lists(model, queries[:0], 5).item_ix.shape == (0, 5)


# Neighbours


def test_neighbours_by_events_are_sklearns_cosine():
    world = packed(np.random.default_rng(0).integers(15, size=(40, 5)), 15)
    similar = Similar(Markov().fit(world), world)
    assert similar.basis == ("events", "events")
    matrix = np.zeros((40, 15))
    matrix[world.user_ix, world.item_ix - FIRST] = 1
    for kind, cosine, shift in (
        (similar.items, cosine_similarity(matrix.T), FIRST),
        (similar.users, cosine_similarity(matrix), 0),
    ):
        for one in (0, 3):
            found, value = kind(one + shift, 4)
            others = cosine[one].copy()
            others[one] = 0
            np.testing.assert_allclose(value, np.sort(others)[::-1][:4], rtol=1e-5)
            np.testing.assert_allclose(others[found - shift], value, rtol=1e-5)


def test_neighbours_by_vectors_know_tribes():
    world = two_tribes()
    model = Als(AlsConfig(dim=8)).fit(world)
    recommender = Recommender(model, world)
    assert recommender.similar.basis == ("vectors", "vectors")
    items = recommender.similar_items("3", k=5)
    assert items.columns == ["item_id", "rank", "similarity"]
    assert items["item_id"].cast(pl.Int32).max() < world.n_items // 2
    assert "3" not in items["item_id"].to_list()
    assert items["similarity"].is_sorted(descending=True)
    users = recommender.similar_users("u4", k=5)
    numbers = users["user_id"].str.strip_prefix("u").cast(pl.Int32)
    assert (numbers % 2 == 0).all()
    assert 4 not in numbers.to_list()


def test_users_without_events_are_like_nobody():
    log = Sequences.from_lists(LOG)
    for model in (Markov().fit(log), Als(AlsConfig(dim=2)).fit(log)):
        recommender = Recommender(model, log)
        assert recommender.similar_users("dee").height == 0
        assert "dee" not in recommender.similar_users("ann")["user_id"].to_list()


def test_unlike_items_are_left_out():
    log = Sequences.from_lists([["a", "b"], ["c"]])
    recommender = Recommender(Markov().fit(log), log, titles={"b": "Bee"})
    table = recommender.similar_items("a", k=5)
    assert table.rows() == [("b", "Bee", 1, pytest.approx(1.0))]
    assert recommender.similar_items("c").height == 0
    assert isinstance(recommender.items, Vocabulary)
