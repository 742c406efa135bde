# SPDX-License-Identifier: Apache-2.0
"""From scores to probabilities: how likely is it that this item is the next one?

Two steps fitted on validation queries turn any model's scores, softmax or not, into probabilities that
can be believed. It knows scores, histories and targets; no users, no files but its own JSON.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from desirepath.errors import ConfigError, DataError, TooLittleData
from desirepath.models.base import NEVER, Model
from desirepath.recommend.held import Held, among, batches, seen_cells, target_cells
from desirepath.recommend.logit import fit_logit, moments, spreads
from desirepath.schema import FIRST
from desirepath.sequences import Queries

FORMAT = 1
MIN_QUERIES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationConfig:
    """How much of the validation queries is used, and how far it is trusted."""

    depth: int = 50
    """The likeliest so many items of each query are compared with what came, >= 1."""
    max_scores: int = 8_000_000
    """Most scores held for the first step (4 bytes each); it takes a sample of the queries beyond."""
    pseudo_pairs: float = 10.0
    """Weight of the first step's own probability at each level of the staircase, in pairs, >= 0."""
    seed: int = 0
    """Draw of the sample."""

    def __post_init__(self) -> None:
        if self.depth < 1 or self.max_scores < 1 or self.pseudo_pairs < 0:
            raise ConfigError(
                "depth and max_scores must be at least 1, and pseudo_pairs 0 or more; got "
                f"{self.depth}, {self.max_scores} and {self.pseudo_pairs}."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """The map from a query's scores to P(item i is the next one).

    First step, a conditional logit over all real items with three parameters, by maximum likelihood:

        p_i = exp((sharpness + relative / d) s_i + returning [i is in the history]) / the sum of these

    with d the standard deviation of the query's own scores. `sharpness` is one over the temperature, right
    for scores that are logarithms; `relative` is the same for scores whose size means nothing, such as sums
    over the history, which grow with its length; `returning` says how much likelier (or less likely) people
    come back to what they know than the scores say: without it a log in which nothing is ever repeated
    would leave half of the probability on items that cannot come.

    Second step, an isotonic staircase of p: among validation pairs (query, item) of like p, the share in
    which the item came. It mends what no temperature can, above all targets that training did not know and
    models whose scores are no logarithms.

    The staircase runs over p and not over ranks because rank 1 of a sure list and of a vague list are not
    equally likely. Probabilities of one list need not add up to 1, nor fall where seen and unseen items mix.
    With several targets a query (the next 7 days), P is that of being among them.

    Source: McFadden 1974 (conditional logit); Guo et al., "On calibration of modern neural networks"
    (ICML 2017) for the temperature; Zadrozny and Elkan (KDD 2002) for the isotonic step.
    """

    sharpness: float
    """Multiplies every score; 1 for a model that speaks in true log probabilities."""
    relative: float = 0.0
    """Multiplies every score over the standard deviation of its query's scores."""
    returning: float
    """Added to the scores of items in the history, after `sharpness`."""
    knot: tuple[float, ...]
    """p of the first step at the corners of the staircase, ascending."""
    probability: tuple[float, ...]
    """The probability at each corner."""
    n_queries: int
    """Validation queries it was fitted on."""

    @staticmethod
    def fit(model: Model, queries: Queries, config: CalibrationConfig | None = None) -> Calibration:
        """Fit both steps on queries that the model was not fitted on.

        Cost: the first step holds the scores of a sample and passes over them about ten times; the second
        scores every query once.

        Raises:
            TooLittleData: fewer than 20 queries have a target that the model can name.
        """
        options = config or CalibrationConfig()
        target_query = np.repeat(np.arange(len(queries)), np.diff(queries.target_offsets))
        nameable = np.unique(target_query[queries.target_item_ix >= FIRST])
        if len(nameable) < MIN_QUERIES:
            raise TooLittleData(
                f"Calibration needs at least {MIN_QUERIES} validation queries with a known target; there are "
                f"{len(nameable)}. Hold out more users, or do without probabilities."
            )
        size = max(MIN_QUERIES, options.max_scores // len(queries.sequences.items))
        if len(nameable) > size:
            nameable = np.sort(np.random.default_rng(options.seed).choice(nameable, size, replace=False))
        sharpness, relative, returning = fit_logit(model, queries[nameable])
        logit = Calibration(
            sharpness=sharpness,
            relative=relative,
            returning=returning,
            knot=(),
            probability=(),
            n_queries=len(queries),
        )
        stated, came = logit._pairs(model, queries, options.depth)
        knot, probability = staircase(stated, came, options.pseudo_pairs)
        return replace(logit, knot=tuple(knot.tolist()), probability=tuple(probability.tolist()))

    def _pairs(
        self, model: Model, queries: Queries, depth: int
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """What the first step says of the likeliest items of each query, and whether each came; (N,) both."""
        stated, came = [np.zeros(0)], [np.zeros(0, dtype=np.bool_)]
        for chosen in batches(queries):
            part = queries[chosen]
            scores = model.scores(part)
            slope_B, partition_B = self.partition(scores, part)
            logits = scores * slope_B.astype(np.float32)[:, None]
            logits[:, :FIRST] = NEVER
            seen = np.zeros(logits.shape, dtype=np.bool_)
            seen.reshape(-1)[seen_cells(part)] = True
            logits[seen] += np.float32(self.returning)
            item_BK, logit_BK = Held(model.name, logits).top_k(part, depth)
            real = item_BK >= FIRST
            p_BK = np.exp(np.minimum(logit_BK - partition_B[:, None], 0.0))  # rounding may pass 1
            cell = np.arange(len(part))[:, None] * logits.shape[1] + item_BK
            stated.append(p_BK[real])
            came.append(among(cell, target_cells(part), part)[real])
        return np.concatenate(stated), np.concatenate(came)

    def partition(
        self, scores_BV: NDArray[np.float32], queries: Queries
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """What the first step needs to know of each query, (B,) both.

        The first is what multiplies its scores; the second the log of the denominator, over all real items
        whatever a list may hide.
        """
        slope_B = self.sharpness + self.relative / spreads(scores_BV)
        return slope_B, moments(scores_BV, queries, slope_B, self.returning)[:, 0]

    def probabilities(
        self,
        score_BK: NDArray[np.float32],
        seen_BK: NDArray[np.bool_],
        partition: tuple[NDArray[np.float64], NDArray[np.float64]],
    ) -> NDArray[np.float32]:
        """(B, K) calibrated probability of each listed item; 0 where the score is -inf.

        Args:
            score_BK: the model's own scores of the listed items.
            seen_BK: whether each is in the query's history.
            partition: what `partition` gave for the queries.
        """
        slope_B, log_B = partition
        held = np.isfinite(score_BK)
        score = np.where(held, score_BK, 0.0).astype(np.float64)
        logit = slope_B[:, None] * score + self.returning * seen_BK
        stated = np.exp(np.minimum(logit - log_B[:, None], 0.0))  # rounding may pass 1
        return np.where(held, self.mended(stated), 0.0).astype(np.float32)

    def mended(self, stated: NDArray[np.float64]) -> NDArray[np.float64]:
        """The second step alone: the staircase at p, with straight lines between its corners and to 0."""
        if not self.knot:
            return stated
        knot, probability = np.asarray(self.knot), np.asarray(self.probability)
        result: NDArray[np.float64] = np.interp(stated, knot, probability)
        low = stated < knot[0]
        result[low] = stated[low] * (probability[0] / knot[0])
        return result

    def save(self, path: Path) -> None:
        """Write it as JSON; every number comes back to the last bit."""
        part = path.with_name(path.name + ".part")
        part.write_text(json.dumps({"format": FORMAT, **asdict(self)}, indent=1) + "\n")
        part.replace(path)

    @staticmethod
    def load(path: Path) -> Calibration:
        """Read what `save` wrote.

        Raises:
            DataError: the file is missing, damaged or of a newer format.
        """
        try:
            fields: Any = json.loads(path.read_text())
            written = fields["format"]
            if written > FORMAT:
                raise DataError(
                    f"A calibration must be of format {FORMAT} or older; {path} has {written}. "
                    "Upgrade desirepath."
                )
            return Calibration(
                sharpness=float(fields["sharpness"]),
                relative=float(fields["relative"]),
                returning=float(fields["returning"]),
                knot=tuple(fields["knot"]),
                probability=tuple(fields["probability"]),
                n_queries=int(fields["n_queries"]),
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path} holds no calibration ({error}). Train again to make one.") from error


def seen_items(item_BK: NDArray[np.int32], queries: Queries) -> NDArray[np.bool_]:
    """(B, K) whether each listed item is in the query's history.     Cost: B x V bytes; for a batch only."""
    cell = np.arange(len(queries))[:, None] * len(queries.sequences.items) + item_BK
    return among(cell, seen_cells(queries), queries)


def staircase(
    stated: NDArray[np.float64], came: NDArray[np.bool_], pseudo_pairs: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Corners (p, probability) of the isotonic regression of outcomes on stated probabilities.

    Each level is drawn towards the mean of what was stated there, its odds multiplied so that they are right
    over all pairs, as if `pseudo_pairs` more pairs had behaved so: a level of one lucky pair does not become
    certainty, nor one of none impossible.

    >>> corner, level = staircase(np.array([0.1, 0.1, 0.4, 0.6]), np.array([False, True, True, False]), 0.0)
    >>> corner.tolist(), level.tolist()
    ([0.1, 0.6], [0.5, 0.5])
    """
    value, place, n = np.unique(stated, return_inverse=True, return_counts=True)
    if not len(value):
        return value, value
    hits = np.bincount(place, weights=came)
    blocks = isotonic_regression(hits / n, weights=n).blocks
    first, last = blocks[:-1], blocks[1:] - 1
    n_block, hits_block = np.add.reduceat(n, first), np.add.reduceat(hits, first)
    # What the pseudo-pairs say is right on the whole, so that they add no bias of their own.
    stated_block = np.add.reduceat(value * n, first) / n_block
    total, said = n.sum(), float((value * n).sum())
    ratio = (hits.sum() + 0.5) / (total - hits.sum() + 0.5) * (total - said + 0.5) / (said + 0.5)
    likely = ratio * stated_block / (ratio * stated_block + 1.0 - stated_block)
    weight = n_block + pseudo_pairs
    level = (hits_block + pseudo_pairs * likely) / weight
    level = isotonic_regression(level, weights=weight).x
    single = first == last
    corner = np.concatenate([value[first], value[last[~single]]])
    level = np.concatenate([level, level[~single]])
    order = np.argsort(corner, kind="stable")
    return corner[order], level[order]
