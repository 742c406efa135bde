# SPDX-License-Identifier: Apache-2.0
"""A conditional logit over whole catalogues: the likelihood of what came, given any model's scores.

The first step of a calibration. It knows scores, histories and targets.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from desirepath.models.base import Model
from desirepath.recommend.held import among, batches, in_threads, seen_cells, target_cells
from desirepath.schema import FIRST
from desirepath.sequences import Queries


def fit_logit(model: Model, queries: Queries) -> tuple[float, float, float]:
    """(sharpness, relative, returning) of the greatest likelihood, by Newton's method; the problem is convex.

    A ridge of 0.01 on each, in units of the scores' spread and in pairs, keeps them finite where the data
    would have them infinite: for a model that is never wrong, a log without a single return.
    """
    parts = [_Part(model, queries[chosen]) for chosen in batches(queries)]
    typical = float(np.median(np.concatenate([part.spread_B for part in parts])))
    theta = np.array([0.0, min(typical, 1.0), 0.0])
    value, gradient, hessian = _likelihood(parts, theta, typical)
    for _ in range(60):
        step = np.linalg.solve(hessian, gradient)
        share = 1.0
        while share > 1e-9:
            trial = theta - share * step
            new = _likelihood(parts, trial, typical)
            if new[0] <= value - 1e-4 * share * float(gradient @ step):
                break
            share /= 2
        else:
            break
        theta, moved = trial, float(np.abs(share * step).max())
        value, gradient, hessian = new
        if moved < 1e-5 * (1.0 + float(np.abs(theta).max())):
            break
    return float(theta[0] / typical), float(theta[1]), float(theta[2])


class _Part:
    """What the likelihood needs of one batch, found once."""

    def __init__(self, model: Model, queries: Queries) -> None:
        self.queries = queries
        self.scores_BV = np.ascontiguousarray(model.scores(queries))
        self.spread_B = spreads(self.scores_BV)
        flat = self.scores_BV.reshape(-1)
        cell = target_cells(queries)
        cell = cell[(queries.target_item_ix >= FIRST) & np.isfinite(flat[cell])]
        self.query_N = cell // self.scores_BV.shape[1]
        """(N,) the query of each target that can be named."""
        score_N, seen_N = flat[cell].astype(np.float64), among(cell, seen_cells(queries), queries)
        self.value_N3 = np.stack([score_N, score_N, seen_N.astype(np.float64)], axis=1)
        """(N, 3) of each target: its score, its score, and whether it was seen."""


def _likelihood(
    parts: list[_Part], theta: NDArray[np.float64], typical: float
) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """Penalised negative log-likelihood of the targets, its gradient and its Hessian.

    `theta` is (sharpness x typical spread, relative, returning): all of the size of 1.
    """
    value, gradient, hessian = 0.005 * float(theta @ theta), 0.01 * theta, 0.01 * np.eye(3)
    for part in parts:
        n, query = len(part.queries), part.query_N
        unit_B3 = np.stack([np.full(n, 1.0 / typical), 1.0 / part.spread_B, np.ones(n)], axis=1)
        moment_B6 = moments(part.scores_BV, part.queries, unit_B3[:, :2] @ theta[:2], theta[2])
        unit, moment = unit_B3[query], moment_B6[query]
        # (N, 3) of the target, and its mean and mean of squares under the model.
        feature, mean = unit * part.value_N3, unit * moment[:, [1, 1, 2]]
        square = moment[:, [3, 3, 4, 3, 3, 4, 4, 4, 5]].reshape(-1, 3, 3)
        square = square * unit[:, :, None] * unit[:, None, :]
        value += float(moment[:, 0].sum() - (feature @ theta).sum())
        gradient = gradient + (mean - feature).sum(axis=0)
        hessian = hessian + (square - mean[:, :, None] * mean[:, None, :]).sum(axis=0)
    return value, gradient, hessian


def spreads(scores_BV: NDArray[np.float32]) -> NDArray[np.float64]:
    """(B,) standard deviation of each row's finite scores; 1 where they are all alike."""
    out = np.empty(len(scores_BV))
    scores_BV = np.ascontiguousarray(scores_BV)
    in_threads(len(out), scores_BV.size, lambda first, last: _spreads(scores_BV[first:last], out[first:last]))
    return out


def moments(
    scores_BV: NDArray[np.float32], queries: Queries, slope_B: NDArray[np.float64], returning: float
) -> NDArray[np.float64]:
    """(B, 6) for each query: log Z, and under p the means of s, f, s s, s f and f f.

    p = exp(slope s + returning f) / Z over the real items, with s the score and f = 1 for items in the
    history.     Cost: one exponential a score, shared among all cores.
    """
    out = np.empty((len(queries), 6))
    scores_BV = np.ascontiguousarray(scores_BV)
    item_ix = np.asarray(queries.sequences.item_ix)

    def work(first: int, last: int) -> None:
        rows = slice(first, last)
        start, stop = queries.start[rows], queries.stop[rows]
        _moments(scores_BV[rows], item_ix, start, stop, slope_B[rows], returning, out[rows])

    in_threads(len(out), scores_BV.size, work)
    return out


@numba.njit(cache=True, nogil=True)
def _spreads(scores: Any, out: Any) -> None:
    for b in range(len(scores)):
        row = scores[b, FIRST:]
        n, total = 0, 0.0
        for score in row:
            if score != -np.inf:
                n += 1
                total += score
        mean, square = total / max(n, 1), 0.0
        for score in row:
            if score != -np.inf:
                square += (score - mean) * (score - mean)
        # Scores that differ by rounding alone are alike.
        out[b] = np.sqrt(square / n) if square > n * (1e-7 * mean) ** 2 else 1.0


@numba.njit(cache=True, nogil=True)
def _moments(scores: Any, item_ix: Any, start: Any, stop: Any, slope: Any, returning: Any, out: Any) -> None:
    width = scores.shape[1]
    seen = np.zeros(width, dtype=np.bool_)
    for b in range(len(scores)):
        row = scores[b]
        for r in range(start[b], stop[b]):
            if item_ix[r] < width:
                seen[item_ix[r]] = True
        top = -np.inf
        for j in range(FIRST, width):
            if row[j] != -np.inf:
                top = max(top, slope[b] * row[j] + (returning if seen[j] else 0.0))
        z = s = f = ss = sf = 0.0
        for j in range(FIRST, width):
            if row[j] == -np.inf:
                continue
            score = np.float64(row[j])
            p = np.exp(slope[b] * score + (returning if seen[j] else 0.0) - top)
            z += p
            s += p * score
            ss += p * score * score
            if seen[j]:
                f += p
                sf += p * score
        for r in range(start[b], stop[b]):
            if item_ix[r] < width:
                seen[item_ix[r]] = False
        if z == 0.0:  # no item can come
            out[b] = 0.0
            continue
        out[b, 0] = top + np.log(z)
        out[b, 1], out[b, 2] = s / z, f / z
        out[b, 3], out[b, 4], out[b, 5] = ss / z, sf / z, f / z
