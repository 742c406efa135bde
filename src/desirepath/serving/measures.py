# SPDX-License-Identifier: Apache-2.0
"""What the service counts and times, as Prometheus reads it: base units, and never an id as a label.

Every application has its own registry. Each sample says which project it is of, so that a key of one project
reads nothing of another's traffic.
"""

from __future__ import annotations

import threading
import time
from collections import Counter as Tally
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from datetime import datetime
from functools import partial

import numpy as np
from fastapi import Request
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import Metric

from desirepath.live.answer import Ask, Reply
from desirepath.live.project import Project
from desirepath.live.store import Row, now_us

CONTENT_TYPE = CONTENT_TYPE_LATEST
BOUNDS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
MOST_ACTIONS = 50
MOST_SCENARIOS = 50
MOST_REASONS = 20
OTHER = "(other)"


class Words:
    """A label whose values come from outside: the first `most` of them as they are, the rest as one.

    >>> words = Words(2)
    >>> [words.take(word) for word in ("view", "buy", "view", "x1", "x2")]
    ['view', 'buy', 'view', '(other)', '(other)']
    """

    def __init__(self, most: int) -> None:
        """None is known at first."""
        self._most = most
        self._known: set[str] = set()

    def take(self, word: str) -> str:
        """The word itself, or what stands for all further ones."""
        if word not in self._known:
            if len(self._known) >= self._most:
                return OTHER
            self._known.add(word)
        return word


class Delays:
    """A histogram of a project's times, filled many at once: one search and one count for a whole batch."""

    def __init__(self) -> None:
        """Nothing was counted yet."""
        self._n = np.zeros(len(BOUNDS_S) + 1, dtype=np.int64)
        self._sum_s = 0.0
        self._lock = threading.Lock()

    def add(self, delay_s: NDArray[np.float64]) -> None:
        """Count times in seconds."""
        place = np.searchsorted(BOUNDS_S, delay_s)
        with self._lock:
            self._n += np.bincount(place, minlength=len(self._n))
            self._sum_s += float(delay_s.sum())

    def read(self) -> tuple[list[tuple[str, float]], float]:
        """Buckets as Prometheus means them, each with all below it, and the sum."""
        with self._lock:
            total, sum_s = np.cumsum(self._n).tolist(), self._sum_s
        bounds = [*(str(bound) for bound in BOUNDS_S), "+Inf"]
        return list(zip(bounds, map(float, total), strict=True)), sum_s


class Measures:
    """The counters of one application, and what is read off its projects whenever someone asks."""

    def __init__(self, projects: Mapping[str, Project]) -> None:
        """Count everything that happens to these projects from now on."""
        self.registry = CollectorRegistry(auto_describe=True)
        self._projects = dict(projects)
        self._declare()
        self._delays = {name: Delays() for name in projects}
        self._actions = {name: Words(MOST_ACTIONS) for name in projects}
        self._scenarios = {name: Words(MOST_SCENARIOS) for name in projects}
        self._reasons = Words(MOST_REASONS)
        self._routes: dict[tuple[str, str, str, int], tuple[Counter, Histogram]] = {}
        self._lists: dict[tuple[str, str, str, str], tuple[Counter, Histogram]] = {}
        self.registry.register(_State(self._projects, self._delays))
        ProcessCollector(registry=self.registry)
        for name, project in self._projects.items():
            project.listeners.append(partial(self._kept, name))
            project.watchers.append(partial(self._asked, name))

    def _declare(self) -> None:
        registry = self.registry
        self._http = Counter(
            "desirepath_http_requests",
            "Requests answered.",
            ["project", "method", "route", "status"],
            registry=registry,
        )
        self._http_s = Histogram(
            "desirepath_http_request_duration_seconds",
            "From the first byte of a request to the last of its answer.",
            ["project", "route"],
            buckets=BOUNDS_S,
            registry=registry,
        )
        self.under_way = Gauge(
            "desirepath_http_requests_under_way", "Requests that are being answered.", registry=registry
        )
        self._ingested = Counter(
            "desirepath_events_ingested",
            "Events that came, by what became of them: kept, known (sent again) or rejected.",
            ["project", "action", "result"],
            registry=registry,
        )
        self._asked_n = Counter(
            "desirepath_recommend_requests",
            "Lists that were asked for, by how they were answered: model, fallback or error.",
            ["project", "scenario", "model", "status"],
            registry=registry,
        )
        self._asked_s = Histogram(
            "desirepath_recommend_latency_seconds",
            "From asking for a list to having it, without HTTP.",
            ["project", "scenario"],
            buckets=BOUNDS_S,
            registry=registry,
        )
        self._fallback = Counter(
            "desirepath_fallback",
            "Lists that were not the model's alone, by why.",
            ["project", "reason"],
            registry=registry,
        )

    def answered(self, labels: tuple[str, str, str, int], seconds: float) -> None:
        """Count a request: (project, method, route, status), and how long it took."""
        found = self._routes.get(labels)
        if found is None:  # looking one up in the library costs more than counting
            project, method, route, status = labels
            counter = self._http.labels(project, method, route, str(status))
            found = self._routes[labels] = counter, self._http_s.labels(project, route)
        counter, histogram = found
        counter.inc()
        histogram.observe(seconds)

    def not_kept(self, project: str, actions: Iterable[str], n_rejected: int) -> None:
        """Count events that were known before, by action, and rows that were no valid events."""
        for action, n in Tally(map(self._actions[project].take, actions)).items():
            self._ingested.labels(project, action, "known").inc(n)
        if n_rejected:
            self._ingested.labels(project, "", "rejected").inc(n_rejected)

    def exposition(self, project: str | None) -> bytes:
        """All samples as text; only those of `project` and of the process where one is named."""
        if project is None:
            return generate_latest(self.registry)
        return generate_latest(_Only(self.registry, project))

    def _kept(self, project: str, rows: list[Row]) -> None:
        """What was just kept is known to every answer from now on."""
        received_us = np.fromiter((row["received_us"] for row in rows), np.int64, len(rows))
        self._delays[project].add(np.maximum(now_us() - received_us, 0) / 1e6)
        for action, n in Tally(row["action"] for row in rows).items():
            self._ingested.labels(project, self._actions[project].take(action), "kept").inc(n)

    def _asked(self, project: str, ask: Ask, reply: Future[Reply]) -> None:
        began = time.perf_counter()
        reply.add_done_callback(lambda done: self._replied(project, ask, done, began))

    def _replied(self, project: str, ask: Ask, done: Future[Reply], began: float) -> None:
        if done.cancelled():
            return
        if done.exception() is not None:
            # The scenario of a failed request may be anything at all.
            self._asked_n.labels(project, "", "", "error").inc()
            return
        reply = done.result()
        scenario = self._scenarios[project].take(ask.scenario)
        status = "model" if reply.fallback is None else "fallback"
        labels = project, scenario, reply.model_version, status
        found = self._lists.get(labels)
        if found is None:
            found = self._asked_n.labels(*labels), self._asked_s.labels(project, scenario)
            self._lists[labels] = found
        found[0].inc()
        found[1].observe(time.perf_counter() - began)
        if reply.fallback is not None:
            self._fallback.labels(project, self._reasons.take(reply.fallback)).inc()


def measures_of(request: Request) -> Measures:
    """The measures of the application that a request was made to."""
    measures: Measures = request.app.state.measures
    return measures


class _State:
    """A collector of what projects are now."""

    def __init__(self, projects: Mapping[str, Project], delays: Mapping[str, Delays]) -> None:
        self._projects, self._delays = projects, delays

    def describe(self) -> Iterable[Metric]:
        """Nothing, so that registering costs no look at the projects."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The state of every project at this moment."""
        info = InfoMetricFamily("desirepath_model", "The model that answers.", labels=["project"])
        delay = HistogramMetricFamily(
            "desirepath_event_to_serve_seconds",
            "From the receipt of an event until every answer knows it.",
            labels=["project"],
        )
        gauges = {
            name: GaugeMetricFamily(name, text, labels=["project"])
            for name, text in {
                "desirepath_model_age_seconds": "Since the answering model was made.",
                "desirepath_model_data_age_seconds": "Since the last event that the model learned from.",
                "desirepath_catalog_items": "Items that are known.",
                "desirepath_users": "Users and anonymous sessions that are known.",
                "desirepath_live_events": "Events in memory, those since the log was packed.",
                "desirepath_store_waiting_events": "Rows that wait to be written.",
            }.items()
        }
        for name, project in self._projects.items():
            version = project.engine.version
            info.add_metric([name], {"version": version.name, "model": version.model.name})
            buckets, sum_s = self._delays[name].read()
            delay.add_metric([name], buckets, sum_s)
            values = {
                "desirepath_model_age_seconds": _age_s(version.made.get("made_at") or _stamp(version.name)),
                "desirepath_model_data_age_seconds": _age_s(version.made.get("trained_until_s")),
                "desirepath_catalog_items": len(project.catalogue.ids) - 2,
                "desirepath_users": len(project.states),
                "desirepath_live_events": project.states.n_live,
                "desirepath_store_waiting_events": project.store.n_waiting,
            }
            for metric, value in values.items():
                if value is not None:
                    gauges[metric].add_metric([name], value)
        yield info
        yield delay
        yield from gauges.values()


class _Only:
    """A registry seen by who may know of one project."""

    def __init__(self, registry: CollectorRegistry, project: str) -> None:
        self._registry, self._project = registry, project

    def collect(self) -> Iterator[Metric]:
        """The metrics, without the samples of other projects."""
        for metric in self._registry.collect():
            kept = Metric(metric.name, metric.documentation, metric.type)
            kept.samples = [
                s for s in metric.samples if s.labels.get("project", self._project) == self._project
            ]
            yield kept


def _stamp(name: str) -> str | None:
    """When a version was made, by a name such as 20261122T101500-sasrec."""
    stamp = name.partition("-")[0]
    return f"{stamp}Z" if len(stamp) == 15 and stamp.replace("T", "").isdigit() else None


def _age_s(moment: object) -> float | None:
    """Seconds since a moment told as seconds or as RFC 3339 text; None where it is not known."""
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment).timestamp()  # of any ISO 8601 form, basic ones too
    return time.time() - float(moment) if isinstance(moment, int | float) else None
