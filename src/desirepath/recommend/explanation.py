# SPDX-License-Identifier: Apache-2.0
"""Why an item is recommended: how its probability changes when one event of the history is left out.

Every counterfactual history is a query like any other, so that any model is asked, along the path that
serving takes. It knows nothing of words, policies or pages; `sentences` makes words of what it finds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from desirepath.errors import ConfigError, ShapeError
from desirepath.models.base import Model
from desirepath.models.counts import last_items
from desirepath.recommend.calibration import Calibration, seen_items
from desirepath.recommend.held import batches
from desirepath.schema import FIRST, PADDING
from desirepath.sequences import Queries, Sequences, Vocabulary
from desirepath.sequences.queries import ranges

MOST_EVENTS = 50
PLAIN = Calibration(sharpness=1.0, returning=0.0, knot=(), probability=(), n_queries=0)
"""What stands in for a calibration: the softmax of the scores as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplanationConfig:
    """Which events are left out, and when one of them counts as a reason."""

    max_events: int | None = None
    """Newest events of a history that are examined, >= 1; None takes the model's window, at most 50."""
    by_item: bool = False
    """Leave out all events of an item together, wherever they stand, rather than one event at a time."""
    threshold: float = 0.1
    """Change in log odds (nats, > 0) from which an event is said to decide; 0.1 is a tenth of the odds."""

    def __post_init__(self) -> None:
        if self.max_events is not None and self.max_events < 1:
            raise ConfigError(f"max_events must be at least 1; got {self.max_events}.")
        if not self.threshold > 0:
            raise ConfigError(f"threshold must be above 0 nats; got {self.threshold}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What each examined event does to each item of Q queries; E events are examined in all.

    A change is `probability - probability_without`: above 0 the event speaks for the item. Changes do not add
    up, neither to each other nor to what the whole history does: events stand in for one another (of two that
    say the same, neither is missed alone), and some matter only together. Where the history is longer than
    the model's window, leaving an event out lets an older one in, as it would have in serving.
    """

    queries: Queries
    item_QK: NDArray[np.int32]
    """Items explained; 0 where there is none."""
    probability_QK: NDArray[np.float64]
    """With the whole history."""
    log_odds_QK: NDArray[np.float64]
    """Log odds of the model's own chance, before the calibration's staircase, which is flat in places."""
    empty_probability_QK: NDArray[np.float64]
    """What somebody without a history would get."""
    empty_log_odds_QK: NDArray[np.float64]
    query_E: NDArray[np.int64]
    """The query of each examined event."""
    row_E: NDArray[np.int64]
    """Its row in the sequences of `queries`; by item, that of the newest event left out."""
    n_removed_E: NDArray[np.int64]
    """Events left out with it, itself included."""
    without_EK: NDArray[np.float64]
    """Probability of each item without it."""
    log_odds_without_EK: NDArray[np.float64]
    threshold: float
    calibrated: bool
    """Whether probabilities come from a calibration; if not they are a softmax of the scores."""

    def events(self, items: Vocabulary | None = None) -> pl.DataFrame:
        """One row a query, item and event, the strongest reason first within a query and item.

        Columns: query, item_id, position (1 is the newest event of the history), event_item_id, action, time,
        n_removed, probability, probability_without, change, log_odds_change (before the staircase: it moves
        where `change` is flat, and has the same sign).

        Args:
            items: the vocabulary of the indexes; that of the sequences when None.
        """
        sequences = self.queries.sequences
        items = items or sequences.items
        event, column = np.nonzero(self.item_QK[self.query_E] >= FIRST)
        query, row = self.query_E[event], self.row_E[event]
        item, probability = self.item_QK[query, column], self.probability_QK[query, column]
        without = self.without_EK[event, column]
        moved = self.log_odds_QK[query, column] - self.log_odds_without_EK[event, column]
        order = np.lexsort((-row, -moved, -(probability - without), column, query))
        micros = np.rint(np.asarray(sequences.time_s[row[order]]) * 1e6).astype(np.int64)
        return pl.DataFrame(
            {
                "query": query[order],
                "item_id": items.decode(item[order]),
                "position": (self.queries.stop[query] - row)[order],
                "event_item_id": items.decode(np.asarray(sequences.item_ix[row[order]])),
                "action": sequences.actions.decode(np.asarray(sequences.action_ix[row[order]])),
                "time": pl.Series(micros).cast(pl.Datetime("us", "UTC")),
                "n_removed": self.n_removed_E[event[order]],
                "probability": probability[order],
                "probability_without": without[order],
                "change": (probability - without)[order],
                "log_odds_change": moved[order],
            }
        )

    def totals(self, items: Vocabulary | None = None) -> pl.DataFrame:
        """One row a query and item: how much is personal, and whether a single event decides.

        Columns: query, item_id, probability, probability_empty (nobody's history), change, log_odds_change
        (of the whole history), top_log_odds_change (of the strongest single event), decided.
        """
        items = items or self.queries.sequences.items
        top_QK = np.full(self.item_QK.shape, -np.inf)
        moved_EK = self.log_odds_QK[self.query_E] - self.log_odds_without_EK
        np.maximum.at(top_QK, self.query_E, moved_EK)
        query, column = np.nonzero(self.item_QK >= FIRST)
        top = top_QK[query, column]
        probability = self.probability_QK[query, column]
        empty = self.empty_probability_QK[query, column]
        return pl.DataFrame(
            {
                "query": query,
                "item_id": items.decode(self.item_QK[query, column]),
                "probability": probability,
                "probability_empty": empty,
                "change": probability - empty,
                "log_odds_change": (self.log_odds_QK - self.empty_log_odds_QK)[query, column],
                "top_log_odds_change": pl.Series(np.where(np.isfinite(top), top, np.nan), nan_to_null=True),
                "decided": top >= self.threshold,
            }
        )


def explain(
    model: Model,
    queries: Queries,
    item_QK: NDArray[np.integer],
    *,
    calibration: Calibration | None = None,
    fallback: Model | None = None,
    config: ExplanationConfig | None = None,
) -> Explanation:
    """Leave each of the newest events out in turn, and ask the model again what it thinks of the items.

    Args:
        model: fitted; any.
        queries: Q histories. Times, actions, context and the moment of the question stay as they are.
        item_QK: (Q, K) items to explain by index of the model's vocabulary; 0 where there is none.
        calibration: fitted for this model; without it probabilities are the softmax of its scores.
        fallback: what answers a history without a known item, its scores logs of shares; the model itself
            when None. A transformer says of nobody that all items are alike.
        config: which events are examined.

    Cost: one forward of n + 2 histories a query, n the events examined (all in one batch while the scores
    fit 32 MiB), and as many copies of its rows.

    Raises:
        ShapeError: item_QK does not fit the queries, or names an item outside the vocabulary.

    >>> from desirepath.models.markov import Markov
    >>> log = Sequences.from_lists([["a", "b"], ["a", "b"], ["c", "d"]])
    >>> model, queries = Markov().fit(log), Queries.from_items([["c", "a"]], log.items)
    >>> why = explain(model, queries, np.array([[log.items.index("b")]]))
    >>> why.events(log.items)["event_item_id"].to_list()
    ['a', 'c']
    """
    config = config or ExplanationConfig()
    item_QK = _checked(item_QK, queries)
    made = _without_each(queries, _window(model, config), config.by_item)
    calibrated = calibration is not None
    calibration = calibration or PLAIN
    probability, log_odds = _ask(model, made.queries, item_QK[made.query], calibration, fallback)
    whole, empty, without = made.kind == _WHOLE, made.kind == _EMPTY, made.kind == _WITHOUT
    return Explanation(
        queries=queries,
        item_QK=item_QK,
        probability_QK=probability[whole],
        log_odds_QK=log_odds[whole],
        empty_probability_QK=probability[empty],
        empty_log_odds_QK=log_odds[empty],
        query_E=made.query[without],
        row_E=made.row[without],
        n_removed_E=made.n_removed[without],
        without_EK=probability[without],
        log_odds_without_EK=log_odds[without],
        threshold=config.threshold,
        calibrated=calibrated,
    )


_WHOLE, _WITHOUT, _EMPTY = 0, 1, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    """Counterfactual histories, each query's together: the whole one, those without an event, the empty."""

    queries: Queries
    query: NDArray[np.int64]
    """The query that each was made from."""
    kind: NDArray[np.int64]
    row: NDArray[np.int64]
    """The row left out; -1 where none is."""
    n_removed: NDArray[np.int64]


def _without_each(queries: Queries, max_events: int, by_item: bool) -> _Made:
    """Every history whole, without each of its newest events, and empty, copied a column at a time."""
    sequences = queries.sequences
    all_items = np.asarray(sequences.item_ix)
    first = np.maximum(queries.start, queries.stop - max_events)
    looked = ranges(first, queries.stop)
    looked_query = np.repeat(np.arange(len(queries)), queries.stop - first)
    if by_item:
        # Of each item its newest row: in reversed order np.unique finds that one first.
        pair = (looked_query * len(sequences.items) + all_items[looked])[::-1]
        newest = np.sort(len(looked) - 1 - np.unique(pair, return_index=True)[1])
        looked, looked_query = looked[newest], looked_query[newest]
    n_looked = np.bincount(looked_query, minlength=len(queries))
    query = np.repeat(np.arange(len(queries)), n_looked + 2)
    begin = np.concatenate([np.zeros(1, np.int64), np.cumsum(n_looked + 2)])
    kind = np.full(len(query), _WITHOUT)
    kind[begin[:-1]], kind[begin[1:] - 1] = _WHOLE, _EMPTY
    row = np.full(len(query), -1, np.int64)
    row[kind == _WITHOUT] = looked
    start = np.where(kind == _EMPTY, queries.stop[query], queries.start[query])
    rows = ranges(start, queries.stop[query])
    copy = np.repeat(np.arange(len(query)), queries.stop[query] - start)
    if by_item:
        left_out = np.full(len(row), -1)
        left_out[row >= 0] = all_items[row[row >= 0]]
        kept = all_items[rows] != left_out[copy]
    else:
        kept = rows != row[copy]
    n_removed = np.bincount(copy[~kept], minlength=len(query))
    rows, n_kept = rows[kept], np.bincount(copy[kept], minlength=len(query))
    copied = _rows_of(sequences, rows, np.concatenate([np.zeros(1, np.int64), np.cumsum(n_kept)]))
    asked = replace(Queries.latest(copied, np.arange(len(query))), now_s=queries.now_s[query])
    return _Made(queries=asked, query=query, kind=kind, row=row, n_removed=n_removed)


def _rows_of(sequences: Sequences, rows: NDArray[np.int64], offsets: NDArray[np.int64]) -> Sequences:
    """These rows as histories of their own, every column as it is."""
    return Sequences(
        offsets=offsets,
        item_ix=sequences.item_ix[rows],
        action_ix=sequences.action_ix[rows],
        time_s=sequences.time_s[rows],
        users=Vocabulary(pl.int_range(len(offsets) - 1, eager=True), reserved=0),
        items=sequences.items,
        actions=sequences.actions,
        context={name: column[rows] for name, column in sequences.context.items()},
        labels=sequences.labels,
    )


def _ask(
    model: Model,
    queries: Queries,
    item_BK: NDArray[np.int32],
    calibration: Calibration,
    fallback: Model | None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(B, K) probability of each item, and the log odds of the model's own chance."""
    probability, log_odds = np.zeros(item_BK.shape), np.zeros(item_BK.shape)
    for chosen in batches(queries):
        part, item = queries[chosen], item_BK[chosen]
        scores_BV = model.scores(part)
        slope_B, partition_B = calibration.partition(scores_BV, part)
        score = np.take_along_axis(scores_BV, item.astype(np.int64), axis=1).astype(np.float64)
        held = np.isfinite(score)
        logit = slope_B[:, None] * np.where(held, score, 0.0) + calibration.returning * seen_items(item, part)
        log_p = np.where(held, np.minimum(logit - partition_B[:, None], 0.0), -np.inf)
        p = calibration.mended(np.exp(log_p))
        if fallback is not None:
            cold = last_items(part, len(part.sequences.items)) == PADDING
            share = np.take_along_axis(fallback.scores(part[cold]), item[cold].astype(np.int64), axis=1)
            log_p[cold] = share
            p[cold] = np.exp(log_p[cold])
        probability[chosen], log_odds[chosen] = p, _log_odds(log_p)
    return probability, log_odds


def _log_odds(log_p: NDArray[np.float64]) -> NDArray[np.float64]:
    """log(p / (1 - p)), kept within +-30: a chance of 1 - 1e-13 is as good as certain."""
    with np.errstate(divide="ignore"):
        odds: NDArray[np.float64] = log_p - np.log(-np.expm1(log_p))
    return np.clip(odds, -30.0, 30.0)


def _window(model: Model, config: ExplanationConfig) -> int:
    if config.max_events is not None:
        return config.max_events
    reads = getattr(getattr(model, "model_config", None), "max_len", None)
    return MOST_EVENTS if reads is None else min(int(reads), MOST_EVENTS)


def _checked(item_QK: NDArray[np.integer], queries: Queries) -> NDArray[np.int32]:
    item = np.asarray(item_QK, dtype=np.int32)
    if item.ndim != 2 or len(item) != len(queries):
        raise ShapeError(f"item_QK must have one row a query, {len(queries)}; its shape is {item.shape}.")
    if item.size and (item.min() < 0 or item.max() >= len(queries.sequences.items)):
        raise ShapeError(
            f"item_QK must lie from 0 to {len(queries.sequences.items) - 1}; it runs from {item.min()} to "
            f"{item.max()}. Use indexes of the model's own vocabulary."
        )
    return item
