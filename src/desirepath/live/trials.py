# SPDX-License-Identifier: Apache-2.0
"""Experiments at work: who gets which variant of a list, and two variants mixed into one.

It decides and mixes; lists are made by the engine, and judged in `results`.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from desirepath.live.answer import Ask, Reply
from desirepath.recommend.assignment import ExperimentConfig
from desirepath.recommend.interleaving import team_draft

MODEL = "model:"
"""Before the name of a version that a variant answers with."""
TEAM = "team"
"""Kind of the reason that says which variant chose an item of a mixed list."""


@dataclass(frozen=True, slots=True)
class Trial:
    """The asks that answer one request: one, or the two that are mixed."""

    asks: tuple[Ask, ...]
    experiment: ExperimentConfig | None = None


def trial_of(ask: Ask, experiments: Mapping[str, ExperimentConfig], now: datetime | None = None) -> Trial:
    """What is to be asked in place of `ask`, by the experiment that runs on its scenario, if one does.

    Who has no id takes part in none: nobody could be told apart by it.
    """
    if ask.user_id is None or ask.rules is not None or ask.variant is not None:
        return Trial((ask,))
    now = now or datetime.now(UTC)
    for experiment in experiments.values():
        if experiment.scenario != ask.scenario or not experiment.runs(now):
            continue
        variant = experiment.variant(ask.user_id)
        if variant is None:
            continue
        if experiment.kind == "interleaving":
            return Trial(tuple(_as(ask, experiment, name) for name in experiment.variants), experiment)
        return Trial((_as(ask, experiment, variant),), experiment)
    return Trial((ask,))


def answered(trial: Trial, answer: Callable[[Ask], Future[Reply]]) -> Future[Reply]:
    """The reply to a trial; of two lists, the mixed one."""
    futures = [answer(ask) for ask in trial.asks]
    if len(futures) == 1:
        return futures[0]
    whole: Future[Reply] = Future()
    whole.set_running_or_notify_cancel()
    waiting, lock = [len(futures)], threading.Lock()

    def one_came(_: Future[Reply]) -> None:
        with lock:
            waiting[0] -= 1
            if waiting[0]:
                return
        error = next((found for future in futures if (found := future.exception()) is not None), None)
        if error is not None:
            whole.set_exception(error)
        else:
            whole.set_result(mixed(trial, [future.result() for future in futures]))

    for future in futures:
        future.add_done_callback(one_came)
    return whole


def mixed(trial: Trial, replies: list[Reply]) -> Reply:
    """Two lists as one, each item marked with the variant that chose it."""
    assert trial.experiment is not None
    name, (first, second) = trial.experiment.name, replies
    shown = {one.item_id: one for reply in (second, first) for one in reply.items}
    place = {item_id: ix for ix, item_id in enumerate(shown)}
    ids = list(shown)
    recommendation_id = uuid.uuid4().hex
    k = max(len(first.items), len(second.items), 1)
    rankings = [[place[one.item_id] for one in reply.items] for reply in replies]
    draft = team_draft(rankings[0], rankings[1], k, f"{name}\n{recommendation_id}")
    sides = [{one.item_id: one for one in reply.items} for reply in replies]
    items = []
    for ix, team in zip(draft.item_ix.tolist(), draft.team.tolist(), strict=True):
        one = sides[team].get(ids[ix], shown[ids[ix]])
        items.append(
            replace(one, reasons=(*one.reasons, {"kind": TEAM, "rule": name, "amount": float(team)}))
        )
    return replace(
        first,
        recommendation_id=recommendation_id,
        variant=name,
        scenario=trial.experiment.scenario,
        items=tuple(items),
        fallback=first.fallback or second.fallback,
    )


def variant_name(experiment: str, variant: str) -> str:
    """What lists of a variant are kept under.

    >>> variant_name("rows", "new")
    'rows:new'
    """
    return f"{experiment}:{variant}"


def _as(ask: Ask, experiment: ExperimentConfig, variant: str) -> Ask:
    target = experiment.variants[variant]
    name = variant_name(experiment.name, variant)
    if target.startswith(MODEL):
        return replace(ask, version=target.removeprefix(MODEL), variant=name)
    return replace(ask, scenario=target, variant=name)
