# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools
from collections import Counter, defaultdict

import numpy as np
import pytest

from contracts import CONTRACTS, follows_cycle
from desirepath.errors import ConfigError, NotFittedError, ShapeError
from desirepath.models.backoff import BackoffChain, BackoffConfig, MarkovBackoff
from desirepath.models.markov import Markov
from desirepath.sequences import Sequences
from worlds import cycle, leave_last


def flat(lists):
    offsets = np.concatenate([[0], np.cumsum([len(one) for one in lists])]).astype(np.int64)
    return offsets, np.array([x for one in lists for x in one], np.int64)


def random_lists(seed, n=60, n_symbols=4, longest=12):
    rng = np.random.default_rng(seed)
    return [
        rng.choice(n_symbols, rng.integers(0, longest), p=[0.6, 0.25, 0.1, 0.05]).tolist() for _ in range(n)
    ]


class PlainChain:
    """The equations written out with dictionaries and recursion."""

    def __init__(self, lists, n_symbols, order, lower):
        self.n_symbols = n_symbols
        self.counts = []
        for k in range(order + 1):
            grams = Counter()
            befores = defaultdict(set)
            for one in lists:
                for i in range(k, len(one)):
                    gram = tuple(one[i - k : i + 1])
                    grams[gram] += 1
                    befores[gram].add(one[i - k - 1] if i > k else "begin")
            if lower == "continuation" and k < order:
                grams = Counter({gram: len(before) for gram, before in befores.items()})
            self.counts.append(grams)

    def discounts(self, k):
        n = Counter(min(c, 5) for c in self.counts[k].values())
        if any(n[c] == 0 for c in (1, 2, 3, 4)):
            return [0, 0.5, 0.5, 0.5]
        y = n[1] / (n[1] + 2 * n[2])
        d = [0, *(c - (c + 1) * y * n[c + 1] / n[c] for c in (1, 2, 3))]
        return d if all(0 < d[c] < c for c in (1, 2, 3)) else [0, 0.5, 0.5, 0.5]

    def probability(self, context, w):
        k = len(context)
        shorter = self.probability(context[1:], w) if k else 1 / self.n_symbols
        followers = [self.counts[k][(*context, v)] for v in range(self.n_symbols)]
        if not sum(followers):
            return shorter
        d = self.discounts(k)
        taken = sum(d[min(c, 3)] for c in followers)
        c = followers[w]
        return (c - d[min(c, 3)] + taken * shorter) / sum(followers)


@pytest.mark.parametrize("lower", ["raw", "continuation"])
@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("n", [4, 60, 400])
def test_probabilities_are_those_of_the_equations(order, lower, n):
    lists = random_lists(order, n)
    chain = BackoffChain(BackoffConfig(order=order, lower=lower)).fit(*flat(lists), 4)
    plain = PlainChain(lists, 4, order, lower)
    contexts = [list(c) for k in range(order + 2) for c in itertools.product(range(4), repeat=k)][:80]
    found = chain.probabilities(*flat(contexts))
    for row, context in zip(found, contexts, strict=True):
        used = tuple(context[-order:])
        expected = [plain.probability(used, w) for w in range(4)]
        np.testing.assert_allclose(row, expected, rtol=1e-5)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)


def test_discounts_of_large_counts_are_used():
    """With 400 sequences all of n1 to n4 occur, so that the case above is not the plain one."""
    plain = PlainChain(random_lists(3, 400), 4, 3, "raw")
    assert plain.discounts(3) != [0, 0.5, 0.5, 0.5]


def test_nothing_learnt_is_an_even_chance():
    chain = BackoffChain().fit(np.array([0, 0]), np.zeros(0, np.int64), 5)
    np.testing.assert_allclose(chain.probabilities(*flat([[], [1, 2]])), 0.2)


def test_unknown_symbols_are_passed_over():
    chain = BackoffChain(BackoffConfig(order=2)).fit(*flat(random_lists(0)), 4)
    known, strange = chain.probabilities(*flat([[0, 1]])), chain.probabilities(*flat([[9, 0, -1, 1, 7]]))
    np.testing.assert_array_equal(known, strange)


def test_top_is_the_head_of_all(monkeypatch):
    chain = BackoffChain().fit(*flat(random_lists(1)), 4)
    histories = flat(random_lists(2))
    every = chain.probabilities(*histories)
    monkeypatch.setattr("desirepath.models.backoff.CHUNK_CELLS", 28)
    symbol, probability = chain.top(*histories, k=3)
    np.testing.assert_array_equal(symbol, np.argsort(-every, axis=1, kind="stable")[:, :3])
    np.testing.assert_array_equal(probability, np.take_along_axis(every, symbol.astype(np.int64), axis=1))
    assert chain.top(*histories, k=9)[0].shape == (60, 4)


def test_longer_contexts_tell_more():
    """After 0 1 comes 2, after 3 1 comes 4: one step back both are alike."""
    lists = [[0, 1, 2], [3, 1, 4]] * 30
    one, two = (BackoffChain(BackoffConfig(order=k)).fit(*flat(lists), 5) for k in (1, 2))
    asked = flat([[0, 1]])
    assert one.probabilities(*asked)[0, 2] < 0.5
    assert two.probabilities(*asked)[0, 2] > 0.95


@pytest.mark.parametrize("lower", ["raw", "continuation"])
@pytest.mark.parametrize("check", CONTRACTS)
def test_contract_of_options(check, lower):
    check(lambda: MarkovBackoff(BackoffConfig(order=2, lower=lower)))


def test_follows_the_ring():
    follows_cycle(MarkovBackoff)


def test_scores_are_logarithms_of_probabilities():
    train, queries = leave_last(cycle())
    scores = MarkovBackoff().fit(train).scores(queries)
    np.testing.assert_allclose(np.exp(scores.astype(np.float64)).sum(axis=1), 1, rtol=1e-4)


def test_wrong_use_is_told():
    for wrong in (lambda: BackoffConfig(order=0), lambda: BackoffConfig(lower="none")):
        with pytest.raises(ConfigError):
            wrong()
    with pytest.raises(ShapeError, match="largest symbol is 3"):
        BackoffChain().fit(np.array([0, 1]), np.array([3]), 3)
    with pytest.raises(NotFittedError):
        BackoffChain().probabilities(np.array([0, 0]), np.zeros(0, np.int64))


def accuracy(model, train, queries, block=2000):
    hits = [
        model.scores(queries[q : q + block]).argmax(axis=1) == queries[q : q + block].single_target
        for q in range(0, len(queries), block)
    ]
    return float(np.concatenate(hits).mean())


@pytest.mark.data
@pytest.mark.slow
def test_order_helps_on_real_clicks(shared_data):
    """FIFA: the last event of 2,000 sequences, learnt from all others."""
    lines = (shared_data / "spmf-sequences" / "FIFA.txt").read_text().splitlines()
    lists = [[x for x in line.split() if x not in ("-1", "-2")] for line in lines]
    world = Sequences.from_lists([one for one in lists if len(one) > 1])
    train, queries = leave_last(world)
    some = queries[np.arange(0, len(queries), len(queries) // 2000)]
    first, deep = (accuracy(model.fit(train), train, some) for model in (Markov(), MarkovBackoff()))
    assert deep > first + 0.01
