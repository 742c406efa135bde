# SPDX-License-Identifier: Apache-2.0
"""What the data cannot support: the sentences a reader must know before believing a figure.

It reads counts and evaluation rows; each sentence says what follows from what was found.
"""

from __future__ import annotations

from desirepath.report.behaviour import NEEDED
from desirepath.report.comparison import Row, headline_of, headline_rows, overlaps, ranked
from desirepath.report.data import ReportData
from desirepath.report.overview import Overview
from desirepath.report.reliability import calibration_error, came_true
from desirepath.report.theme import many, share

FEW_USERS = 1000
"""Users below which intervals are wide."""
SHORT_DAYS = 14
"""Days below which a weekly rhythm cannot show."""
BAD_CALIBRATION = 0.05
"""Mean error of probabilities that no one should rely on, whatever their size."""
BAD_SHARE = 0.25
"""The same as a share of what came true: next-item probabilities are small, and so are their errors."""
SIMPLE = ("pop", "repeat")
"""Beginnings of the names of rules that learn nothing."""


def cautions(data: ReportData, size: Overview) -> list[str]:
    """The caller's warnings, then those of the log, then those of the models."""
    return [
        *map(str, data.warnings),
        *map(str, data.understanding.get("notes") or ()),
        *_about_time(data, size),
        *_about_size(size),
        *_about_models(data),
        *_about_searches(data),
    ]


def _about_searches(data: ReportData) -> list[str]:
    behaviour = data.behaviour
    if behaviour is None:
        return []
    said = []
    for part in NEEDED:
        if getattr(behaviour, part) is not None and behaviour.is_partial(part):
            why = behaviour.ground_of(part).stopped_by
            said.append(
                f"The search for {part.replace('_', ' ')} ended early{f' ({why})' if why else ''}: what "
                "is shown is a part, and what is missing may be the greater one."
            )
    return said


def _about_time(data: ReportData, size: Overview) -> list[str]:
    if not data.has_time or size.first is None:
        return [
            "The log bears no times: nothing is said of rhythm, sessions or trends, and models were compared "
            "in the order of the rows, which may not be the order of events."
        ]
    said = []
    if not data.has_calendar:
        said.append("The log's moments have no date: hours, weekdays and seasons are unknown.")
    if size.is_day_grained or data.resolution_s >= 86_400:
        said.append("Times are whole days: the order of events within a day is that of the file.")
    if size.span_days < SHORT_DAYS:
        said.append(
            f"The log spans {many(size.span_days, 'day')}: fewer than two weeks cannot show a weekly rhythm."
        )
    return said


def _about_size(size: Overview) -> list[str]:
    said = []
    if size.n_users < FEW_USERS:
        said.append(
            f"Only {many(size.n_users, 'user')}: intervals are wide, and small differences between models "
            "mean little."
        )
    if size.n_events / size.n_users < 3:
        said.append(
            f"A user has {size.n_events / size.n_users:.1f} events on average: most histories are too short "
            "to tell one taste from another."
        )
    if size.n_items > size.n_events / 5:
        said.append(
            f"An item has {size.n_events / size.n_items:.1f} events on average: most items are too rare to "
            "be learned from behaviour alone."
        )
    if size.n_actions == 1:
        said.append("All events are of one kind: nothing can be said of funnels or of what leads to what.")
    again = size.n_events - size.n_pairs
    if again > size.n_events / 2:
        said.append(
            f"{share(again, size.n_events)} of the events return to an item that the user had met: a model "
            "that repeats the past looks good here, so look at the figures with seen items excluded as well."
        )
    return said


def _is_named(row: Row, *beginnings: str) -> bool:
    return str(row["model"]).lower().startswith(beginnings)


def _about_models(data: ReportData) -> list[str]:
    said = []
    rows = headline_rows(data.evaluation.get("rows") or ())
    if rows:
        headline = headline_of(rows, data.evaluation.get("headline"))
        order = ranked(rows, headline)
        popular = next((row for row in order if _is_named(row, "pop")), None)
        if popular is None:
            said.append(
                "No popularity row stands beside the models: it is not known whether they beat counting."
            )
        elif _is_named(order[0], *SIMPLE):
            said.append(
                f"The best by {headline} is a rule that learns nothing, '{order[0]['model']}': no model "
                "beats it on this log."
            )
        elif overlaps(order[0], popular):
            said.append(
                f"The interval of {order[0]['model']} overlaps that of popularity by {headline}: the gain "
                "may be chance."
            )
        if any(row.get("low") is None for row in order):
            said.append(
                f"Some models have no interval by {headline}: their distance to others may be chance."
            )
    if data.calibration is not None and not data.calibration.is_empty():
        error, came = calibration_error(data.calibration), came_true(data.calibration)
        if error > min(BAD_CALIBRATION, BAD_SHARE * came):
            said.append(
                f"Stated probabilities miss by {100 * error:.2g} percentage points on average, where "
                f"{share(came, 1)} came true: use their order, not their size."
            )
    elif data.recommendations is not None:
        said.append("Probabilities were not checked against what came true: use their order, not their size.")
    return said
