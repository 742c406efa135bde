# SPDX-License-Identifier: Apache-2.0
"""Answers by name: a fitted model with the vocabularies, titles, fallback and calibration it needs.

Everything that speaks of user and item ids passes through here; below it there are only indexes. It
reads no files; `recommend_all` writes one.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
from numpy.typing import NDArray

from desirepath.errors import ConfigError, DataError, ShapeError
from desirepath.models.base import Model
from desirepath.models.counts import last_items
from desirepath.models.markov import ActionMarkov
from desirepath.models.popularity import DecayedPopularity
from desirepath.recommend.calibration import Calibration
from desirepath.recommend.held import batches
from desirepath.recommend.lists import Lists, make_lists
from desirepath.recommend.similar import Similar
from desirepath.schema import FIRST, PADDING, UNKNOWN
from desirepath.sequences import Queries, Sequences, Vocabulary

FALLBACK = DecayedPopularity.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A list for one person, and where it comes from."""

    items: pl.DataFrame
    """One row an item, best first: item_id, title (where titles are known), rank from 1, score, probability
    (null without a calibration)."""
    model: str
    """Name of the model that made the list."""
    fallback: str | None
    """Why the list is merely what is popular of late, in a sentence; None when the model itself answered."""
    unknown: tuple[str, ...] = ()
    """Ids of the history that training did not know; they changed nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What `recommend_all` wrote."""

    path: Path
    n_users: int
    n_rows: int
    n_fallback: int
    """Users without a known event, who got what is popular of late."""


class Recommender:
    """Recommendations, neighbours and next actions, asked and answered in outside ids.

    Who has no known event gets what has been popular of late (`popularity-decayed`), and the answer says so;
    its probability there is the item's share of recent events.

    >>> from desirepath.models.markov import Markov
    >>> log = Sequences.from_lists({"ann": ["a", "b", "c"], "bob": ["b", "c"], "cy": ["a", "b"]})
    >>> recommender = Recommender(Markov().fit(log), log)
    >>> recommender.recommend("cy", k=1).items["item_id"].to_list()
    ['c']
    >>> recommender.recommend_items(["a"], k=1).items["item_id"].to_list()
    ['b']
    """

    def __init__(
        self,
        model: Model,
        sequences: Sequences,
        *,
        items: Vocabulary | None = None,
        titles: Mapping[str, str] | None = None,
        calibration: Calibration | None = None,
        actions: ActionMarkov | None = None,
        allowed: NDArray[np.bool_] | None = None,
    ) -> None:
        """Put together what answers need.

        Args:
            model: fitted.
            sequences: all that is known of the users until now; may be newer than what the model saw.
            items: the item vocabulary that the model was fitted with; that of `sequences` when None. Items
                that came later count as unknown.
            titles: titles of items by id; where there are any, answers carry them.
            calibration: fitted for this model; without it answers carry no probability.
            actions: fitted with the actions of `sequences`, for `next_action`.
            allowed: (V,) which items may be recommended at all, by index of `items`; all when None.
        """
        self.items = items or sequences.items
        self.model = model
        self.sequences = _in_vocabulary(sequences, self.items)
        self.titles = dict(titles or {})
        self.calibration = calibration
        self.actions = actions
        if allowed is not None and allowed.shape != (len(self.items),):
            raise ShapeError(f"allowed must have shape ({len(self.items)},); got {allowed.shape}.")
        self.allowed = allowed
        self.fallback = DecayedPopularity().fit(self.sequences)
        self.similar = Similar(model, self.sequences)

    def recommend(self, user_id: str, k: int = 10, exclude_seen: bool = True) -> Answer:
        """The k best items for a known user, after everything known of him.

        Raises:
            DataError: the user is not known; the message names the nearest id.
        """
        queries = Queries.latest(self.sequences, np.array([self._user_ix(user_id)]))
        return self._answer(queries, k, exclude_seen, f"User '{user_id}' has no known events")

    def recommend_items(self, history: Sequence[str], k: int = 10, exclude_seen: bool = True) -> Answer:
        """The k best items after a sequence that nobody trained on, oldest item first.

        Ids that are not known change nothing, and are named in the answer.
        """
        queries = Queries.from_items([history], self.items)
        # Typed histories have no times: they are asked at the last moment of the log.
        now = float(np.max(self.sequences.time_s)) if self.sequences.n_events else 0.0
        sequences = replace(queries.sequences, time_s=np.full(len(history), now))
        queries = replace(queries, sequences=sequences, now_s=np.full(1, now))
        answer = self._answer(queries, k, exclude_seen, "No item of the history is known")
        return replace(
            answer, unknown=tuple(dict.fromkeys(item for item in history if item not in self.items))
        )

    def recommend_all(
        self,
        path: Path,
        k: int = 10,
        *,
        user_ix: NDArray[np.integer] | None = None,
        exclude_seen: bool = True,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> Written:
        """Lists for all users, or those of `user_ix`, as Parquet: user_id, item_id, rank, score, probability.

        Written a batch at a time beside `path` and moved there at the end, so that a file at `path` is whole.

        Args:
            path: the file; one that is there is replaced.
            k: length of the lists.
            user_ix: (Q,) users asked for, by index of `sequences`; all when None.
            exclude_seen: leave out what the user has had.
            on_progress: called with (users done, users in all) after each batch.

        Cost: one scoring of each user; memory one batch of scores, whatever the number of users.
        """
        chosen = np.arange(self.sequences.n_users) if user_ix is None else np.asarray(user_ix)
        queries = Queries.latest(self.sequences, chosen)
        part_path = path.with_name(path.name + ".part")
        path.parent.mkdir(parents=True, exist_ok=True)
        n_rows = n_fallback = 0
        schema = self._rows(queries[:0], self._lists(queries[:0], k, exclude_seen)[0]).to_arrow().schema
        with pq.ParquetWriter(part_path, schema, compression="zstd") as writer:
            for batch in batches(queries):
                part = queries[batch]
                lists, cold = self._lists(part, k, exclude_seen)
                rows = self._rows(part, lists)
                if len(rows):
                    writer.write_table(rows.to_arrow().cast(schema))
                n_rows, n_fallback = n_rows + len(rows), n_fallback + int(cold.sum())
                if on_progress is not None:
                    on_progress(batch.stop, len(queries))
        part_path.replace(path)
        return Written(path=path, n_users=len(queries), n_rows=n_rows, n_fallback=n_fallback)

    def similar_items(self, item_id: str, k: int = 10) -> pl.DataFrame:
        """The k items most like one item: item_id, title (where known), rank, similarity (cosine, above 0).

        Raises:
            DataError: the item is not known; the message names the nearest id.
        """
        ix = self.items.index(item_id)
        if ix is None:
            raise DataError(f"Item '{item_id}' is not known. {nearest_id(item_id, self.items.ids)}")
        found, cosine = self.similar.items(ix, _positive(k))
        table = pl.DataFrame({"item_id": self.items.decode(found)})
        return self._titled(table).with_columns(
            rank=pl.int_range(1, len(found) + 1, dtype=pl.Int32, eager=True), similarity=pl.Series(cosine)
        )

    def similar_users(self, user_id: str, k: int = 10) -> pl.DataFrame:
        """The k users most like one user: user_id, rank, similarity (cosine, above 0).

        Raises:
            DataError: the user is not known; the message names the nearest id.
        """
        found, cosine = self.similar.users(self._user_ix(user_id), _positive(k))
        return pl.DataFrame(
            {
                "user_id": self.sequences.users.decode(found),
                "rank": pl.Series(np.arange(1, len(found) + 1, dtype=np.int32)),
                "similarity": cosine,
            }
        )

    def next_action(self, user_id: str) -> pl.DataFrame:
        """What a user does next, likeliest first: action, probability.

        Raises:
            ConfigError: the recommender was made without a model of actions.
            DataError: the user is not known; the message names the nearest id.
        """
        if self.actions is None:
            raise ConfigError("Next actions need a model of them. Pass actions=ActionMarkov().fit(train).")
        queries = Queries.latest(self.sequences, np.array([self._user_ix(user_id)]))
        probability = self.actions.probabilities(queries)[0, FIRST:]
        order = np.argsort(-probability, kind="stable")
        return pl.DataFrame(
            {
                "action": self.sequences.actions.decode(order + FIRST).alias("action"),
                "probability": probability[order],
            }
        )

    def _user_ix(self, user_id: str) -> int:
        ix = self.sequences.users.index(user_id)
        if ix is None:
            raise DataError(
                f"User '{user_id}' is not known. {nearest_id(user_id, self.sequences.users.ids)} "
                "For a sequence without a user, give its items instead."
            )
        return ix

    def _lists(self, queries: Queries, k: int, exclude_seen: bool) -> tuple[Lists, NDArray[np.bool_]]:
        """The lists of the queries, and which of them (B,) the fallback made."""
        cold = last_items(queries, len(self.items)) == PADDING
        make = partial(make_lists, k=_positive(k), mask_seen=exclude_seen, allowed=self.allowed)
        lists = make(self.model, queries[~cold], calibration=self.calibration)
        if not cold.any():
            return lists, cold
        spare = make(self.fallback, queries[cold])
        place = np.argsort(np.argsort(cold, kind="stable"), kind="stable")
        whole = Lists(
            item_ix=np.concatenate([lists.item_ix, spare.item_ix])[place],
            score=np.concatenate([lists.score, spare.score])[place],
            # The fallback's score is the log of a share.
            probability=np.concatenate([lists.probability, np.exp(spare.score)])[place],
        )
        return whole, cold

    def _rows(self, queries: Queries, lists: Lists) -> pl.DataFrame:
        """One row for each listed item that is there."""
        real = lists.item_ix >= FIRST
        n_items = real.sum(axis=1)
        rank = np.broadcast_to(np.arange(1, lists.item_ix.shape[1] + 1, dtype=np.int32), real.shape)
        return pl.DataFrame(
            {
                "user_id": queries.sequences.users.decode(np.repeat(queries.user_ix, n_items)),
                "item_id": self.items.decode(lists.item_ix[real]),
                "rank": rank[real],
                "score": lists.score[real],
                "probability": pl.Series(lists.probability[real], nan_to_null=True),
            }
        )

    def _answer(self, queries: Queries, k: int, exclude_seen: bool, why_cold: str) -> Answer:
        lists, cold = self._lists(queries, k, exclude_seen)
        table = self._titled(self._rows(queries, lists).drop("user_id"))
        if cold[0]:
            reason = f"{why_cold}, so these are the items that have been popular of late."
            return Answer(items=table, model=FALLBACK, fallback=reason)
        return Answer(items=table, model=self.model.name, fallback=None)

    def _titled(self, table: pl.DataFrame) -> pl.DataFrame:
        if not self.titles:
            return table
        titles = [self.titles.get(item) for item in table["item_id"]]
        return table.insert_column(1, pl.Series("title", titles, dtype=pl.String))


def nearest_id(name: str, ids: pl.Series, n_compared: int = 5000) -> str:
    """A hint naming the known id closest to `name`, without comparing it with millions.

    Compared are, at most `n_compared`, ids of about the same length that begin or end alike.

    >>> nearest_id("anm", pl.Series(["ann", "bob"]))
    "Did you mean 'ann'?"
    """
    length = ids.str.len_chars()
    alike = ids.str.starts_with(name[:2]) | ids.str.ends_with(name[-2:])
    near = ids.filter(alike & (length >= max(len(name) - 2, 0)) & (length <= len(name) + 2)).head(n_compared)
    close = difflib.get_close_matches(name, near.to_list(), n=1)
    return f"Did you mean '{close[0]}'?" if close else f"None of the {len(ids)} known ids looks like it."


def _positive(k: int) -> int:
    if k < 1:
        raise ConfigError(f"k must be at least 1; got {k}.")
    return k


def _in_vocabulary(sequences: Sequences, items: Vocabulary) -> Sequences:
    """The same events with the item indexes of `items`; what it does not hold becomes unknown."""
    if sequences.items is items or sequences.items == items:
        return sequences
    to_known = np.full(len(sequences.items), UNKNOWN, dtype=np.int32)
    to_known[FIRST:] = items.encode(sequences.items.ids)
    to_known[0] = PADDING
    return replace(sequences, item_ix=to_known[np.asarray(sequences.item_ix)], items=items)
