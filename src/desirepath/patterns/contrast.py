# SPDX-License-Identifier: Apache-2.0
"""Patterns that set groups apart: supports per class in one search, with effects and tests.

It joins labels to sequences, searches once for all classes, and measures each pattern. It knows nothing of
where labels come from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray

from desirepath.errors import ConfigError, DataError, TooLittleData, nearest
from desirepath.patterns import significance
from desirepath.patterns.database import SequenceDatabase, check_nonempty, joined
from desirepath.patterns.encoding import encode
from desirepath.patterns.found import Patterns
from desirepath.patterns.frequent import MiningConfig, grow, least_count, new_rule
from desirepath.patterns.itemsets import grow_by_class
from desirepath.patterns.paths.selection import select

Order = Literal["information_gain", "q", "lift", "odds_ratio", "difference", "support"]
Labels = Mapping[str, str | None] | Sequence[str | None] | NDArray[np.generic] | pl.Series


@dataclass(frozen=True, slots=True, kw_only=True)
class ContrastConfig:
    """Which patterns are compared, and how they are told."""

    mining: MiningConfig = field(default_factory=MiningConfig)
    """Which patterns are met: `min_support` is a share of each class, or a count in each; one class
    suffices. Lengths and budgets hold as there; `kind` must stay "frequent" and `top_k` 0."""
    target: str | None = None
    """The class that all rows speak of, against all others. None: of two classes, the one where the pattern
    is more common; of more, each class in a row of its own."""
    top_k: int = 0
    """Only this many rows, the best in `order_by`; 0 for all."""
    order_by: Order = "information_gain"
    """What is best: "information_gain", "lift", "odds_ratio", "difference" (of shares) or "support", largest
    first; "q", smallest first."""
    max_q: float = 1.0
    """Only rows whose share of false discoveries is at most this, in (0, 1]."""
    confidence: float = 0.95
    """Of the odds ratio's interval, in (0, 1)."""

    def __post_init__(self) -> None:
        if self.mining.kind != "frequent" or self.mining.top_k:
            raise ConfigError(
                "mining must ask for all frequent patterns, since a pattern is judged in every class; got "
                f"kind '{self.mining.kind}' and top_k {self.mining.top_k}. Use the contrast's own top_k."
            )
        if self.order_by not in get_args(Order):
            raise ConfigError(
                f"order_by must be one of {', '.join(get_args(Order))}; got '{self.order_by}'. "
                f"{nearest(self.order_by, get_args(Order))}"
            )
        if self.top_k < 0:
            raise ConfigError(f"top_k must be 0 or more; got {self.top_k}.")
        if not 0 < self.max_q <= 1:
            raise ConfigError(f"max_q must be above 0 and at most 1; got {self.max_q}.")
        if not 0 < self.confidence < 1:
            raise ConfigError(f"confidence must lie between 0 and 1; got {self.confidence}.")


def contrast(database: SequenceDatabase, label: Labels, config: ContrastConfig | None = None) -> pl.DataFrame:
    """Patterns that are more common in one class of sequences than in the others.

    Args:
        database: the sequences; where events are simultaneous, patterns of elements are found.
        label: class of each sequence: a mapping from user id, or S labels in the order of the sequences;
            None, or no entry, leaves a sequence out.
        config: which patterns, and how they are told.

    Returns:
        One row a pattern (a pattern and class, with three classes or more and no target), best first:
        pattern (list of names, those at once joined by " + "), length, class, support and share (in the
        class), support_rest and share_rest (outside it), lift (share in the class over share in all),
        odds_ratio with odds_low and odds_high, p, test ("chi-squared" or "fisher"), q (Benjamini-Hochberg
        over all rows that were tested), information_gain (bits), then support and share in every class, as
        `support:NAME` and `share:NAME`, and is_partial.

    Raises:
        DataError: labels that fit no sequence, or too few of them.
        TooLittleData: fewer than two classes have sequences.
        ConfigError: the target is no class.

    Cost: one search for all classes (see `mine`), then a few operations a pattern; a mapping costs a look-up
        a user.

    >>> logs = [["view", "cart"], ["view", "cart", "pay"], ["view"], ["help"]]
    >>> database = SequenceDatabase.from_lists(logs)
    >>> found = contrast(database, ["buyer", "buyer", "leaver", "leaver"])
    >>> found["pattern"].to_list()[0], found["class"][0], found["share"][0], found["share_rest"][0]
    (['view', 'cart'], 'buyer', 1.0, 0.0)
    """
    config = config or ContrastConfig()
    check_nonempty(database)
    classes, of_sequence = _classes(database, label)
    if config.target is not None and config.target not in classes:
        raise ConfigError(
            f"target must be one of the classes; got '{config.target}'. {nearest(config.target, classes)}"
        )
    sizes = np.bincount(of_sequence[of_sequence >= 0], minlength=len(classes))
    patterns, supports = _search(database, of_sequence, sizes, config.mining)
    return _measured(patterns, supports, sizes, classes, config)


def _classes(database: SequenceDatabase, label: Labels) -> tuple[list[str], NDArray[np.int32]]:
    """Names of the classes in order, and (S,) the class of each sequence, -1 for none."""
    if isinstance(label, Mapping):
        known = label.keys() & set(database.users.ids.to_list())
        if not known:
            some = next(iter(label), None)
            raise DataError(
                f"label must name users of the database; none of {len(label)} does, such as {some!r}."
            )
        by_user = pl.Series([label.get(user) for user in database.users.ids.to_list()], dtype=pl.String)
        of_sequence = by_user.gather(pl.Series(database.user_ix.astype(np.int64) - database.users.reserved))
    else:
        values = label if isinstance(label, pl.Series) else pl.Series(list(label))
        if len(values) != database.n_sequences:
            raise DataError(
                f"label must have one entry for each of {database.n_sequences} sequences; it has "
                f"{len(values)}."
            )
        of_sequence = values.cast(pl.String)
    classes = of_sequence.drop_nulls().unique().sort().to_list()
    if len(classes) < 2:
        raise TooLittleData(
            "Contrast needs two classes with sequences or more; "
            + (f"all have the label '{classes[0]}'." if classes else "no sequence has a label.")
        )
    codes = of_sequence.cast(pl.Enum(classes)).to_physical().cast(pl.Int32).fill_null(-1)
    return classes, codes.to_numpy()


def _search(
    database: SequenceDatabase, of_sequence: NDArray[np.int32], sizes: NDArray[np.int64], mining: MiningConfig
) -> tuple[Patterns, NDArray[np.int64]]:
    """All patterns that are frequent in one class or more, and their (P, C) supports."""
    least = np.array([least_count(mining.min_support, int(size)) for size in sizes], np.int64)
    if database.element is None:
        encoded = encode(database.offsets, database.symbol_ix, database.n_symbols, least, of_sequence)
        tree, held, stopped = grow(encoded, new_rule(least, mining.max_length), mining)
        supports = held.astype(np.int64)
    else:
        parts = joined([select(database, of_sequence == c) for c in range(len(sizes))])
        tree, supports, stopped = grow_by_class(parts, sizes, least, mining)
    patterns = Patterns(
        tree,
        symbols=database.symbols,
        n_sequences=int(sizes.sum()),
        min_count=int(least.min()),
        nodes=np.flatnonzero(tree.length >= mining.min_length),
        stopped_by=stopped,
    )
    return patterns, supports[patterns.nodes]


def _measured(
    patterns: Patterns,
    supports: NDArray[np.int64],
    sizes: NDArray[np.int64],
    classes: list[str],
    config: ContrastConfig,
) -> pl.DataFrame:
    shares, total, n = supports / sizes, supports.sum(axis=1), int(sizes.sum())
    if config.target is not None:
        chosen = [(classes.index(config.target), np.arange(len(patterns)))]
    elif len(classes) == 2:
        second = shares[:, 1] > shares[:, 0]
        chosen = [(0, np.flatnonzero(~second)), (1, np.flatnonzero(second))]
    else:
        chosen = [(c, np.arange(len(patterns))) for c in range(len(classes))]
    parts = []
    for c, row in chosen:
        size, inside, everywhere = int(sizes[c]), supports[row, c], total[row]
        p, exact = significance.p_values(inside, size, everywhere, n)
        ratio, low, high = significance.odds_ratio(inside, size, everywhere, n, config.confidence)
        share_rest = (everywhere - inside) / (n - size)
        parts.append(
            pl.DataFrame(
                {
                    "row": row,
                    "length": patterns.length[row],
                    "class": np.full(len(row), c, np.int32),
                    "support": inside,
                    "share": shares[row, c],
                    "support_rest": everywhere - inside,
                    "share_rest": share_rest,
                    "difference": shares[row, c] - share_rest,
                    "lift": shares[row, c] * n / everywhere,
                    "odds_ratio": ratio,
                    "odds_low": low,
                    "odds_high": high,
                    "p": p,
                    "exact": exact,
                    "information_gain": significance.information_gain(inside, size, everywhere, n),
                }
            )
        )
    table = pl.concat(parts)
    table = table.with_columns(q=significance.false_discovery(table["p"].to_numpy()))
    if config.max_q < 1:
        table = table.filter(pl.col("q") <= config.max_q)
    order = [pl.col(config.order_by), "information_gain", "support", "row", "class"]
    table = table.sort(order, descending=[config.order_by != "q", True, True, False, False])
    if config.top_k:
        table = table.head(config.top_k)
    return _told(table, patterns, supports, shares, classes)


def _told(
    table: pl.DataFrame,
    patterns: Patterns,
    supports: NDArray[np.int64],
    shares: NDArray[np.float64],
    classes: list[str],
) -> pl.DataFrame:
    """The rows as people read them."""
    row = table["row"].to_numpy()
    named = patterns.select(row)
    per_class = [pl.Series(f"support:{name}", supports[row, c]) for c, name in enumerate(classes)]
    per_class += [pl.Series(f"share:{name}", shares[row, c]) for c, name in enumerate(classes)]
    return table.select(
        named.names(),
        "length",
        pl.Series(classes).gather(table["class"]).alias("class"),
        *["support", "share", "support_rest", "share_rest", "difference", "lift"],
        *["odds_ratio", "odds_low", "odds_high", "p"],
        pl.when("exact").then(pl.lit("fisher")).otherwise(pl.lit("chi-squared")).alias("test"),
        *["q", "information_gain"],
        *per_class,
        pl.lit(not patterns.is_complete).alias("is_partial"),
    )
