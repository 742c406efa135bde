# SPDX-License-Identifier: Apache-2.0
"""Figures as files: HTML anywhere; PNG, SVG and PDF where there is a Chrome, and a clear word where not."""

from __future__ import annotations

import sys

import plotly.graph_objects as go
import polars as pl
import pytest

from desirepath.errors import ConfigError
from desirepath.report import patterns_figure, write_figure

BEGINNINGS = {".png": b"\x89PNG", ".svg": b"<svg", ".pdf": b"%PDF"}


@pytest.fixture
def figure() -> go.Figure:
    return patterns_figure(pl.DataFrame({"pattern": [["a", "<script>b"]], "support": [3], "share": [0.3]}))


def has_chrome() -> bool:
    try:
        from choreographer.browsers import Chromium

        return Chromium.find_browser(skip_local=False) is not None
    except ImportError:
        return False


def test_html_is_complete_and_loads_nothing(figure, tmp_path):
    path = write_figure(figure, tmp_path / "patterns.html")
    told = path.read_text(encoding="utf-8")
    assert "<script>b" not in told
    assert "src=" not in told[: told.index("plotly.js v")]
    assert not list(tmp_path.glob("*.part"))


def test_other_endings_are_refused(figure, tmp_path):
    with pytest.raises(ConfigError, match=r"must end in \.html"):
        write_figure(figure, tmp_path / "patterns.bmp")
    assert not list(tmp_path.iterdir())


def test_without_kaleido_the_word_is_what_to_install(figure, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "kaleido", None)
    with pytest.raises(ConfigError, match=r"pip install 'desirepath\[plot\]'"):
        write_figure(figure, tmp_path / "patterns.png")
    assert not list(tmp_path.iterdir())


def test_without_chrome_the_word_is_what_to_install(figure, tmp_path, monkeypatch):
    kaleido = pytest.importorskip("kaleido")
    from choreographer.browsers import ChromeNotFoundError

    def refuse(*_args, **_more):
        raise ChromeNotFoundError("none")

    monkeypatch.setattr(kaleido, "calc_fig_sync", refuse)
    with pytest.raises(ConfigError, match="apt install chromium"):
        write_figure(figure, tmp_path / "patterns.svg")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.skipif(not has_chrome(), reason="no Chrome or Chromium, or no kaleido")
@pytest.mark.parametrize("ending", list(BEGINNINGS))
def test_images_are_drawn_by_a_headless_chrome(figure, tmp_path, ending):
    path = write_figure(figure, tmp_path / f"patterns{ending}")
    assert path.read_bytes().startswith(BEGINNINGS[ending])
    assert path.stat().st_size > 4000
    if ending == ".svg":
        assert "What many do in this order" in path.read_text(encoding="utf-8")
