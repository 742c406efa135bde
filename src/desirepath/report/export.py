# SPDX-License-Identifier: Apache-2.0
"""A figure as a file: HTML that opens offline, or PNG, SVG and PDF through a headless Chrome.

It knows figures and files. Nothing is loaded from outside, neither by the HTML nor while an image is made.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from desirepath.errors import ConfigError
from desirepath.report.theme import template

IMAGES = (".png", ".svg", ".pdf")
ENDINGS = (".html", *IMAGES)
WIDTH = 1040
"""Pixels across; a PNG has two dots a pixel."""
NO_KALEIDO = (
    "{name} needs the package kaleido, which is not installed. Run `pip install 'desirepath[plot]'`, or "
    "choose a file that ends in .html."
)
NO_CHROME = (
    "{name} needs Chrome or Chromium, and none was found. Install one (Debian: `apt install chromium`; "
    "anywhere: `plotly_get_chrome`), or name it in BROWSER_PATH, or choose a file that ends in .html."
)


def write_figure(figure: go.Figure, path: Path | str, dark: bool = False) -> Path:
    """The path of the file, written whole or not at all: .html, .png, .svg or .pdf by its ending.

    The HTML is about 5 MB, of which plotly's script is nearly all. Images are drawn by a headless Chrome
    that takes some seconds to start; text that came with the data cannot run anything there.

    Args:
        figure: with its title in it, as those of `desirepath.report` have.
        path: where to.
        dark: light ink on dark paper.

    Raises:
        ConfigError: the ending is another, or kaleido or Chrome is not installed.
    """
    path = Path(path)
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise ConfigError(f"A drawing's file must end in {', '.join(ENDINGS)}; got '{path.name}'.")
    made = go.Figure(figure)
    paper = "#1a2029" if dark else "#ffffff"
    made.update_layout(template=template(dark), paper_bgcolor=paper, plot_bgcolor=paper)
    if ending == ".html":
        told = made.to_html(
            include_plotlyjs=True, full_html=True, config={"displaylogo": False, "responsive": True}
        )
        content = told.replace("<body>", f'<body style="margin:0;background:{paper}">', 1).encode()
    else:
        content = _image(made, ending[1:], path.name)
    part = path.with_name(path.name + ".part")
    part.write_bytes(content)
    os.replace(part, path)
    return path


def _image(figure: go.Figure, form: str, name: str) -> bytes:
    try:
        import kaleido  # type: ignore[import-untyped,import-not-found,unused-ignore]
        from choreographer.browsers import ChromeNotFoundError
        from choreographer.errors import BrowserFailedError
    except ImportError as error:
        raise ConfigError(NO_KALEIDO.format(name=name)) from error
    size: dict[str, Any] = {
        "format": form,
        "width": WIDTH,
        "height": int(figure.layout.height or 480),
        "scale": 2 if form == "png" else 1,
    }
    try:
        # MathJax would be fetched from elsewhere; no text here is mathematics.
        image: bytes = kaleido.calc_fig_sync(figure.to_dict(), opts=size, kopts={"mathjax": False})
    except ChromeNotFoundError as error:
        raise ConfigError(NO_CHROME.format(name=name)) from error
    except BrowserFailedError as error:
        raise ConfigError(
            f"{name} needs a Chrome that starts; the one found did not: {error}. Name another in "
            "BROWSER_PATH, or choose a file that ends in .html."
        ) from error
    return image
