"""Off-policy value: unbiased where the truth is known, and right about a policy that was truly run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from desirepath.errors import ConfigError, DataError
from desirepath.evaluation.off_policy import OffPolicyConfig, policy_value

REWARD = np.array([0.1, 0.3, 0.5, 0.2])
LOGGED = np.array([0.4, 0.3, 0.1, 0.2])
WANTED = np.array([0.1, 0.1, 0.7, 0.1])


def world(n: int, rng: np.random.Generator):
    item = rng.choice(4, n, p=LOGGED)
    clicked = (rng.random(n) < REWARD[item]).astype(float)
    return item, clicked, rng.integers(0, max(n // 5, 1), n)


def test_the_truth_is_found_and_covered() -> None:
    rng = np.random.default_rng(1)
    truth = float(WANTED @ REWARD)
    means, covered = [], 0
    for _ in range(200):
        item, clicked, user = world(2000, rng)
        guess = np.array([0.2, 0.2, 0.4, 0.2])  # a poor model of rewards
        found = policy_value(
            clicked, LOGGED[item], WANTED[item], user, predicted=(guess[item], np.full(2000, guess @ WANTED))
        )
        means.append([found.ips.value, found.snips.value, found.dr.value, found.logged.value])
        covered += all(e.low <= truth <= e.high for e in (found.ips, found.snips, found.dr))
    mean, error = np.mean(means, axis=0), np.std(means, axis=0) / np.sqrt(200)
    assert abs(mean[0] - truth) < 4 * error[0]
    assert abs(mean[1] - truth) < 4 * error[1] + 0.002
    assert abs(mean[2] - truth) < 4 * error[2]
    assert abs(mean[3] - LOGGED @ REWARD) < 4 * error[3]
    assert error[1] < error[0]
    assert error[2] < error[0]
    assert covered >= 195


def test_by_hand() -> None:
    found = policy_value([1, 0, 1], [0.5, 0.25, 0.2], [1.0, 0.5, 0.0], ["a", "a", "b"])
    assert found.ips.value == pytest.approx((2 * 1 + 2 * 0 + 0) / 3)
    assert found.snips.value == pytest.approx(2 / 4)
    assert found.effective_n == pytest.approx(16 / 8)
    assert (found.mean_weight, found.largest_weight, found.n) == (pytest.approx(4 / 3), 2.0, 3)
    assert found.dr is None


def test_a_right_model_needs_no_propensities() -> None:
    rng = np.random.default_rng(2)
    item, _, user = world(1000, rng)
    wrong = np.full(1000, 0.25)
    found = policy_value(
        REWARD[item], wrong, WANTED[item], user, predicted=(REWARD[item], np.full(1000, REWARD @ WANTED))
    )
    assert found.dr.value == pytest.approx(REWARD @ WANTED)
    assert abs(found.ips.value - REWARD @ WANTED) > 0.02


def test_weights_are_cut() -> None:
    config = OffPolicyConfig(most_weight=1.5)
    found = policy_value([1, 1], [0.1, 0.9], [0.9, 0.1], ["a", "b"], config=config)
    assert found.largest_weight == 1.5


def test_a_policy_that_shows_nothing_of_the_log() -> None:
    found = policy_value([1, 0], [0.5, 0.5], [0, 0], ["a", "b"])
    assert (found.ips.value, found.effective_n) == (0.0, 0.0)
    assert np.isnan(found.snips.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (([1], [0.0], [0.5], ["a"]), "row 0 has 0.0"),
        (([1], [1.5], [0.5], ["a"]), r"Propensities must lie in \(0, 1\]"),
        (([1], [0.5], [1.5], ["a"]), "Target chances"),
        (([np.nan], [0.5], [0.5], ["a"]), "finite"),
        (([1, 2], [0.5], [0.5], ["a"]), "equally many"),
        (([], [], [], []), "at least one"),
    ],
)
def test_wrong_numbers_are_refused(given: tuple, message: str) -> None:
    with pytest.raises(DataError, match=message):
        policy_value(*given)
    with pytest.raises(ConfigError, match="most_weight"):
        OffPolicyConfig(most_weight=0.5)


def bandit_logs(shared_data: Path, campaign: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What ZOZO's bandit and its uniform draw showed, at the same time; nobody is named."""
    folder = shared_data / "open-bandit-small"
    bandit, uniform = (
        pl.read_csv(folder / name / campaign / f"{campaign}.csv") for name in ("bts", "random")
    )
    return bandit, uniform


@pytest.mark.data
@pytest.mark.parametrize("campaign", ["men", "women"])
def test_a_bandit_valued_from_uniform_lists(shared_data: Path, campaign: str) -> None:
    """Both policies were run: what the uniform log says of the bandit against what the bandit earned."""
    bandit, uniform = bandit_logs(shared_data, campaign)
    shown = bandit.group_by("position", "item_id").len()
    shown = shown.with_columns((pl.col("len") / pl.col("len").sum().over("position")).alias("target"))
    rows = uniform.join(shown, on=["position", "item_id"], how="left", maintain_order="left")
    target = rows["target"].fill_null(0.0)
    found = policy_value(rows["click"], rows["propensity_score"], target, np.arange(rows.height))
    earned = bandit["click"].to_numpy()
    error = earned.std() / np.sqrt(len(earned))
    for estimate in (found.ips, found.snips):
        assert estimate.low - 2 * error <= earned.mean() <= estimate.high + 2 * error
    assert found.mean_weight == pytest.approx(1.0, abs=0.05)
    assert found.logged.value == pytest.approx(uniform["click"].mean())
    assert 0.1 * found.n < found.effective_n < found.n


@pytest.mark.data
def test_a_log_that_cannot_tell_says_so(shared_data: Path) -> None:
    """The bandit hardly ever shows most items: of uniform lists its log knows next to nothing."""
    bandit, uniform = bandit_logs(shared_data, "women")
    target = np.full(bandit.height, 1 / uniform["item_id"].n_unique())
    found = policy_value(bandit["click"], bandit["propensity_score"], target, np.arange(bandit.height))
    assert found.effective_n < 0.001 * found.n
    assert found.largest_weight > 1000
