# SPDX-License-Identifier: Apache-2.0
"""The two products behind a live answer: the best of a million items, and the state after 200 events.

    python benchmarks/serving_kernels.py WORKSPACE [--items 1000000] [--repeats 20]

WORKSPACE holds a trained transformer (`desirepath run`). Its item vectors are grown to a million by mixing
pairs of them and adding noise of their own covariance, beside a million of pure noise; its users' real
histories are encoded. Peers and variants run in turns, so that a busy machine slows all alike; figures are
medians and best of the repeats. Recall is against a sort of all float64 scores.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from usearch.index import search as usearch_exact

from desirepath.recommend.shortlist import Shortlist, ShortlistConfig, listed_probabilities
from desirepath.recommend.versions import Version, open_version
from desirepath.sequences import Queries, Sequences
from desirepath.training import Transformer
from desirepath.training.encoding import FastEncoder
from desirepath.workspace import Workspace
from record import record

N = 100


def in_turns(ways: dict[str, Callable[[], Any]], repeats: int) -> dict[str, dict[str, float]]:
    """Milliseconds of each way, one after the other, `repeats` times."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(repeats + 1):
        for name, way in ways.items():
            begin = time.perf_counter()
            way()
            if turn:  # the first compiles and warms up
                taken[name].append((time.perf_counter() - begin) * 1e3)
    return {
        name: {
            "median_ms": round(float(np.median(ms)), 3),
            "best_ms": round(min(ms), 3),
            "p99_ms": round(float(np.quantile(ms, 0.99)), 3),
        }
        for name, ms in taken.items()
    }


def grown(vectors: NDArray[np.float32], n_items: int, seed: int) -> NDArray[np.float32]:
    """As many vectors as wanted, distributed as the given ones are."""
    rng = np.random.default_rng(seed)
    real = vectors[2:]
    share = 0.3 * rng.random((n_items, 1), dtype=np.float32)
    root = np.linalg.cholesky(np.cov(real.T) + 1e-9 * np.eye(real.shape[1])).astype(np.float32)
    many = real[rng.integers(0, len(real), n_items)] * (1 - share)
    many += real[rng.integers(0, len(real), n_items)] * share
    many += 0.3 * rng.standard_normal(many.shape, dtype=np.float32) @ root.T
    return np.concatenate([vectors[:2], many])


def exact(states_BD: NDArray[np.float32], vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """(B, V) scores in float64."""
    scores_BV = np.stack([vectors.astype(np.float64) @ state for state in states_BD.astype(np.float64)])
    scores_BV[:, :2] = -np.inf
    return scores_BV


def recall(item_BN: NDArray[np.integer], scores_BV: NDArray[np.float64]) -> float:
    """Share of the N best that are listed."""
    n = item_BN.shape[1]
    best = np.argpartition(-scores_BV, n, axis=1)[:, :n]
    return float(np.mean([len(np.intersect1d(a, b)) / n for a, b in zip(item_BN, best, strict=True)]))


def catalogue(
    version: Version,
    vectors: NDArray[np.float32],
    states: NDArray[np.float32],
    queries: Queries,
    repeats: int,
) -> dict[str, Any]:
    """Lists of 100 out of a large catalogue."""
    begin = time.perf_counter()
    one = Shortlist(vectors)
    built_s = time.perf_counter() - begin
    two = Shortlist(vectors, ShortlistConfig(n_threads=2))
    rng = np.random.default_rng(1)
    few = rng.random(len(vectors)) < 0.001
    hidden = [queries.sequences.item_ix[queries.start[b] : queries.stop[b]] for b in range(len(queries))]
    wide, table = torch.from_numpy(vectors), torch.from_numpy(vectors).bfloat16()
    turn = iter(range(10**9))

    def state(n: int = 1) -> NDArray[np.float32]:
        first = next(turn) * n % (len(states) - n)
        return states[first : first + n]

    def multiply() -> Any:
        scores = vectors @ state()[0]
        best = np.argpartition(-scores, N)[:N]
        return best[np.argsort(-scores[best])]

    def probabilities() -> Any:
        assert version.calibration is not None
        listed = one.top_with_partition(states[:1], N, version.calibration, queries[:1], hidden=hidden[:1])
        return listed_probabilities(
            version.calibration, listed.item_ix, listed.score, queries[:1], listed.partition
        )

    ways: dict[str, Callable[[], Any]] = {
        "shortlist": lambda: one.top(state(), N),
        "shortlist, two threads": lambda: two.top(state(), N),
        "shortlist, 1000 of them": lambda: one.top(state(), 1000),
        "shortlist, 0.1% allowed": lambda: one.top(state(), N, allowed=few),
        "shortlist, batch of 4": lambda: one.top(state(4), N),
        "shortlist, batch of 16, two threads": lambda: two.top(state(16), N),
        "numpy product, argpartition": multiply,
        "torch product, topk": lambda: torch.topk(wide @ torch.from_numpy(state()[0]), N),
        "torch bfloat16 product, topk": lambda: torch.topk(
            table @ torch.from_numpy(state()[0]).bfloat16(), N
        ),
    }
    if version.calibration is not None:
        ways["shortlist with probabilities, seen hidden"] = probabilities
    figures: dict[str, Any] = {"built_s": round(built_s, 2), **in_turns(ways, repeats)}
    ways = {"usearch exact": lambda: usearch_exact(vectors, state(), N, "ip", exact=True, threads=1)}
    figures |= in_turns(ways, 2)

    asked = states[:8]
    scores_BV = exact(asked, vectors)
    figures["recall@100"] = recall(two.top(asked, N)[0], scores_BV)
    figures["recall@1000"] = recall(two.top(asked, 1000)[0], scores_BV)
    cut = table @ torch.from_numpy(asked).bfloat16().T
    figures["recall@100 of torch bfloat16"] = recall(torch.topk(cut.T.float(), N).indices.numpy(), scores_BV)
    scores_BV[:, ~few] = -np.inf
    figures["recall@100 where 0.1% are allowed"] = recall(two.top(asked, N, allowed=few)[0], scores_BV)
    if version.calibration is not None:
        scores = np.stack([vectors @ one_state for one_state in asked])
        scores[:, :2] = -np.inf
        want = version.calibration.partition(scores, queries[:8])[1]
        listed = one.top_with_partition(asked, N, version.calibration, queries[:8])
        error = np.abs(np.expm1(listed.partition[1] - want))
        figures["largest error of the denominator"] = float(f"{error.max():.2e}")
    return figures


def encoding(model: Transformer, queries: Queries, repeats: int) -> dict[str, Any]:
    """States of real histories, the longest ones: each fills the window."""
    encoder = FastEncoder(model)
    full = np.flatnonzero(queries.lengths >= model.model_config.max_len)
    figures: dict[str, Any] = {}
    turn = iter(range(10**9))

    def some(n: int) -> Queries:
        first = next(turn) * n % max(1, len(full) - n)
        return queries[full[first : first + n]]

    for n in (1, 4, 16):
        ways: dict[str, Callable[[], Any]] = {
            "whole model": lambda n=n: model.encode(some(n)),
            "newest cell": lambda n=n: encoder.encode(some(n)),
        }
        figures[f"batch of {n}"] = in_turns(ways, repeats)
    sample = queries[:500]
    figures["largest difference"] = float(
        f"{np.abs(model.encode(sample) - encoder.encode(sample)).max():.1e}"
    )
    return figures


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=20)
    options = parser.parse_args()
    torch.set_num_threads(1)
    workspace = Workspace.open(options.workspace)
    version = open_version(workspace.run("final"))
    assert isinstance(version.model, Transformer), "the workspace must hold a transformer"
    sequences = Sequences.load(workspace.sequences)
    rng = np.random.default_rng(0)
    queries = Queries.latest(sequences, rng.permutation(sequences.n_users)[:2000])
    states = FastEncoder(version.model).encode(queries[:200])
    trained = grown(version.model.item_vectors(), options.items, 0)
    noise = rng.standard_normal((options.items + 2, states.shape[1]), dtype=np.float32)
    size = np.linalg.norm(trained, axis=1).mean() / np.linalg.norm(noise, axis=1).mean()
    record(
        "serving_kernels",
        {
            "n_items": options.items,
            "dim": int(states.shape[1]),
            "max_len": version.model.model_config.max_len,
            "encode": encoding(version.model, queries, options.repeats),
            "like trained vectors": catalogue(version, trained, states, queries, options.repeats),
            "noise": catalogue(version, noise * size, states, queries, options.repeats),
        },
    )


if __name__ == "__main__":
    main()
