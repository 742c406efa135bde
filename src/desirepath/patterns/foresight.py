# SPDX-License-Identifier: Apache-2.0
"""Rules put to use: what comes next after a history, and the sentence that says why.

It reads the table of `rules` and a list of names; it knows no database.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from desirepath.errors import ConfigError

NEEDED = ("antecedent", "consequent", "support", "confidence", "lift", "median_gap_s")


def firing(rules: pl.DataFrame, history: Sequence[str], *, window: int = 0) -> pl.DataFrame:
    """The rules whose whole antecedent is in the history, with a column `sentence`, surest first.

    Args:
        rules: the table of `rules`.
        history: names of what one user did, oldest first.
        window: only the last `window - 1` events count, so that one more fits rules found in a window of so
            many; 0 for the whole history.

    Raises:
        ConfigError: a column of rules is missing.

    Cost: one pass over the rules.
    """
    missing = [name for name in NEEDED if name not in rules.columns]
    if missing:
        raise ConfigError(f"rules must be the table that `rules` makes; it lacks {', '.join(missing)}.")
    if isinstance(history, str):
        raise ConfigError(f"history must be a list of names; got the text '{history}'.")
    recent = list(dict.fromkeys(history if window == 0 else history[max(0, len(history) - window + 1) :]))
    known = pl.lit(pl.Series([recent], dtype=pl.List(pl.String)))
    fires = rules.filter(pl.col("antecedent").list.set_difference(known).list.len() == 0)
    return fires.with_columns(sentence=_sentence()).sort(
        "confidence", "support", "antecedent", descending=[True, True, False], maintain_order=True
    )


def predict_next(
    rules: pl.DataFrame, history: Sequence[str], *, k: int = 10, window: int = 0
) -> pl.DataFrame:
    """What the surest rules expect after this history.

    Returns:
        At most k rows, surest first: symbol, confidence (share of those with the antecedent who went on to
        the whole consequent), support, lift, median_gap_s, seen (whether it is in the history already),
        antecedent, consequent and the sentence that gives the evidence. Empty when no rule fires.

    >>> from desirepath.patterns.database import SequenceDatabase
    >>> from desirepath.patterns.rules import RuleConfig, rules
    >>> log = SequenceDatabase.from_lists([["a", "b"], ["a", "b"], ["a", "c"], ["b"]])
    >>> table = rules(log, RuleConfig(min_support=2, min_confidence=0.5))
    >>> print(predict_next(table, ["a"])["sentence"][0])
    Of 3 who did a, 67% went on to b, typically 1.0 seconds later; of all, 75% did b.
    """
    if k < 1:
        raise ConfigError(f"k must be 1 or more; got {k}.")
    seen = list(dict.fromkeys(history))
    return (
        firing(rules, history, window=window)
        .with_columns(symbol=pl.col("consequent"))
        .explode("symbol")
        .unique("symbol", keep="first", maintain_order=True)
        .with_columns(seen=pl.col("symbol").is_in(seen))
        .select(
            "symbol",
            "confidence",
            "support",
            "lift",
            "median_gap_s",
            "seen",
            "antecedent",
            "consequent",
            "sentence",
        )
        .head(k)
    )


def _sentence() -> pl.Expr:
    """The evidence of a rule in words."""
    gap = pl.col("median_gap_s")
    later = pl.lit("at the same moment")
    # Largest unit first in the chain of choices.
    for size, unit in ((1.0, "seconds"), (60.0, "minutes"), (3600.0, "hours"), (86400.0, "days")):
        words = pl.format("typically {} {} later", (gap / size).round(1), pl.lit(unit))
        enough = gap > 0 if size == 1.0 else gap >= 2 * size
        later = pl.when(enough).then(words).otherwise(later)
    had = (pl.col("support") / pl.col("confidence")).round().cast(pl.Int64)
    overall = 100 * pl.col("confidence") / pl.col("lift")
    return pl.format(
        "Of {} who did {}, {}% went on to {}, {}; of all, {}% did {}.",
        had,
        pl.col("antecedent").list.join(" and "),
        (100 * pl.col("confidence")).round().cast(pl.Int64),
        pl.col("consequent").list.join(" and "),
        later,
        overall.round().cast(pl.Int64),
        pl.col("consequent").list.join(" and "),
    )
