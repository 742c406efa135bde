# SPDX-License-Identifier: Apache-2.0
"""What a user does next, how likely, and when: actions and times for any history.

It joins a chain of actions and a model of gaps, mends the chances of the actions where validation shows that
this helps, and keeps all of it in one folder. Items and lists are other files' business.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from scipy.optimize import minimize

from desirepath.errors import ConfigError, NotFittedError, WorkspaceError
from desirepath.models.clock import HOUR_S
from desirepath.models.counts import DAY_S
from desirepath.models.markov import ActionMarkov, ActionMarkovConfig
from desirepath.models.outlook import EDGES_S, Outlook
from desirepath.models.timing import Timing, TimingConfig
from desirepath.schema import FIRST, UNKNOWN
from desirepath.sequences import Queries, Sequences, Vocabulary
from desirepath.sequences.queries import ranges
from desirepath.workspace import write_atomically

FORMAT = 1
HEADER = "predictor.json"
ARRAYS = "predictor.safetensors"
HORIZONS_S: tuple[float, ...] = (HOUR_S, DAY_S, 7 * DAY_S)
"""Within an hour, a day, a week."""
LOW, HIGH = 0.1, 0.9
"""Quantiles between which the next event comes in 80 of 100 cases."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictorConfig:
    """How the chances of actions are mended."""

    ridge: float = 1.0
    """Pull (> 0) of the mending towards none, as the inverse variance of its parameters."""
    min_queries: int = 100
    """Validation events below which nothing is mended, >= 10."""
    n_folds: int = 5
    """Parts of the validation users, >= 2: what is mended on all but one is judged on that one."""
    seed: int = 0
    """Draw of the parts."""

    def __post_init__(self) -> None:
        if not self.ridge > 0 or self.min_queries < 10 or self.n_folds < 2:
            raise ConfigError(
                "ridge must be above 0, min_queries at least 10 and n_folds at least 2; got "
                f"{self.ridge}, {self.min_queries} and {self.n_folds}."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What comes next for Q queries; seconds count from the moment of the question."""

    actions: Vocabulary
    probability_QA: Floats
    """Of each action being the next one, reserved columns left out; rows sum to 1."""
    median_s: Floats
    """The next event comes before this as likely as after it; inf: later than the log could have shown; NaN:
    nothing is known of the user."""
    low_s: Floats
    """Earliest end of the interval that holds the next event in 80 of 100 cases; 0 within a second."""
    high_s: Floats
    """Latest end of that interval; inf as above."""
    within_QH: Floats
    """P(an event within an hour, a day, a week); NaN where nothing is known of the user."""

    def next_actions(self) -> pl.DataFrame:
        """One row a query and action, the likeliest first: query, action, probability."""
        order = np.argsort(-self.probability_QA, axis=1, kind="stable")
        query = np.repeat(np.arange(len(order)), order.shape[1])
        return pl.DataFrame(
            {
                "query": query,
                "action": self.actions.decode(order.ravel() + FIRST),
                "probability": np.take_along_axis(self.probability_QA, order, axis=1).ravel(),
            }
        )

    def times(self) -> pl.DataFrame:
        """One row a query: query, median_s, low_s, high_s, within_1h, within_1d, within_7d; or null."""
        columns = {"median_s": self.median_s, "low_s": self.low_s, "high_s": self.high_s}
        columns |= dict(zip(("within_1h", "within_1d", "within_7d"), self.within_QH.T, strict=True))
        return pl.DataFrame({"query": np.arange(len(self.median_s))} | columns).fill_nan(None)


class Predictor:
    """Next actions with probabilities, and the time of the next event.

    The chances of `ActionMarkov` are mended by p' ~ p^slope e^bias_a, one slope and a bias for each action
    (vector scaling: Guo et al., "On calibration of modern neural networks", ICML 2017, section 4.2, with one
    slope in place of one a class). Parameters are fitted on validation events, and kept only where they are
    surely better there: on users left out of their fitting the mean log loss must fall by two of its standard
    errors. Of validation users that training did not see, every event counts and not only the one asked
    for: last events before a cut are not like others.

    >>> log = Sequences.from_lists([["a", "b", "a"], ["b", "a"]])
    >>> predictor = Predictor().fit(log)
    >>> predictor.predict(Queries.latest(log, np.array([0]))).probability_QA.tolist()
    [[1.0]]
    """

    def __init__(
        self,
        config: PredictorConfig | None = None,
        actions: ActionMarkovConfig | None = None,
        timing: TimingConfig | None = None,
    ) -> None:
        """Take the options, those of the two models among them."""
        self.config = config or PredictorConfig()
        self.chain = ActionMarkov(actions)
        self.timing = Timing(timing)
        self.slope = 1.0
        self.bias_A: Floats = np.zeros(0)
        self.figures: dict[str, float] = {}
        """Of the mending: validation events, and their log loss before and after it, on users left out."""
        self._words: Vocabulary | None = None
        self._same_words: Vocabulary | None = None

    def fit(self, train: Sequences, validation: Queries | None = None, until_s: float | None = None) -> Self:
        """Learn from `train`, and mend the chances of actions on `validation`.

        Args:
            train: sequences to learn from.
            validation: queries with one target each and its action, out of `train`; without them, or without
                actions, nothing is mended.
            until_s: the moment to which `train` is complete; that of its last event when None.

        Raises:
            TooLittleData: no user has two events.
        """
        self.refit(train, until_s=_complete(train, validation, until_s))
        self.slope, self.bias_A, self.figures = 1.0, np.zeros(len(train.actions) - FIRST), {}
        if validation is not None and validation.target_action_ix is not None:
            self._mend(_every_event(train, validation))
        return self

    def refit(self, train: Sequences, until_s: float | NDArray[np.floating] | None = None) -> Self:
        """Learn from other rows, such as train and validation together; the mending stays as it is."""
        self.chain.fit(train)
        self.timing.fit(train, until_s)
        self._words = self._same_words = train.actions
        if len(self.bias_A) != len(train.actions) - FIRST:
            more = max(len(train.actions) - FIRST - len(self.bias_A), 0)
            self.bias_A = np.append(self.bias_A, np.zeros(more))[: len(train.actions) - FIRST]
        return self

    def predict(self, queries: Queries, now_s: float | NDArray[np.floating] | None = None) -> Prediction:
        """What comes next for each query, at its own moment or at `now_s`.

        Cost: about a millisecond for one query, some 20 microseconds a query in batches.

        Raises:
            NotFittedError: before `fit` or `load`.
        """
        if self._words is None:
            raise NotFittedError("The predictor must be fitted before it can answer. Call fit(train).")
        queries = self._in_own_words(queries)
        outlook: Outlook = self.timing.outlook(queries, now_s)
        low_s, median_s, high_s = outlook.quantiles([LOW, 0.5, HIGH]).T
        # Within the first second the log's own clock may tell nothing: it is all one moment.
        low_s[low_s + outlook.elapsed_s <= EDGES_S[1]] = 0.0
        return Prediction(
            actions=self._words,
            probability_QA=self._mended(self._chances(queries)),
            median_s=median_s,
            low_s=low_s,
            high_s=high_s,
            within_QH=outlook.within(HORIZONS_S),
        )

    def _chances(self, queries: Queries) -> Floats:
        return self.chain.probabilities(queries)[:, FIRST:].astype(np.float64)

    def _mended(self, chance_QA: Floats) -> Floats:
        return mended(chance_QA, np.append(self.slope, self.bias_A))

    def _mend(self, queries: Queries) -> None:
        """Fit slope and biases, and keep them if users left out say so."""
        assert queries.target_action_ix is not None
        known = (queries.target_action_ix >= FIRST) & (queries.target_action_ix < len(self.bias_A) + FIRST)
        queries = queries[known]
        if len(queries) < self.config.min_queries or len(self.bias_A) < 2:
            return
        came = np.asarray(queries.target_action_ix, np.int64)[known[known]] - FIRST
        chance_QA = self._chances(queries)
        users, user = np.unique(queries.user_ix, return_inverse=True)
        drawn = np.random.default_rng(self.config.seed).permutation(len(users))
        fold = (drawn % self.config.n_folds)[user]
        loss = np.zeros((2, len(came)))
        for number in range(self.config.n_folds):
            kept = fold == number
            if kept.all() or not kept.any():
                continue
            theta = _fit_mending(chance_QA[~kept], came[~kept], self.config.ridge)
            for row, said in enumerate((chance_QA[kept], mended(chance_QA[kept], theta))):
                loss[row, kept] = -np.log(np.maximum(said[np.arange(kept.sum()), came[kept]], 1e-12))
        # A user's events go together: the error is that of sums over users.
        gain = np.bincount(user, loss[0] - loss[1])
        error = np.sqrt(len(gain) * gain.var(ddof=1)) if len(gain) > 1 else np.inf
        kept_it = bool(gain.sum() > 2 * error)
        self.figures = {
            "n_events": float(len(came)),
            "log_loss": float(loss[0].mean()),
            "log_loss_mended": float(loss[1].mean()),
            "kept": float(kept_it),
        }
        if kept_it:
            theta = _fit_mending(chance_QA, came, self.config.ridge)
            self.slope, self.bias_A = float(theta[0]), theta[1:]

    def _in_own_words(self, queries: Queries) -> Queries:
        """The queries with the action indexes that were learned; what was not learned becomes unknown."""
        words = queries.sequences.actions
        assert self._words is not None
        if words is self._same_words:
            return queries
        if words.ids.head(len(self._words.ids)).equals(self._words.ids):
            self._same_words = words  # appended actions change no index
            return queries
        depth = self.timing.config.max_gaps + 3
        start = np.maximum(queries.start, queries.stop - depth)
        rows = ranges(start, queries.stop)
        own = np.concatenate([np.arange(FIRST), self._words.encode(words.ids)])
        sequences = queries.sequences
        bounds = np.concatenate([np.zeros(1, np.int64), np.cumsum(queries.stop - start)])
        narrow = replace(
            sequences,
            offsets=bounds,
            item_ix=sequences.item_ix[rows],
            action_ix=np.where(own < FIRST, UNKNOWN, own)[sequences.action_ix[rows]].astype(np.int16),
            time_s=sequences.time_s[rows],
            users=Vocabulary(pl.int_range(len(queries), eager=True), reserved=0),
            actions=self._words,
            context={},
            labels={},
        )
        return replace(Queries.latest(narrow, np.arange(len(queries))), now_s=queries.now_s)

    def save(self, folder: Path) -> None:
        """Write predictor.safetensors and predictor.json, the header last, so that a cut is not read."""
        if self._words is None:
            raise NotFittedError("The predictor must be fitted before it can be kept. Call fit(train).")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / HEADER).unlink(missing_ok=True)
        arrays = {f"actions.{name}": array for name, array in self.chain.state().items()}
        arrays |= {f"timing.{name}": array for name, array in self.timing.state().items()}
        arrays["bias_A"] = self.bias_A
        part = folder / f"{ARRAYS}.part"
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, part)
        part.replace(folder / ARRAYS)
        header = {
            "format": FORMAT,
            "actions": self._words.ids.to_list(),
            "slope": self.slope,
            "figures": self.figures,
            "config": asdict(self.config),
            "actions_config": asdict(self.chain.config),
            "timing_config": asdict(self.timing.config),
        }
        write_atomically(folder / HEADER, json.dumps(header, indent=1) + "\n")

    @staticmethod
    def load(folder: Path) -> Predictor:
        """What `save` wrote.

        Raises:
            WorkspaceError: there is no whole predictor, or a newer one.
        """
        try:
            header: dict[str, Any] = json.loads((folder / HEADER).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise WorkspaceError(
                f"{folder} holds no predictor. Run `desirepath run FILE --to DIR` first."
            ) from None
        if header["format"] > FORMAT:
            raise WorkspaceError(
                f"A predictor must be of format {FORMAT} or older; {folder} has {header['format']}. "
                "Upgrade desirepath."
            )
        predictor = Predictor(
            PredictorConfig(**header["config"]),
            ActionMarkovConfig(**header["actions_config"]),
            TimingConfig(**header["timing_config"]),
        )
        arrays = load_file(folder / ARRAYS)
        for prefix, model in (("actions.", predictor.chain), ("timing.", predictor.timing)):
            model.restore({n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)})
        predictor.slope, predictor.bias_A = float(header["slope"]), arrays["bias_A"]
        predictor.figures = header["figures"]
        predictor._words = predictor._same_words = Vocabulary(header["actions"])
        return predictor


def mended(chance_QA: Floats, theta: Floats) -> Floats:
    """p^theta_0 e^theta_a, made to sum to 1.

    >>> mended(np.array([[0.5, 0.5]]), np.array([1.0, 0.0, np.log(3.0)])).round(2).tolist()
    [[0.25, 0.75]]
    """
    logit = theta[0] * np.log(np.maximum(chance_QA, 1e-12)) + theta[1:]
    odds = np.exp(logit - logit.max(axis=1, keepdims=True))
    result: Floats = odds / odds.sum(axis=1, keepdims=True)
    return result


def _fit_mending(chance_QA: Floats, came: NDArray[np.int64], ridge: float) -> Floats:
    """Slope and biases of the greatest penalised likelihood; the problem is convex."""
    log_p, query = np.log(np.maximum(chance_QA, 1e-12)), np.arange(len(came))
    none = np.append(1.0, np.zeros(chance_QA.shape[1]))

    def surprise(theta: Floats) -> tuple[float, Floats]:
        said = mended(chance_QA, theta)
        off = said.copy()
        off[query, came] -= 1.0
        value = -np.log(np.maximum(said[query, came], 1e-300)).sum() + ridge / 2 * ((theta - none) ** 2).sum()
        return float(value), np.append((off * log_p).sum(), off.sum(axis=0)) + ridge * (theta - none)

    found: Floats = minimize(surprise, none, jac=True, method="L-BFGS-B").x
    return found


def _every_event(train: Sequences, validation: Queries) -> Queries:
    """The validation queries; of users whom training lacks, one for each event up to the one asked for."""
    sequences = validation.sequences
    single = len(validation.target_item_ix) == len(validation)
    if not single or not (train.users is sequences.users or train.users == sequences.users):
        return validation
    held = np.flatnonzero(train.lengths[validation.user_ix] == 0)
    if not len(held):
        return validation
    # Of several queries of one user the longest holds the others' events.
    order = held[np.lexsort((-validation.stop[held], validation.user_ix[held]))]
    _, newest = np.unique(validation.user_ix[order], return_index=True)
    chosen = order[newest]
    # The row asked for is the one after the history: only there is it known to be one event later.
    start, target = validation.start[chosen], validation.stop[chosen]
    row = ranges(start, target + 1)
    return Queries(
        sequences=sequences,
        user_ix=np.repeat(validation.user_ix[chosen], target + 1 - start),
        start=np.repeat(start, target + 1 - start),
        stop=row,
        now_s=np.asarray(sequences.time_s)[row],
        target_offsets=np.arange(len(row) + 1, dtype=np.int64),
        target_item_ix=np.asarray(sequences.item_ix)[row],
        target_action_ix=np.asarray(sequences.action_ix)[row],
    )


def _complete(
    train: Sequences, validation: Queries | None, until_s: float | None
) -> NDArray[np.floating] | float | None:
    """To which moment each user's record in `train` is complete.

    Where the event right after a user's last one was held back for validation, nothing may be said of the
    time after it.
    """
    if validation is None or not train.n_events or not len(validation):
        return until_s
    sequences = validation.sequences
    if not (train.users is sequences.users or train.users == sequences.users):
        return until_s
    lengths, time_s = train.lengths, np.asarray(train.time_s)
    until = np.full(train.n_users, time_s.max() if until_s is None else until_s)
    next_held = validation.user_ix[validation.lengths == lengths[validation.user_ix]]
    next_held = next_held[lengths[next_held] > 0]
    until[next_held] = time_s[np.asarray(train.offsets)[next_held + 1] - 1]
    return until
