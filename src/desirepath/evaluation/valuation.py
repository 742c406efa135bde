# SPDX-License-Identifier: Apache-2.0
"""What a list of another scenario would bring, from lists that were served: before anyone sees it.

It knows tables: what was shown with which chance and what came of it, and the chances of everything that
either scenario might have shown to the same questions. Whoever calls makes these; it knows no store.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from desirepath.errors import ConfigError, DataError
from desirepath.evaluation.attention import Decay, decay_of
from desirepath.evaluation.rewards import expected_rewards
from desirepath.recommend.sequential import Interval, SequentialConfig, around

Floats = NDArray[np.float64]

SHOWN: Final = {
    "list": pl.Int64(),
    "unit": pl.String(),
    "place": pl.Int64(),
    "item_ix": pl.Int64(),
    "propensity": pl.Float64(),
}
"""One row an item that was shown, and further columns of what it brought; `unit` is the user."""
CHANCES: Final = {"list": pl.Int64(), "place": pl.Int64(), "item_ix": pl.Int64(), "chance": pl.Float64()}
"""One row an item that a scenario might show in a place of a list; those of a place sum to 1."""
ALIKE: Final = 2.0
"""Factor within which two chances of one item count as the same: simulated ones are rough."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ValuationConfig:
    """When the log is said to tell nothing, and how sure intervals are."""

    most_unseen: float = 0.05
    """Share of what the candidate shows that was never shown to these questions, above which nothing is said;
    [0, 1)."""
    least_effective: float = 50.0
    """Lists' worth of information below which nothing is said; above 0."""
    least_retraced: float = 0.9
    """Share of the served items that must follow from the rules in force, with about the chance that was
    logged; [0, 1]."""
    prior_looks: float = 20.0
    """Looks (> 0) at an item from which half of what it brings is predicted by itself, half by all items."""
    decay: tuple[float, float] = (0.5, 0.5)
    """Mean and standard deviation (> 0) of what is believed of how attention falls with the place k, as
    k^-decay, before clicks on items that chance had moved say more."""
    n_folds: int = 5
    """Parts of the users, >= 2: what is predicted for one is learned from the others."""
    intervals: SequentialConfig = field(default_factory=SequentialConfig)
    """How sure intervals are; they hold at every look."""

    def __post_init__(self) -> None:
        if not 0 <= self.most_unseen < 1 or not 0 <= self.least_retraced <= 1:
            raise ConfigError(
                "most_unseen must lie in [0, 1) and least_retraced in [0, 1]; got "
                f"{self.most_unseen} and {self.least_retraced}."
            )
        if not self.least_effective > 0 or not self.prior_looks > 0 or self.n_folds < 2:
            raise ConfigError(
                "least_effective and prior_looks must be above 0 and n_folds at least 2; got "
                f"{self.least_effective}, {self.prior_looks} and {self.n_folds}."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Worth:
    """What one list brings of one thing, such as clicks."""

    current: Interval
    """What the served lists brought."""
    ips: Interval
    """Of the candidate, by inverse propensity: unbiased, and noisy where weights are large."""
    snips: Interval
    """Likewise, weights made to sum to what they should."""
    dr: Interval
    """Doubly robust: what items are predicted to bring, corrected by what they brought. To be preferred."""
    difference: Interval
    """`dr` less `current`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioValue:
    """What is known of a candidate before it goes live."""

    n_lists: int
    n_users: int
    worth: dict[str, Worth]
    """By what was asked for; empty where nothing can be said."""
    unseen: float
    """Share of the candidate's attention on items that the rules in force could not have shown there."""
    effective_n: float
    """Lists' worth of information, (sum w)^2 / sum w^2; all of them where the candidate shows the same."""
    retraced: float
    """Share of served items that follow from the rules in force with about the logged chance."""
    decay: Decay
    """How attention falls with the place."""
    refused: str
    """Why nothing is said; empty where something is."""


def scenario_value(
    shown: pl.DataFrame,
    current: pl.DataFrame,
    candidate: pl.DataFrame,
    rewards: Sequence[str],
    config: ValuationConfig | None = None,
) -> ScenarioValue:
    """The value of a candidate scenario for a list, beside that of the lists that were served.

    An item is held to bring a certain reward where it is looked at, and to be looked at the less the lower it
    stands, whatever else is in the list (the position-based model). So one that chance put into another place
    than the candidate would still tells of it. Users are the units: rows of one user are never treated as
    independent.

    Args:
        shown: the columns of `SHOWN`, and one of numbers for each of `rewards`.
        current: the columns of `CHANCES`: what the rules in force might have shown to the same lists.
        candidate: likewise of the candidate.
        rewards: columns of `shown`; "clicks" among them tells how attention falls.
        config: options.

    Raises:
        DataError: a column is missing, there is no list, or a propensity is not in (0, 1].

    Source: Li et al., "Offline Evaluation of Ranking Policies with Click Models" (KDD 2018; the
    position-based model); Swaminathan and Joachims (NIPS 2015), self-normalised; Dudik, Langford and Li (ICML
    2011), doubly robust, with predictions from other users (cross-fitting: Chernozhukov et al., Econometrics
    Journal 2018). How attention falls is estimated (`attention`), and what is unknown of it widens intervals.
    Cost: a few joins of all chances.
    """
    config = config or ValuationConfig()
    shown = _taken(shown, {**SHOWN, **dict.fromkeys(rewards, pl.Float64())}, "shown")
    current, candidate = _taken(current, CHANCES, "current"), _taken(candidate, CHANCES, "candidate")
    if not shown.height or not ((shown["propensity"] > 0) & (shown["propensity"] <= 1)).all():
        raise DataError("Lists must have been shown, with propensities in (0, 1].")
    clicked = (
        shown.filter(pl.col("clicks") > 0) if "clicks" in rewards else shown.clear().with_columns(clicks=0)
    )
    decay = decay_of(clicked, current, config.decay)
    again = shown.join(current, on=["list", "place", "item_ix"], how="left")
    ratio = again["chance"].fill_null(0.0).to_numpy() / again["propensity"].to_numpy()
    rows, asked = _weighed(shown, current, candidate, decay.value)
    reach, is_unseen = asked["reach"].to_numpy(), asked["could"].is_null().to_numpy()
    found = ScenarioValue(
        n_lists=shown["list"].n_unique(),
        n_users=shown["unit"].n_unique(),
        worth={},
        unseen=float(reach[is_unseen].sum() / reach.sum()),
        effective_n=_effective(rows),
        retraced=float(((ratio >= 1 / ALIKE) & (ratio <= ALIKE)).mean()),
        decay=decay,
        refused="",
    )
    refused = _refusal(found, config)
    if refused:
        return replace(found, refused=refused)
    # What is not known of attention moves every figure at once: asked again at one error to either side.
    aside = [_weighed(shown, current, candidate, decay.value + side * decay.error) for side in (-1.0, 1.0)]
    return replace(found, worth={name: _worth((rows, asked), aside, name, config) for name in rewards})


def _taken(table: pl.DataFrame, schema: Mapping[str, pl.DataType], name: str) -> pl.DataFrame:
    missing = [column for column in schema if column not in table.columns]
    if missing:
        raise DataError(f"The table '{name}' must have the column '{missing[0]}'; it has {table.columns}.")
    return table.select(pl.col(column).cast(kind) for column, kind in schema.items())


def _weighed(
    shown: pl.DataFrame, current: pl.DataFrame, candidate: pl.DataFrame, decay: float
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Shown rows with `weight` and `look`, and one row an item of a list that the candidate may show.

    The weight is how much attention the candidate gives to the item of this list over how much it had.
    """
    look = pl.col("place").cast(pl.Float64) ** -decay
    of_item = ["list", "item_ix"]
    could = current.group_by(of_item).agg((pl.col("chance") * look).sum().alias("could"))
    reach = candidate.group_by(of_item).agg((pl.col("chance") * look).sum().alias("reach"))
    owners, users = shown.group_by("list").agg(pl.col("unit").first()), shown.select("unit").unique()
    owner = owners.join(users.sort("unit").with_row_index("u"), on="unit").select(
        "list", pl.col("u").cast(pl.Int64)
    )
    rows = shown.join(could, on=of_item, how="left", maintain_order="left").join(
        reach, on=of_item, how="left", maintain_order="left"
    )
    # What the rules in force would not have shown was at least shown here, with the chance that was logged.
    could_be = pl.col("could").fill_null(pl.col("propensity") * look)
    rows = rows.with_columns(weight=pl.col("reach").fill_null(0.0) / could_be, look=look)
    asked = reach.join(could, on=of_item, how="left", maintain_order="left")
    return tuple(table.join(owner, on="list", how="inner", maintain_order="left") for table in (rows, asked))  # type: ignore[return-value]


def _effective(rows: pl.DataFrame) -> float:
    """Lists' worth of information: as many as were served, where the candidate shows the same."""
    seen, w = rows["look"].to_numpy(), (rows["look"] * rows["weight"]).to_numpy()
    if not w.any():
        return 0.0
    share = (w.sum() ** 2 / (w @ w)) / (seen.sum() ** 2 / (seen @ seen))
    return float(rows["list"].n_unique() * share)


def _refusal(found: ScenarioValue, config: ValuationConfig) -> str:
    if found.retraced < config.least_retraced:
        return (
            f"Only {found.retraced:.0%} of the items that were served follow from the rules in force, with "
            "about the chances that were logged: rules, items or requests were others then. Ask for lists "
            "since the rules last changed."
        )
    if found.unseen > config.most_unseen:
        return (
            f"{found.unseen:.0%} of what the candidate would show could not have been shown to these people, "
            "whatever chance had drawn. Let the scenario in force explore more (share, pool, slots), or test "
            "the candidate on people."
        )
    if found.effective_n < config.least_effective:
        return (
            f"What was served tells as much of the candidate as {found.effective_n:.0f} lists would; at "
            f"least {config.least_effective:.0f} are needed. Wait for more lists, or explore more."
        )
    return ""


class _Figures(NamedTuple):
    """Figures a list, and what each user moves them by."""

    value: Floats
    moved_UF: Floats


def _figures(rows: pl.DataFrame, asked: pl.DataFrame, reward: str, config: ValuationConfig) -> _Figures:
    """Of the lists as they were, by inverse propensity, self-normalised, and doubly robust."""
    unit, others = rows["u"].to_numpy(), asked["u"].to_numpy()
    n = 1 + int(unit.max())
    lists_U = (
        rows.group_by("u").agg(pl.col("list").n_unique()).sort("u")["list"].to_numpy().astype(np.float64)
    )
    r, w, look = (rows[name].to_numpy() for name in (reward, "weight", "look"))
    predicted, expected = expected_rewards(rows, asked, reward, config.n_folds, config.prior_looks)
    reach = asked["reach"].to_numpy()
    sums = [r, w * r, w * (r - look * predicted)]
    here_U, ips_U, dr_U = (np.bincount(unit, one, n) for one in sums)
    dr_U = dr_U + np.bincount(others, reach * expected, n)
    looked_U, reach_U = np.bincount(unit, w * look, n), np.bincount(others, reach, n)
    level, whole = lists_U.mean(), lists_U.sum()
    plain = [float(x.sum() / whole) for x in (here_U, ips_U, dr_U)]
    moved = [(x - v * lists_U) / level for x, v in zip((here_U, ips_U, dr_U), plain, strict=True)]
    rate, fill = ips_U.sum() / looked_U.sum(), reach_U.sum() / whole
    snips_U = fill * (ips_U - rate * looked_U) / looked_U.mean() + rate * (reach_U - fill * lists_U) / level
    value = np.array([plain[0], plain[1], rate * fill, plain[2]])
    return _Figures(value, np.stack([moved[0], moved[1], snips_U, moved[2]], axis=1))


def _worth(
    tables: tuple[pl.DataFrame, pl.DataFrame],
    aside: list[tuple[pl.DataFrame, pl.DataFrame]],
    reward: str,
    config: ValuationConfig,
) -> Worth:
    found = _figures(*tables, reward, config)
    low, high = (_figures(*other, reward, config).value for other in aside)
    n = len(found.moved_UF)
    error_F = np.hypot(found.moved_UF.std(axis=0, ddof=1) / math.sqrt(n), (high - low) / 2)
    current, ips, snips, dr = (
        around(float(value), float(error), n, config.intervals)
        for value, error in zip(found.value, error_F, strict=True)
    )
    apart_U = found.moved_UF[:, 3] - found.moved_UF[:, 0]
    error = math.hypot(float(apart_U.std(ddof=1)) / math.sqrt(n), float(high[3] - low[3]) / 2)
    difference = around(float(found.value[3] - found.value[0]), error, n, config.intervals)
    return Worth(current=current, ips=ips, snips=snips, dr=dr, difference=difference)
