# SPDX-License-Identifier: Apache-2.0
"""The streams of random numbers against published values and their laws."""

from __future__ import annotations

import numpy as np
from scipy import stats

from desirepath.simulate.chance import drawn, exponential, generator, start_stream, stream_key, uniform

PUBLISHED = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
"""First outputs of SplitMix64 from the state 1234567 (the example at Rosetta Code)."""


def stream(number: int) -> np.ndarray:
    state = np.empty(1, np.uint64)
    start_stream(state, stream_key(1, 2), number)
    return state


def test_splitmix_gives_the_published_numbers() -> None:
    state = np.array([1234567], np.uint64)
    assert [uniform(state) for _ in PUBLISHED] == [(number >> 11) / 2**53 for number in PUBLISHED]


def test_laws_hold_across_and_along_streams() -> None:
    along = stream(0)
    across = np.array([uniform(stream(number)) for number in range(4_000)])
    assert stats.kstest(across, "uniform").pvalue > 1e-3
    assert stats.kstest([uniform(along) for _ in range(4_000)], "uniform").pvalue > 1e-3
    assert stats.kstest([exponential(along) for _ in range(4_000)], "expon").pvalue > 1e-3
    assert abs(np.corrcoef(across[1:], across[:-1])[0, 1]) < 0.06
    running = np.array([0.1, 0.4, 1.0])
    counts = np.bincount([drawn(along, running) for _ in range(4_000)], minlength=3)
    assert stats.chisquare(counts, 4_000 * np.array([0.1, 0.3, 0.6])).pvalue > 1e-3


def test_keys_make_the_difference() -> None:
    assert generator(1, 2).random() == generator(1, 2).random()
    assert len({generator(1, 2).random(), generator(1, 3).random(), generator(2, 2).random()}) == 3
    assert stream_key(1, 2) == stream_key(1, 2) != stream_key(1, 3)
