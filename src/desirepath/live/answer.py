# SPDX-License-Identifier: Apache-2.0
"""One batch of questions answered: histories, model, filters, policy, and the reply with its reasons.

Everything that a reply says was read at one moment, `now_s`. It holds nothing between batches.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from desirepath.errors import DesirepathError
from desirepath.live.context import placed
from desirepath.live.memory import Memory
from desirepath.live.ranker import Ranker, Wanted
from desirepath.live.scenarios import DEFAULT, Scenarios
from desirepath.live.sources import fallbacks
from desirepath.live.states import Histories
from desirepath.recommend.policy import Policy
from desirepath.recommend.scenario import ScenarioConfig
from desirepath.recommend.slate import MODEL, NO_ITEMS, Candidates, Request, Slate
from desirepath.schema import FIRST, UNKNOWN
from desirepath.sequences import Queries

CONTEXT = "context"
"""Kind of the reason that says what place, device and time of day added to the log-odds."""
COLD = "nothing that the model knows was done yet"
MASKLESS: dict[str, Any] = {"seen_ix": NO_ITEMS, "blocked_ix": NO_ITEMS, "allowed_ix": None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """Whom a list is for, and what it must be like."""

    user_id: str | None = None
    """A user; who has never been heard of is one without a history."""
    history: tuple[str, ...] = ()
    """Item ids of anyone, oldest first; they follow what is known of `user_id`."""
    item_id: str | None = None
    """The item that is being looked at; it counts as the newest event and is not shown."""
    k: int | None = None
    """Length of the list; as the scenario says when None."""
    scenario: str = DEFAULT
    rules: ScenarioConfig | None = None
    """Rules in place of the scenario's, for previews."""
    filter: str = ""
    """A further condition on items."""
    categories: tuple[str, ...] = ()
    """Items must bear all of these."""
    exclude_seen: bool | None = None
    """Whether items of the history stay out; None leaves it to the scenario."""
    exclude: tuple[str, ...] = ()
    """Items that must not be shown."""
    only: tuple[str, ...] | None = None
    """The only items that may be shown."""
    diversity: float | None = None
    explore: bool = True
    """False leaves nothing to chance, for previews."""
    seed: int | None = None
    """Of everything that is drawn by chance; None draws anew for each list, as propensities suppose."""
    variant: str | None = None
    """The variant of an experiment that this is."""
    version: str | None = None
    """The model version to ask; the current one when None."""
    context: dict[str, Any] = field(default_factory=dict)
    """Where, when and with what the question was asked; kept with the answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One item of a list."""

    item_id: str
    title: str | None
    score: float | None
    """The source's own; None for a pinned item that no source offered."""
    probability: float | None
    """That it is the next item; None where it is not known."""
    propensity: float
    """Probability with which this item came to stand at this place."""
    reasons: tuple[dict[str, Any], ...] = ()
    """What brought it here: the source, and whatever the policy did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A list, and where it comes from."""

    recommendation_id: str
    model_version: str
    scenario: str
    variant: str | None
    fallback: str | None
    """Why the list is not the model's alone; None when it is."""
    items: tuple[Shown, ...]
    n_events: int
    """Events that the answer knew of."""
    computed_us: int
    """When it was computed, microseconds since 1970 UTC."""
    n_filtered: dict[str, int] = field(default_factory=dict)
    """Candidates left out, by rule."""
    notes: tuple[str, ...] = ()
    """What could not be done."""


class Answering:
    """One batch under one model version, at one moment."""

    def __init__(self, ranker: Ranker, memory: Memory, scenarios: Scenarios, now_s: float) -> None:
        """Take what is known; the rules are those in force now."""
        self.ranker, self.memory, self.scenarios, self.now_s = ranker, memory, scenarios, now_s
        self.attributes = memory.catalogue.policy_view()
        self._hidden_since = memory.catalogue.hidden_since(self.attributes)

    def replies(self, asks: Sequence[Ask]) -> list[Reply | Exception]:
        """The lists that several people get; an ask that is wrong gets its error instead."""
        found: list[Reply | Exception | None] = [None] * len(asks)
        histories = self.histories(asks)
        prepared: dict[int, tuple[Policy, Request, NDArray[np.bool_] | None]] = {}
        for row, ask in enumerate(asks):
            try:
                prepared[row] = self._prepare(ask, _of_row(histories, row))
            except DesirepathError as error:
                found[row] = error
        queries = self.ranker.queries(histories, self.memory.actions.vocabulary, self.now_s)
        offered = self._offered(queries, histories, prepared)
        for row, (policy, request, mask) in prepared.items():
            history = _of_row(histories, row)
            try:
                sources = self._sources(policy, request, mask, history, offered.get(row))
                slate = policy.arrange(
                    (self._placed(one, asks[row]) for one in sources),
                    self.attributes,
                    self.ranker.item_vectors,
                    request,
                    self.now_s,
                )
            except DesirepathError as error:
                found[row] = error
                continue
            found[row] = self._reply(asks[row], slate, len(history))
        return [reply for reply in found if reply is not None]

    def histories(self, asks: Sequence[Ask]) -> Histories:
        """What is known of those who ask, with the items that they named themselves at the end."""
        known = self.memory.states.histories([ask.user_id for ask in asks])
        if not any(ask.history or ask.item_id for ask in asks):
            return known
        parts = []
        for row, ask in enumerate(asks):
            mine = slice(known.offsets[row], known.offsets[row + 1])
            named = self.memory.catalogue.indexes((*ask.history, *([ask.item_id] if ask.item_id else [])))
            parts.append(
                (
                    np.concatenate([known.item_ix[mine], named]),
                    np.concatenate([known.action_ix[mine], np.full(len(named), FIRST, np.int16)]),
                    np.concatenate([known.time_s[mine], np.full(len(named), self.now_s)]),
                )
            )
        lengths = [len(part[0]) for part in parts]
        return Histories(
            np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]),
            np.concatenate([part[0] for part in parts]),
            np.concatenate([part[1] for part in parts]),
            np.concatenate([part[2] for part in parts]),
        )

    def _prepare(
        self, ask: Ask, history: NDArray[np.int32]
    ) -> tuple[Policy, Request, NDArray[np.bool_] | None]:
        """The policy of an ask, what it is asked, and (V,) what anyone who asks so may be shown."""
        if ask.rules is not None:
            policy = Policy(ask.rules, exclude_seen=self.ranker.version.exclude_seen)
        else:
            policy = self.scenarios.policy(ask.scenario)
        within = len(self.attributes)
        blocked = self.memory.catalogue.indexes((*ask.exclude, *([ask.item_id] if ask.item_id else [])))
        blocked = np.concatenate([blocked[blocked < within], self._hidden_since])
        only = None
        if ask.only is not None:
            only = self.memory.catalogue.indexes(ask.only)
            only = only[(only != UNKNOWN) & (only < within)]
        request = Request(
            k=ask.k,
            filter=ask.filter,
            categories=ask.categories,
            seen_ix=np.unique(history[(history >= FIRST) & (history < within)]),
            exclude_seen=ask.exclude_seen,
            blocked_ix=blocked,
            allowed_ix=only,
            diversity=ask.diversity,
            explore=ask.explore,
            counts=self.memory.exposure.counts(),
            seed=secrets.randbits(53) if ask.seed is None else ask.seed,
        )
        # What was seen and blocked is told to the model one by one, which is cheaper than a mask a request.
        shared = replace(request, **{**MASKLESS, "allowed_ix": only})
        mask = policy.allowed(self.attributes, shared, now_s=self.now_s)
        return policy, request, mask

    def _offered(
        self,
        queries: Queries,
        histories: Histories,
        prepared: dict[int, tuple[Policy, Request, NDArray[np.bool_] | None]],
    ) -> dict[int, Candidates]:
        """What the model offers to those whose history it can read."""
        warm = self.ranker.knows(histories)
        rows = np.array([row for row in prepared if warm[row]], dtype=np.int64)
        if not len(rows):
            return {}
        hidden = [
            np.concatenate([request.blocked_ix, request.seen_ix])
            if _excludes_seen(policy, request)
            else request.blocked_ix
            for policy, request, _ in (prepared[row] for row in rows.tolist())
        ]
        n = max(
            max(policy.scenario.n_candidates, request.k or policy.scenario.k)
            for policy, request, _ in prepared.values()
        )
        masks = [prepared[row][2] for row in rows.tolist()]
        best = self.ranker.best(queries[rows], masks, Wanted(n, hidden))
        return dict(zip(rows.tolist(), best, strict=True))

    def _sources(
        self,
        policy: Policy,
        request: Request,
        mask: NDArray[np.bool_] | None,
        history: NDArray[np.int32],
        offered: Candidates | None,
    ) -> Iterator[Candidates]:
        """The model's candidates, then those of the fallbacks, made only when they are asked for."""
        n = max(policy.scenario.n_candidates, request.k or policy.scenario.k)
        if offered is None:
            yield Candidates(source=MODEL, item_ix=NO_ITEMS, score=np.zeros(0), reason=COLD)
        else:
            kept = offered.item_ix < len(self.attributes)
            if not kept.all():
                offered = Candidates(
                    source=MODEL,
                    item_ix=offered.item_ix[kept],
                    score=offered.score[kept],
                    probability=None if offered.probability is None else offered.probability[kept],
                )
            yield self._valued(offered, policy, request)
        for source in fallbacks(self.memory, self.attributes, policy.scenario.fallback, history, mask):
            yield self._valued(source(n), policy, request)

    def _placed(self, candidates: Candidates, ask: Ask) -> Candidates:
        """In the order of the place, device and time of day that the question was asked with."""
        lift = self.memory.context.of(ask.context, candidates.item_ix) if ask.context else None
        return candidates if lift is None else placed(candidates, lift)

    def _valued(self, candidates: Candidates, policy: Policy, request: Request) -> Candidates:
        """With what the user may do to each item, where the scenario weighs that."""
        values = policy.scenario.values if request.values is None else request.values
        vocabulary = self.memory.actions.vocabulary
        known = [name for name in values if vocabulary.index(name) is not None]
        if not known or not len(candidates.item_ix):
            return candidates
        indexes = [vocabulary.index(name) or 0 for name in known]
        share = self.memory.worth.shares(candidates.item_ix, indexes)
        if candidates.probability is not None:
            share = share * np.nan_to_num(candidates.probability.astype(np.float64))[:, None]
        return replace(candidates, actions=tuple(known), action_probability=share)

    def _reply(self, ask: Ask, slate: Slate, n_events: int) -> Reply:
        catalogue = self.memory.catalogue
        lift = self.memory.context.of(ask.context, slate.item_ix) if ask.context else None
        items = []
        for place, item_ix in enumerate(slate.item_ix.tolist()):
            source: dict[str, Any] = {"kind": "source", "source": slate.source[place]}
            if slate.source[place] == MODEL:
                source["model"] = self.ranker.version.model.name
            item_id = catalogue.ids[item_ix]
            moved = {}
            if lift is not None and not np.isnan(slate.probability[place]):
                moved = {"kind": CONTEXT, "amount": float(lift[place])}
            items.append(
                Shown(
                    item_id=item_id,
                    title=catalogue.title(item_id),
                    score=_known(slate.score[place]),
                    probability=_known(slate.probability[place]),
                    propensity=float(slate.propensity[place]),
                    reasons=(source, *([moved] if moved else []), *slate.reasons[place]),
                )
            )
        return Reply(
            recommendation_id=uuid.uuid4().hex,
            model_version=self.ranker.version.name,
            scenario=ask.scenario,
            variant=ask.variant,
            fallback=slate.fallback_reason,
            items=tuple(items),
            n_events=n_events,
            computed_us=int(self.now_s * 1e6),
            n_filtered=dict(slate.n_filtered),
            notes=slate.notes,
        )


def _of_row(histories: Histories, row: int) -> NDArray[np.int32]:
    return histories.item_ix[histories.offsets[row] : histories.offsets[row + 1]]


def _excludes_seen(policy: Policy, request: Request) -> bool:
    own = policy.exclude_seen if policy.scenario.exclude_seen is None else policy.scenario.exclude_seen
    return own if request.exclude_seen is None else request.exclude_seen


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
