# SPDX-License-Identifier: Apache-2.0
"""How figures look: one quiet template for light pages and one for dark, and safe words for labels.

It knows plotly only. All figures of this room start from `figure`.
"""

from __future__ import annotations

import html
from typing import Any, Final

import plotly.graph_objects as go

COLOURS: Final = (
    "#3f7fc4",
    "#dd8434",
    "#2f9d7c",
    "#c2577f",
    "#8a6fc9",
    "#a98f2b",
    "#4aa3b5",
    "#b3624a",
)
"""Middle tones, legible on white and on near-black, told apart in the common colour blindnesses."""
QUIET: Final = "#8b93a1"
"""What is there for comparison: baselines, diagonals, the rest."""
ACCENT: Final = COLOURS[0]

FONTS: Final = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', sans-serif"
_LIGHT_SCALE: Final = [
    [0.0, "#f1f5fa"],
    [0.25, "#bcd3ea"],
    [0.5, "#78a6d4"],
    [0.75, "#3571b0"],
    [1.0, "#123e70"],
]
_DARK_SCALE: Final = [
    [0.0, "#1b222c"],
    [0.25, "#1f4468"],
    [0.5, "#2f71ab"],
    [0.75, "#6aa9e0"],
    [1.0, "#d9ecff"],
]


def template(dark: bool = False) -> go.layout.Template:
    """The look of all figures; backgrounds are transparent, so that the page shows through."""
    ink, soft, line = ("#dfe4ea", "#a7b0bc", "#333b47") if dark else ("#1f2630", "#5b6573", "#e3e7ec")
    axis = {
        "gridcolor": line,
        "linecolor": line,
        "zerolinecolor": line,
        "automargin": True,
        "title": {"font": {"color": soft, "size": 13}, "standoff": 12},
        "tickfont": {"color": soft, "size": 12},
        "ticks": "",
    }
    scale = [list(stop) for stop in (_DARK_SCALE if dark else _LIGHT_SCALE)]
    return go.layout.Template(
        data={"heatmap": [{"colorscale": scale}]},
        layout={
            "font": {
                "family": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif",
                "size": 13,
                "color": ink,
            },
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "colorway": list(COLOURS),
            "separators": ".,",
            "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": soft, "activecolor": ink},
            "xaxis": axis,
            "yaxis": axis,
            "margin": {"l": 60, "r": 20, "t": 16, "b": 48},
            "hoverlabel": {
                "bgcolor": "#2a323d" if dark else "#ffffff",
                "bordercolor": line,
                "font": {"color": ink, "size": 13},
            },
            "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "font": {"color": ink}},
            "hovermode": "closest",
            "bargap": 0.12,
        },
    )


def figure(height: int = 340, **layout: Any) -> go.Figure:
    """An empty figure with the light template, `height` pixels high."""
    made = go.Figure()
    made.update_layout(template=template(), height=height, **layout)
    return made


def plain(text: object, limit: int = 48) -> str:
    """Text that shows as itself in a figure, cut to `limit` characters.

    Figures read a few HTML tags in labels, so that a user's "<b>" must be escaped.

    >>> plain("<script>x</script>")
    '&lt;script&gt;x&lt;/script&gt;'
    >>> plain("a long title indeed", limit=8)
    'a long …'
    """
    words = " ".join(str(text).split())
    cut = words if len(words) <= limit else words[: limit - 1] + "…"
    return html.escape(cut, quote=False)


def tint(colour: str, opacity: float) -> str:
    """A colour of six hexadecimal digits, seen through.

    >>> tint("#3f7fc4", 0.4)
    'rgba(63,127,196,0.4)'
    """
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity:g})"


def share(part: float, whole: float) -> str:
    """A share in per cent with sensible digits.

    >>> share(1, 3), share(1, 2000), share(0, 5), share(2, 2), share(72301, 72312)
    ('33%', '0.05%', '0%', '100%', '99.98%')
    """
    if not whole:
        return "0%"
    percent = 100 * part / whole
    if percent == 0 or 9.5 <= percent <= 90 or percent == 100:
        return f"{percent:.0f}%"
    if percent > 99.9:
        return f"{percent:.2f}%" if percent < 99.995 else "over 99.99%"
    return f"{percent:.1f}%" if percent >= 0.095 else f"{percent:.2g}%"


def many(n: float, one: str, more: str | None = None) -> str:
    """A count with its noun.

    >>> many(1, "event"), many(72312, "event"), many(2, "day of rest", "days of rest")
    ('1 event', '72,312 events', '2 days of rest')
    """
    return f"{n:,.0f} {one if n == 1 else more or one + 's'}"
