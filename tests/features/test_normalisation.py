# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata
from sklearn.preprocessing import MinMaxScaler, QuantileTransformer, StandardScaler

from desirepath.errors import ConfigError, DataError, TooLittleData
from desirepath.features import Normaliser


def tables() -> tuple[pl.DataFrame, pl.DataFrame]:
    rng = np.random.default_rng(5)
    return (
        pl.DataFrame({"x": rng.lognormal(size=700), "y": rng.integers(0, 4, 700)}),
        pl.DataFrame({"x": rng.lognormal(size=90) * 2 - 1, "y": rng.integers(-1, 6, 90)}),
    )


@pytest.mark.parametrize(
    ("method", "peer"),
    [
        ("minmax", MinMaxScaler()),
        ("zscore", StandardScaler()),
        ("percentile", QuantileTransformer(n_quantiles=700, subsample=None)),
    ],
)
def test_scales_agree_with_scikit_learn(method: str, peer: object) -> None:
    train, test = tables()
    got = Normaliser.fit(train, ["x", "y"], method).apply(test)  # type: ignore[arg-type]
    peer.fit(train.to_numpy().astype(float))  # type: ignore[attr-defined]
    expected = peer.transform(test.to_numpy().astype(float))  # type: ignore[attr-defined]
    # scikit-learn sends ties at the least and greatest value to 0 and 1; here they stay at their middle.
    # Its inner knots are interpolated and miss the ends of a tie by one rank.
    tied_end = test["y"].is_in([0, 3]).to_numpy() & (method == "percentile")
    np.testing.assert_allclose(got["x"].to_numpy(), expected[:, 0], atol=1e-9)
    np.testing.assert_allclose(got["y"].to_numpy()[~tied_end], expected[~tied_end, 1], atol=1 / 699)


def test_percentiles_of_ties_are_their_mean_rank() -> None:
    rng = np.random.default_rng(2)
    for values in ([0.0, 0.0, 0.0, 1.0, 2.0, 2.0], rng.poisson(3, 900) / 7, rng.normal(size=5)):
        table = pl.DataFrame({"x": values})
        got = Normaliser.fit(table, ["x"], "percentile").apply(table)["x"].to_numpy()
        np.testing.assert_allclose(got, (rankdata(values) - 1) / (len(values) - 1), atol=1e-12)


def test_many_rows_need_few_quantiles() -> None:
    x = np.random.default_rng(2).exponential(size=50_000)
    table = pl.DataFrame({"x": x})
    fitted = Normaliser.fit(table, ["x"], "percentile")
    assert len(fitted.learned["x"]) == 1001
    np.testing.assert_allclose(
        fitted.apply(table)["x"].to_numpy(), (rankdata(x) - 1) / (len(x) - 1), atol=1e-3
    )


def test_log_is_that_of_one_plus_and_odd() -> None:
    table = pl.DataFrame({"x": [0.0, 1.0, 99.0, -3.0, None]})
    got = Normaliser.fit(table, ["x"], "log1p").apply(table)["x"]
    assert got.to_list()[:4] == pytest.approx([0.0, np.log(2), np.log(100), -np.log(4)])
    assert got[4] is None


@given(
    method=st.sampled_from(["minmax", "zscore", "log1p", "percentile"]),
    train=st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=30),
    test=st.lists(st.one_of(st.none(), st.floats(-1e9, 1e9)), min_size=1, max_size=20),
)
def test_what_is_kept_gives_the_same_scale(method: str, train: list[float], test: list[float | None]) -> None:
    fitted = Normaliser.fit(pl.DataFrame({"x": train}), ["x"], method)  # type: ignore[arg-type]
    kept = Normaliser.from_dict(json.loads(json.dumps(fitted.to_dict())))
    assert kept == fitted
    table = pl.DataFrame({"x": test}, schema={"x": pl.Float64})
    got = fitted.apply(table)["x"]
    assert got.equals(kept.apply(table)["x"])
    assert got.null_count() == table["x"].null_count()
    assert got.drop_nulls().is_finite().all()
    if method == "percentile":
        assert got.drop_nulls().is_between(0, 1).all()


def test_columns_that_never_vary_become_zero_and_others_stay() -> None:
    table = pl.DataFrame({"x": [3.0, 3.0, None], "name": ["a", "b", "c"]})
    for method in ("minmax", "zscore"):
        got = Normaliser.fit(table, ["x"], method).apply(table)  # type: ignore[arg-type]
        assert got["x"].to_list() == [0.0, 0.0, None]
        assert got["name"].to_list() == ["a", "b", "c"]


def test_what_cannot_be_scaled_is_told() -> None:
    with pytest.raises(DataError, match="Only numbers"):
        Normaliser.fit(pl.DataFrame({"x": ["a"]}), ["x"])
    with pytest.raises(DataError, match="NaN"):
        Normaliser.fit(pl.DataFrame({"x": [float("nan")]}), ["x"])
    with pytest.raises(TooLittleData, match="no value"):
        Normaliser.fit(pl.DataFrame({"x": [None]}, schema={"x": pl.Float64}), ["x"])
    with pytest.raises(DataError, match="must have the column 'y'"):
        Normaliser.fit(pl.DataFrame({"x": [1.0]}), ["y"])
    with pytest.raises(ConfigError, match="minmax"):
        Normaliser.fit(pl.DataFrame({"x": [1.0]}), ["x"], "min-max")  # type: ignore[arg-type]
