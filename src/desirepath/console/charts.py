# SPDX-License-Identifier: Apache-2.0
"""ECharts options in the look of the console: one function a kind of chart, from plain numbers.

Colours are middle tones that are legible on light and on dark, so that a chart need not know which it is on.
Names go in as plain text; the chart library escapes them in its tooltips.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from nicegui import ui

from desirepath.report.theme import ACCENT, COLOURS, FONTS, QUIET

INK: Final = "#808a98"
LINE: Final = "rgba(128,138,152,0.22)"
NAMES: Final = {"color": INK, "width": 190, "overflow": "truncate"}
TIP: Final = {
    "confine": True,
    "backgroundColor": "var(--dp-card)",
    "borderColor": "var(--dp-line)",
    "textStyle": {"color": "var(--dp-ink)", "fontSize": 13},
}
"""A tooltip is plain HTML, so that it takes the page's own colours."""
LEFT: Final = {"color": INK, "align": "left", "padding": [0, 0, 0, -24]}
Options = dict[str, Any]
_SPAN = (
    "(p, api) => { const at = k => api.coord([api.value(k), api.value(0)]), a = at(1), b = at(2), c = at(3);"
    " const s = {stroke: api.visual('color'), lineWidth: 2};"
    " return {type: 'group', children: ["
    "{type: 'line', shape: {x1: b[0], y1: b[1], x2: c[0], y2: c[1]}, style: s},"
    "{type: 'circle', shape: {cx: a[0], cy: a[1], r: 5}, style: {fill: api.visual('color')}}]}; }"
)


def draw(options: Options, height: int = 280) -> ui.echart:
    """A chart of that height in pixels."""
    return ui.echart(options).style(f"height: {height}px")


def base(**more: Any) -> Options:
    """What all charts share."""
    return {
        "color": list(COLOURS),
        "textStyle": {"fontFamily": FONTS, "color": INK},
        "animationDuration": 400,
        "grid": {"left": 8, "right": 16, "top": 28, "bottom": 8, "containLabel": True},
        "tooltip": {**TIP, "trigger": "item"},
        "aria": {"enabled": True},
        **more,
    }


def axis(kind: str, name: str = "", **more: Any) -> Options:
    """An axis with its name and unit."""
    made: Options = {
        "type": kind,
        "nameTextStyle": {"color": INK},
        "axisLine": {"lineStyle": {"color": LINE}},
        "axisTick": {"show": False},
        "axisLabel": {"color": INK, "hideOverlap": True},
        "splitLine": {"show": kind != "category", "lineStyle": {"color": LINE}},
        **more,
    }
    return made | ({"name": name} if name else {})


def legend(**more: Any) -> Options:
    """A quiet legend above the chart."""
    return {"type": "scroll", "top": 0, "left": 0, "textStyle": {"color": INK}, "icon": "roundRect",
            "itemWidth": 10, "itemHeight": 10, "pageTextStyle": {"color": INK}, **more}  # fmt: skip


def stacked(
    labels: Sequence[str], series: Mapping[str, Sequence[float]], unit: str, *, line: bool = False
) -> Options:
    """Bars (or areas) over time, one colour a series."""
    kind: Options = {"type": "bar", "stack": "all", "barCategoryGap": "25%"}
    if line:
        kind = {"type": "line", "stack": "all", "showSymbol": False, "areaStyle": {"opacity": 0.25}}
    return base(
        tooltip={**TIP, "trigger": "axis"},
        legend=legend(show=len(series) > 1),
        grid={
            "left": 8,
            "right": 16,
            "top": 56 if len(series) > 1 else 32,
            "bottom": 8,
            "containLabel": True,
        },
        xAxis=axis("category", data=list(labels)),
        yAxis=axis("value", unit, minInterval=1, nameTextStyle=LEFT),
        series=[{**kind, "name": name, "data": list(values)} for name, values in series.items()],
    )


def bars(names: Sequence[str], values: Sequence[float], unit: str, *, colour: str = ACCENT) -> Options:
    """Horizontal bars, the first on top."""
    return base(
        tooltip={**TIP, "trigger": "axis", "axisPointer": {"type": "shadow"}},
        grid={"left": 8, "right": 28, "top": 8, "bottom": 24, "containLabel": True},
        xAxis=axis("value", unit, nameLocation="middle", nameGap=28),
        yAxis=axis(
            "category", data=list(names), inverse=True, axisLabel=NAMES
        ),
        series=[{"type": "bar", "name": unit, "data": list(values), "itemStyle": {"color": colour,
                 "borderRadius": [0, 3, 3, 0]}, "barMaxWidth": 16}],
    )  # fmt: skip


def intervals(
    names: Sequence[str],
    spans: Sequence[tuple[float, float, float]],
    unit: str,
    *,
    log: bool = False,
    colours: Sequence[str] = (),
) -> Options:
    """A dot with its interval (value, low, high) for each name, the first on top."""
    data = [
        {"name": name, "value": [place, *span],
         "itemStyle": {"color": colours[place] if colours else ACCENT}}
        for place, (name, span) in enumerate(zip(names, spans, strict=True))
    ]  # fmt: skip
    return base(
        grid={"left": 8, "right": 28, "top": 8, "bottom": 26, "containLabel": True},
        xAxis=axis("log" if log else "value", unit, nameLocation="middle", nameGap=30, scale=not log),
        yAxis=axis(
            "category",
            data=list(names),
            inverse=True,
            axisLabel={"color": INK, "width": 230, "overflow": "truncate", "interval": 0},
            splitLine={"show": True, "lineStyle": {"color": LINE}},
        ),
        tooltip={**TIP, ":formatter": _INTERVAL},
        series=[{"type": "custom", ":renderItem": _SPAN, "data": data,
                 "encode": {"x": [1, 2, 3], "y": 0}, "clip": True}],
    )  # fmt: skip


_ESCAPED = "(t => String(t).replace(/[&<>\"']/g, c => '&#' + c.charCodeAt(0) + ';'))"
_INTERVAL = (
    f"p => {_ESCAPED}(p.name) + '<br><b>' + Number(p.value[1]).toPrecision(3) + '</b> ['"
    " + Number(p.value[2]).toPrecision(3) + ', ' + Number(p.value[3]).toPrecision(3) + ']'"
)
_LINK = (
    f"p => p.dataType === 'edge' ? {_ESCAPED}(p.data.from) + ' → ' + {_ESCAPED}(p.data.to)"
    f" + '<br><b>' + p.value.toLocaleString() + '</b>'"
    f" : {_ESCAPED}(p.data.shown) + '<br><b>' + p.value.toLocaleString() + '</b>'"
)


def sankey(links: Sequence[tuple[int, str, str, float]], names: Mapping[str, str]) -> Options:
    """Paths by step: (step, source, target, count); `names` says how a symbol is called.

    A symbol is a node of its own at each step, so that paths never turn back.
    """
    colours: dict[str, str] = {}
    nodes: dict[str, Options] = {}
    edges = []
    for step, source, target, count in links:
        for at, symbol in ((step, source), (step + 1, target)):
            shown = names.get(symbol, symbol)
            quiet = symbol.startswith("<")
            colour = QUIET if quiet else colours.setdefault(symbol, COLOURS[len(colours) % len(COLOURS)])
            nodes.setdefault(
                f"{at} {symbol}",
                {"name": f"{at} {symbol}", "shown": shown, "depth": at, "itemStyle": {"color": colour}},
            )
        edges.append({"source": f"{step} {source}", "target": f"{step + 1} {target}", "value": count,
                      "from": names.get(source, source), "to": names.get(target, target)})  # fmt: skip
    return base(
        tooltip={**TIP, ":formatter": _LINK},
        series=[{
            "type": "sankey", "data": list(nodes.values()), "links": edges, "left": 4, "right": 110, "top": 8,
            "bottom": 8, "nodeGap": 9, "nodeWidth": 12, "draggable": False, "layoutIterations": 48,
            "label": {"color": INK, "fontSize": 11, "overflow": "truncate", "width": 104,
                      ":formatter": "p => p.data.shown"},
            "lineStyle": {"color": "source", "opacity": 0.28, "curveness": 0.5},
            "emphasis": {"focus": "adjacency"}, "itemStyle": {"borderWidth": 0},
        }],
    )  # fmt: skip


def cloud(groups: Mapping[str, Sequence[tuple[float, float]]], x: str, y: str) -> Options:
    """Points in two dimensions, one colour a group."""
    return base(
        legend=legend(),
        grid={"left": 30, "right": 16, "top": 48, "bottom": 28, "containLabel": True},
        xAxis=axis("value", x, nameLocation="middle", nameGap=28, scale=True),
        yAxis=axis("value", y, scale=True, nameLocation="middle", nameGap=34),
        series=[
            {"type": "scatter", "name": name, "data": [list(point) for point in points], "symbolSize": 5,
             "itemStyle": {"opacity": 0.6}, "large": True, "emphasis": {"focus": "series"}}
            for name, points in groups.items()
        ],
    )  # fmt: skip


def heat(
    x_names: Sequence[str],
    y_names: Sequence[str],
    cells: Sequence[tuple[int, int, float]],
    unit: str,
    *,
    labelled: bool = False,
) -> Options:
    """A heat map of (x, y, value); what is missing stays empty."""
    most = max((value for _, _, value in cells), default=1.0) or 1.0
    return base(
        grid={"left": 8, "right": 16, "top": 8, "bottom": 56, "containLabel": True},
        xAxis=axis("category", data=list(x_names), splitLine={"show": False}),
        yAxis=axis("category", data=list(y_names), inverse=True, splitLine={"show": False}),
        visualMap={
            "min": 0, "max": most, "calculable": False, "orient": "horizontal", "left": 0, "bottom": 0,
            "itemHeight": 120, "itemWidth": 10, "text": [unit, ""], "textStyle": {"color": INK},
            "inRange": {"color": ["rgba(63,127,196,0.06)", "rgba(63,127,196,0.45)", "#2c68a8"]},
        },
        series=[{"type": "heatmap", "name": unit, "data": [list(cell) for cell in cells],
                 "label": {"show": labelled, "fontSize": 10, "color": "inherit"},
                 "itemStyle": {"borderColor": "transparent", "borderRadius": 2}}],
    )  # fmt: skip
