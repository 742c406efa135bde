# SPDX-License-Identifier: Apache-2.0
"""Which settings of the model of times are best, judged before the test begins.

    .venv/bin/python benchmarks/timing.py deskdrop                # one record a log
    .venv/bin/python benchmarks/timing.py movielens back_off      # one setting more into that record
    .venv/bin/python benchmarks/timing.py choose                  # what the records say of each setting
    .venv/bin/python benchmarks/timing.py together                # all settings in force against those before

The newest tenth of each log, on which `prediction.py` reports, is cut off first and never read. The rest is
cut twice more: fitted on its oldest 80% and judged on the next 10%; fitted on 90% and judged on the last 10%.
Each setting is changed alone. It is better where the log loss of P(an event within an hour, a day, a week),
just after events and at the cut, as a share of the crowd's, falls by over two standard errors over users.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np

from desirepath.models.timing import Timing, TimingConfig
from desirepath.recommend.prediction import HORIZONS_S
from desirepath.sequences import Sequences
from desirepath.sequences.splits import split_temporal
from prediction import LOGS, MOST, OLDER, asked, crowd, waits
from record import RESULTS, record

MOST_EVENTS = 120_000
"""Events of a log that are looked at: whole users, drawn at random."""
OTHERS: dict[str, tuple[float, ...]] = {
    "back_off": (0.5, 1.0, 2.0, 10.0, 20.0, 50.0),
    "max_gaps": (10, 20, 60, 120, 250),
    "rounds": (3, 10),
    "lasting": (0.0, 0.25, 0.75, 1.0),
    "recent": (0.05, 0.2),
    "level_events": (10.0, 200.0),
    "hour_events": (10.0, 250.0, float("inf")),
}
"""What each setting is tried at, beside what it is."""
Floats = np.ndarray[Any, np.dtype[np.float64]]


def periods(log: Sequences) -> list[tuple[Sequences, Sequences, float]]:
    """(What is learned from, what is known at the end, where it is cut): twice, all before the test's cut."""
    before = split_temporal(log, validation="none").full
    if before.n_events > MOST_EVENTS:
        order = np.random.default_rng(0).permutation(before.n_users)
        kept = np.zeros(before.n_users, np.bool_)
        kept[order[np.cumsum(before.lengths[order]) <= MOST_EVENTS]] = True
        before = before.select(np.repeat(kept, before.lengths))
    time_s = np.asarray(before.time_s)
    first, second = np.quantile(time_s, [0.8, 0.9])
    return [
        (before.select(time_s < first), before.select(time_s < second), float(first)),
        (before.select(time_s < second), before, float(second)),
    ]


def surprises(config: TimingConfig, log: Sequences) -> Floats:
    """(U, C) log loss over that of the crowd, by user, so that columns add up to one mean ratio each.

    A column is a period, a moment and a horizon; left out are those with fewer than 200 whole horizons, and
    those that fewer than 20 events came in, or failed to.
    """
    columns = []
    for train, known, cut_s in periods(log):
        end_s = float(np.max(known.time_s))
        found = Timing(config).fit(train, until_s=cut_s)
        after = np.flatnonzero(np.asarray(known.time_s) >= cut_s)
        if len(after) > MOST:
            after = np.sort(np.random.default_rng(0).choice(after, MOST, replace=False))
        owner = np.searchsorted(known.offsets, after, side="right") - 1
        there = np.flatnonzero(train.lengths > 0)
        rows = np.asarray(known.offsets)[there] + train.lengths[there]
        for queries, at_cut in (
            (asked(known, owner, after + 1, np.asarray(known.time_s)[after]), False),
            (asked(known, there, rows, np.full(len(there), cut_s)), True),
        ):
            wait, chance_QH = waits(known, queries), found.outlook(queries).within(HORIZONS_S)
            for h, horizon in enumerate(HORIZONS_S):
                whole = queries.now_s + horizon <= end_s
                came = wait[whole] <= horizon
                if whole.sum() < 200 or not 20 <= came.sum() <= whole.sum() - 20:
                    continue
                share = float(came.mean()) if at_cut else crowd(train, horizon)
                plain = -np.log(np.where(came, share, 1.0 - share)).mean()
                loss = -np.log(np.where(came, chance_QH[whole, h], 1.0 - chance_QH[whole, h]))
                user = queries.user_ix[whole]
                columns.append(np.bincount(user, loss, known.n_users) / (plain * whole.sum()))
    return np.stack(columns, axis=1)


def compared(log: Sequences, names: list[str]) -> dict[str, Any]:
    """The mean ratio of the settings in force, and what each other value takes off it, with its error."""
    base_UC = surprises(TimingConfig(), log)
    figures: dict[str, Any] = {"columns": base_UC.shape[1], "ratio": float(base_UC.sum(axis=0).mean())}
    for name in names:
        for value in OTHERS[name]:
            gain_U = (base_UC - surprises(TimingConfig(**{name: value}), log)).mean(axis=1)
            error = float(np.sqrt(len(gain_U) * gain_U.var(ddof=1)))
            figures[f"{name}={value:g}"] = {"gain": float(gain_U.sum()), "error": error}
    return figures


def newest(log: str) -> dict[str, Any]:
    """The figures of the newest record of a log; empty where there is none."""
    paths = sorted(RESULTS.glob(f"*-timing-{log}.json"))
    figures: dict[str, Any] = json.loads(paths[-1].read_text())["figures"] if paths else {}
    return figures


def choose() -> dict[str, Any]:
    """Every log weighs the same: the best value of each setting, where surely better than that in force."""
    read = {log: figures for log in LOGS if (figures := newest(log))}
    ratio = float(np.mean([one["ratio"] for one in read.values()]))
    figures: dict[str, Any] = {"logs": list(read), "ratio": ratio}
    for name, values in OTHERS.items():
        tried = {}
        for value in values:
            found = [one[f"{name}={value:g}"] for one in read.values()]
            error = float(np.sqrt(sum(one["error"] ** 2 for one in found))) / len(found)
            tried[value] = {"gain": float(np.mean([one["gain"] for one in found])), "error": error}
        best = max(tried, key=lambda value: tried[value]["gain"])
        surely = tried[best]["gain"] > 2 * tried[best]["error"]
        figures[name] = {
            "in_force": getattr(TimingConfig(), name),
            "chosen": best if surely else getattr(TimingConfig(), name),
            **{f"{value:g}": found for value, found in tried.items()},
        }
    return figures


def together(log: Sequences) -> dict[str, Any]:
    """What the settings in force take off the mean ratio of those before, with its error."""
    figures = {}
    now_UC = surprises(TimingConfig(), log)
    for name, config in OLDER.items():
        gain_U = (surprises(config, log) - now_UC).mean(axis=1)
        error = float(np.sqrt(len(gain_U) * gain_U.var(ddof=1)))
        figures[name] = {"gain": float(gain_U.sum()), "error": error}
    return figures


def main() -> None:
    """Measure, print and keep."""
    log, *names = sys.argv[1:]
    if log == "choose":
        record("timing-choice", choose())
        return
    if log == "together":
        record("timing-together", {name: together(LOGS[name]()) for name in names or LOGS})
        return
    found = compared(LOGS[log](), names or list(OTHERS))
    record(f"timing-{log}", (newest(log) if names else {}) | found)


if __name__ == "__main__":
    main()
