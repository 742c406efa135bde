# SPDX-License-Identifier: Apache-2.0
"""Portraits drawn in a terminal: sparklines, a week of hours, short lists.

It reads finished portraits and computes nothing but glyphs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import polars as pl
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from desirepath.profiles.item_portrait import ItemPortrait
    from desirepath.profiles.portrait import UserPortrait

BARS = "▁▂▃▄▅▆▇█"
SHADES = " ░▒▓█"
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
WIDTH = 60
"""Most glyphs of a sparkline; a longer series shows its end."""


def sparkline(values: Iterable[float]) -> str:
    """One bar a value, lowest glyph for 0, highest for the greatest.

    >>> sparkline([0, 1, 2, 4])
    '▁▃▅█'
    """
    numbers = list(values)
    top = max(numbers, default=0)
    if not top > 0:
        return BARS[0] * len(numbers)
    # Whatever is above 0 rises above the lowest glyph.
    places = [max(round(v / top * (len(BARS) - 1)), int(v > 0)) for v in numbers]
    return "".join(BARS[place] for place in places)


def week_map(rhythm: pl.DataFrame) -> list[str]:
    """Seven lines of 24 shades, Monday first, darkest for the busiest hour."""
    top = max(int(rhythm.get_column("n_events").max() or 0), 1)  # type: ignore[arg-type]
    lines = []
    for day, name in enumerate(DAYS, start=1):
        hours = rhythm.filter(pl.col("weekday") == day).sort("hour").get_column("n_events")
        shades = [SHADES[max(round(n / top * (len(SHADES) - 1)), int(n > 0))] for n in hours]
        lines.append(f"{name} {''.join(shades)}")
    return lines


def draw_user(portrait: UserPortrait, console: Console) -> None:
    """Print the portrait of a user."""
    facts = portrait.facts
    _head(console, f"User {portrait.user_id}", portrait.as_of)
    classes = [str(facts[c]) for c in ("activity_class", "rfm_class") if c in facts]
    scores = "".join(str(facts[c]) for c in ("rfm_recency", "rfm_frequency", "rfm_value") if c in facts)
    _line(console, "class", f"{', '.join(classes)}{f' (RFM {scores})' if scores else ''}")
    _line(
        console,
        "activity",
        f"{facts['n_events']:,} events on {facts['n_items']:,} items in {facts['active_days']:,} days, "
        f"{facts['first']:%Y-%m-%d} to {facts['last']:%Y-%m-%d}",
    )
    _line(console, "actions", _counted(facts["actions"]))
    if facts.get("value_sum") is not None:
        _line(console, "value", f"{facts['value_sum']:,.2f}")
    if portrait.prices:
        p = portrait.prices
        _line(
            console,
            "prices",
            f"{p['band']} band: {p['median']:,.2f} ({p['quartile_low']:,.2f} to {p['quartile_high']:,.2f})",
        )
    s = portrait.sessions
    length = s["length_s_median"] / 60
    told = f"{s['n_sessions']:,}, {s['events_per_session']:.1f} events and {length:.1f} min each"
    every = s["days_between_median"]
    _line(console, "sessions", told if every is None else f"{told}, every {every:.1f} days")
    _contexts(console, portrait.contexts)
    if facts.get("traits"):
        _line(
            console,
            "traits",
            ", ".join(f"{n} {_cell(v)}" for n, v in facts["traits"].items() if v is not None),
        )
    _course(console, portrait.step, portrait.timeline, portrait.rhythm)
    _list(console, "Interests", portrait.interests)
    if portrait.segment:
        own = portrait.segment
        console.print()
        _line(console, "segment", f"{own['name']} (confidence {own['confidence']:.2f})")
        _list(console, "Why: marks of the segment that this user shares", own["why"])
    _list(console, "Patterns", portrait.patterns)
    _list(console, "Similar users", portrait.similar)
    _list(console, "Next", portrait.next_actions)
    _list(console, "Latest", portrait.latest)


def draw_item(portrait: ItemPortrait, console: Console) -> None:
    """Print the portrait of an item."""
    facts, life = portrait.facts, portrait.life
    attributes = facts.get("attributes", {})
    _head(console, f"Item {portrait.item_id}", portrait.as_of)
    for name, value in attributes.items():
        if value is not None:
            _line(console, name, str(_cell(value))[:100])
    _line(
        console,
        "activity",
        f"{facts['n_events']:,} events of {facts['n_users']:,} users ({facts['events_per_user']:.1f} each)",
    )
    _line(console, "actions", _counted(facts["actions"]))
    growth = "" if life["growth"] is None else f", last 7 days x{life['growth']:.2f}"
    half = "" if life["half_life_days"] is None else f", half-life since {life['half_life_days']:.1f} days"
    _line(
        console,
        "life",
        f"{life['phase']}, {life['age_days']:.0f} days old{growth}, peak {life['peak']}{half}",
    )
    _contexts(console, portrait.contexts)
    _course(console, portrait.step, portrait.timeline, portrait.rhythm)
    _list(console, "Who: segments", portrait.segments.drop("segment"))
    for direction, title in (("before", "Just before"), ("after", "Just after")):
        _list(console, title, portrait.around.filter(pl.col("direction") == direction).drop("direction"))


def _head(console: Console, title: str, as_of: Any) -> None:
    console.print(Text(f"{title}  ", style="bold") + Text(f"as of {as_of:%Y-%m-%d %H:%M} UTC", style="dim"))


def _line(console: Console, name: str, text: str) -> None:
    console.print(Text(f"{name:<11}", style="dim") + Text(text))


def _counted(actions: dict[str, int]) -> str:
    return ", ".join(f"{n:,} {name}" for name, n in actions.items())


def _contexts(console: Console, table: pl.DataFrame) -> None:
    for kind in table.get_column("kind").unique(maintain_order=True).to_list():
        rows = table.filter(pl.col("kind") == kind)
        words = [f"{v} {share:.0%}" for v, share in rows.select("value", "share").iter_rows()]
        _line(console, str(kind), ", ".join(words))


def _course(console: Console, step: str, timeline: pl.DataFrame, rhythm: pl.DataFrame) -> None:
    # Weeks of silence after the last event say nothing that the head has not said.
    n = timeline.get_column("n_events")
    shown = timeline.head(int((n > 0).arg_true().max() or 0) + 1).tail(WIDTH)  # type: ignore[arg-type]
    console.print()
    top = timeline.get_column("n_events").max()
    _line(
        console,
        f"per {step}",
        f"{sparkline(shown.get_column('n_events'))}  from {shown.item(0, 'start')}, top {top!s}",
    )
    console.print()
    console.print(Text("    0     6     12    18", style="dim"))
    for line in week_map(rhythm):
        console.print(Text(line))


def _list(console: Console, title: str, table: pl.DataFrame | None) -> None:
    if table is None or table.is_empty():
        return
    shown = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column in table.columns:
        numeric = table.schema[column].is_numeric()
        shown.add_column(column, justify="right" if numeric else "left", overflow="ellipsis", no_wrap=True)
    for row in table.iter_rows():
        shown.add_row(*_cells(row))
    console.print()
    console.print(shown)


def _cells(row: Sequence[Any]) -> list[Text]:
    return [Text(_cell(value)) for value in row]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    if isinstance(value, list | tuple):
        return ", ".join(_cell(entry) for entry in value)
    return value.strftime("%Y-%m-%d %H:%M") if isinstance(value, datetime) else str(value)
