# SPDX-License-Identifier: Apache-2.0
"""Why an item is in a list, what someone does next and when: of the histories that answers read."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from desirepath.errors import ConfigError, DataError, TooLittleData
from desirepath.live.answer import Answering, Ask, Shown
from desirepath.live.engine import Engine
from desirepath.live.memory import Memory
from desirepath.live.ranker import Ranker
from desirepath.models.base import Model
from desirepath.models.popularity import DecayedPopularity
from desirepath.recommend.explanation import explain
from desirepath.recommend.prediction import Predictor
from desirepath.recommend.remarks import KINDS
from desirepath.recommend.sentences import Evidence, Language, Source, because
from desirepath.schema import FIRST
from desirepath.sequences import Sequences
from desirepath.workspace import Workspace

MOST_ITEMS = 100
"""Items explained at once."""
SOURCES: Mapping[str, Source] = {
    "model": "model",
    "trending": "trending",
    "popular": "popular",
    "similar": "similar",
    "pin": "pinned",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """One item explained."""

    item_id: str
    title: str | None
    probability: float | None
    probability_without_history: float | None
    """What somebody without a history would get; None without a calibration."""
    sentence: str
    events: list[dict[str, Any]]
    """What leaving out each event would change, the strongest first: item_id, title, action, time_s,
    probability_without, change, log_odds_change."""


class Insight:
    """Explanations and predictions of one project."""

    def __init__(self, engine: Engine, memory: Memory, base: Sequences, workspace: Workspace) -> None:
        """Ask the engine's current version; the predictor is opened at the first question."""
        self._engine, self._memory, self._base, self._workspace = engine, memory, base, workspace
        self._nobody: tuple[str, Model] | None = None

    def explain(self, ask: Ask, shown: Sequence[Shown], language: Language = "en") -> list[Why]:
        """What brought each item here, by leaving out one event of the history at a time.

        Items that the model does not know, and people unknown to it, have a sentence but no events.

        Raises:
            ConfigError: there are too many items.

        Cost: one forward of as many histories as events are examined, at most 50.
        """
        if len(shown) > MOST_ITEMS:
            raise ConfigError(f"At most {MOST_ITEMS} items are explained at once; got {len(shown)}.")
        memory, ranker = self._memory, self._engine.ranker_of(ask.version)
        answering = Answering(ranker, memory, self._engine.scenarios, time.time())
        histories = answering.histories([ask])
        queries = ranker.queries(histories, memory.actions.vocabulary, answering.now_s)
        item_K = ranker.to_model(memory.catalogue.indexes(one.item_id for one in shown))
        known = np.flatnonzero(item_K >= FIRST)
        if not len(known) or not ranker.knows(histories)[0]:
            return [self._untold(one, language) for one in shown]
        version = ranker.version
        found = explain(
            version.model,
            queries,
            item_K[None, known],
            calibration=version.calibration,
            fallback=self._for_nobody(ranker),
        )
        titles = self._titles(histories.item_ix)
        events = found.events(version.items).partition_by("item_id", as_dict=True)
        column = {shown[place].item_id: k for k, place in enumerate(known.tolist())}
        told = []
        for one in shown:
            k = column.get(one.item_id)
            if k is None:
                told.append(self._untold(one, language))
                continue
            source, policy = _policy(one)
            evidence = Evidence.of(
                found, 0, k, items=version.items, titles=titles, source=source, policy=policy
            )
            rows = events[(one.item_id,)].iter_rows(named=True)
            told.append(
                Why(
                    item_id=one.item_id,
                    title=one.title,
                    probability=float(found.probability_QK[0, k]) if found.calibrated else None,
                    probability_without_history=(
                        float(found.empty_probability_QK[0, k]) if found.calibrated else None
                    ),
                    sentence=because(evidence, language),
                    events=[
                        {
                            "item_id": row["event_item_id"],
                            "title": titles.get(row["event_item_id"]),
                            "action": row["action"],
                            "time_s": row["time"].timestamp(),
                            "probability_without": row["probability_without"] if found.calibrated else None,
                            "change": row["change"] if found.calibrated else None,
                            "log_odds_change": row["log_odds_change"],
                        }
                        for row in rows
                    ],
                )
            )
        return told

    def shown(self, item_ids: Sequence[str]) -> list[Shown]:
        """Items as a list would show them that nobody made, to be explained.

        Raises:
            DataError: an item is not known.
        """
        for item_id in item_ids:
            if self._memory.catalogue.index(item_id) is None:
                raise DataError(f"Item '{item_id[:80]}' is not known. Look it up with GET /v1/items?q=.")
        return [
            Shown(
                item_id=item_id,
                title=self._memory.catalogue.title(item_id),
                score=None,
                probability=None,
                propensity=1.0,
                reasons=({"kind": "source", "source": "model"},),
            )
            for item_id in item_ids
        ]

    def predict(self, ask: Ask, k: int = 10) -> dict[str, Any]:
        """What someone does next, and when.

        Gives the likeliest actions with calibrated probabilities, the time until the next event (median, and
        an interval that holds it in 80 of 100 cases; null where the log cannot tell), P(an event within 1 h,
        1 d, 7 d), and the likeliest items.

        Raises:
            TooLittleData: the log cannot support a prediction.
        """
        predictor = self._predictor
        if predictor is None:
            raise TooLittleData("No user of the log has two events, so that nothing comes next in it.")
        memory, ranker = self._memory, self._engine.ranker_of(ask.version)
        now_s = time.time()
        answering = Answering(ranker, memory, self._engine.scenarios, now_s)
        queries = ranker.queries(answering.histories([ask]), memory.actions.vocabulary, now_s)
        said = predictor.predict(queries, now_s)
        order = np.argsort(-said.probability_QA[0], kind="stable")[:k]
        within = [_finite(value) for value in said.within_QH[0].tolist()]
        return {
            "actions": [
                {"action": action, "probability": float(said.probability_QA[0, place])}
                for action, place in zip(
                    said.actions.decode(order + FIRST).to_list(), order.tolist(), strict=True
                )
            ],
            "expected_s": {
                "median": _finite(float(said.median_s[0])),
                "low": _finite(float(said.low_s[0])),
                "high": _finite(float(said.high_s[0])),
            },
            "within": {"1h": within[0], "1d": within[1], "7d": within[2]},
            "n_events": int(queries.lengths[0]),
        }

    @cached_property
    def _predictor(self) -> Predictor | None:
        folder = self._workspace.run("predictor")
        if folder.exists():
            return Predictor.load(folder)
        try:
            return Predictor().fit(self._base)
        except TooLittleData:
            return None

    def _for_nobody(self, ranker: Ranker) -> Model:
        """What somebody without a history would get: what is popular, as the model's items are numbered."""
        name = ranker.version.name
        if self._nobody is None or self._nobody[0] != name:
            self._nobody = (name, DecayedPopularity().fit(ranker.recoded(self._base)))
        return self._nobody[1]

    def _titles(self, item_ix: np.ndarray[Any, Any]) -> dict[str, str]:
        catalogue = self._memory.catalogue
        names = (catalogue.ids[ix] for ix in np.unique(item_ix[item_ix >= FIRST]).tolist())
        return {name: title for name in names if (title := catalogue.title(name)) is not None}

    def _untold(self, one: Shown, language: Language) -> Why:
        """An item of which only its source can be told."""
        source, policy = _policy(one)
        if source == "model":
            source = "fallback"
        evidence = Evidence(source=source, policy=policy)
        return Why(
            item_id=one.item_id,
            title=one.title,
            probability=one.probability,
            probability_without_history=None,
            sentence=because(evidence, language),
            events=[],
        )


def _policy(shown: Shown) -> tuple[Source, tuple[Mapping[str, Any], ...]]:
    """Where an item comes from and what the policy did to it, as sentences are made of."""
    source: Source = "fallback"
    records: list[Mapping[str, Any]] = []
    for reason in shown.reasons:
        if reason["kind"] == "source":
            source = SOURCES.get(reason["source"], "fallback")
        elif reason["kind"] == "exploration":
            source = "explored"
            records.append({**reason, "propensity": shown.propensity})
        elif reason["kind"] in KINDS:
            records.append(reason)
    return source, tuple(records)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
