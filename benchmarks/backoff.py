# SPDX-License-Identifier: Apache-2.0
"""How much more contexts longer than one event tell: the next event of held-out sequences.

    python benchmarks/backoff.py

Of each data set 2,000 sequences of two events or more are held out; the chains learn from the others and
are asked for the last event of each. The first-order row is the model `markov`. Log loss is in bits.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from desirepath.models.backoff import BackoffChain, BackoffConfig
from desirepath.models.markov import Markov
from desirepath.schema import FIRST
from desirepath.sequences import Queries, Sequences
from record import DATA, record

SETS = {"FIFA": "FIFA.txt", "BMS1": "BMS1_spmf.txt", "LEVIATHAN": "LEVIATHAN.txt"}
HELD_OUT = 2000


def parts(file: str) -> tuple[Sequences, Queries]:
    """The training sequences, and one question for each held-out sequence."""
    lines = (DATA / "spmf-sequences" / file).read_text().splitlines()
    lists = [[word for word in line.split() if word not in ("-1", "-2")] for line in lines]
    world = Sequences.from_lists([one for one in lists if one])
    able = np.flatnonzero(world.lengths > 1)
    held = np.sort(np.random.default_rng(0).choice(able, HELD_OUT, replace=False))
    train = world.select(~np.isin(world.user_ix, held))
    last = world.offsets[held + 1] - 1
    queries = Queries(
        sequences=world,
        user_ix=held,
        start=world.offsets[held],
        stop=last,
        now_s=world.time_s[last],
        target_offsets=np.arange(HELD_OUT + 1),
        target_item_ix=world.item_ix[last],
    )
    return train, queries


def figures(probability_BV: np.ndarray, target: np.ndarray) -> dict[str, float]:
    chance = probability_BV[np.arange(len(target)), target]
    rank = (probability_BV > chance[:, None]).sum(axis=1)
    return {
        "accuracy@1": float(np.mean(probability_BV.argmax(axis=1) == target)),
        "accuracy@10": float(np.mean(rank < 10)),
        "log_loss_bits": float(-np.log2(chance.astype(np.float64)).mean()),
    }


def measured(file: str) -> dict[str, Any]:
    train, queries = parts(file)
    target = queries.single_target - FIRST
    found: dict[str, Any] = {"symbols": train.n_items, "training_events": train.n_events}
    began = time.perf_counter()
    first = Markov().fit(train)
    fit_s = time.perf_counter() - began
    found["markov"] = figures(np.exp(first.scores(queries)[:, FIRST:]), target) | {"fit_s": fit_s}
    rows = [np.arange(a, z) for a, z in zip(queries.start, queries.stop, strict=True)]
    offsets = np.concatenate([[0], np.cumsum(queries.lengths)])
    symbols = queries.sequences.item_ix[np.concatenate(rows)] - FIRST
    for lower in ("raw", "continuation"):
        for order in (1, 2, 3, 4, 5):
            began = time.perf_counter()
            chain = BackoffChain(BackoffConfig(order=order, lower=lower)).fit(
                train.offsets, train.item_ix - FIRST, train.n_items
            )
            fit_s = time.perf_counter() - began
            chance = chain.probabilities(offsets, symbols)
            found[f"backoff-{order}-{lower}"] = figures(chance, target) | {"fit_s": fit_s}
    return found


def main() -> None:
    record("backoff", {name: measured(file) for name, file in SETS.items()})


if __name__ == "__main__":
    main()
