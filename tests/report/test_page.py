# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from desirepath.errors import DataError, TooLittleData
from desirepath.features import sessions
from desirepath.report import ReportData, write_report

EVIL = "<script>alert('x')</script><img src=http://evil.example/x.png> & \"quoted\" </script> <b>bold</b>"
SECTIONS = [
    "overview",
    "warnings",
    "course",
    "actions",
    "spread",
    "rhythm",
    "visits",
    "models",
    "training",
    "calibration",
    "recommendations",
]
PLOTS = {
    "timeline",
    "actions",
    "activity",
    "popularity",
    "lorenz",
    "week",
    "session-events",
    "session-minutes",
    "comparison",
    "loss",
    "reliability",
}


class Page(HTMLParser):
    """What a browser would find in the file: tags with attributes, scripts, text outside of scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.words: list[str] = []
        self._inside: str | None = None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag
        if tag == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_endtag(self, tag: str) -> None:
        self._inside = None

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            attributes, text = self.scripts[-1]
            self.scripts[-1] = (attributes, text + data)
        elif self._inside != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    @property
    def figures(self) -> dict[str, Any]:
        return {
            str(attributes["data-plot"]).removeprefix("plot-"): json.loads(text)
            for attributes, text in self.scripts
            if attributes.get("class") == "figure"
        }


def some_events(n: int = 600) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    start = datetime(2024, 3, 1, tzinfo=UTC)
    return pl.DataFrame(
        {
            "user_id": [f"u{u}" for u in rng.integers(0, 40, n)],
            "item_id": [f"i{i}" for i in rng.zipf(1.5, n) % 50],
            "action": rng.choice(["view", "like", EVIL], n),
            "time": [start + timedelta(minutes=int(m)) for m in rng.integers(0, 60 * 24 * 60, n)],
        },
        schema_overrides={"time": pl.Datetime("us", "UTC")},
    )


def full_report(**changes: Any) -> ReportData:
    events = some_events()
    rows = [
        {"model": model, "metric": metric, "value": value, "low": value - 0.02, "high": value + 0.02}
        for model, value in (("sasrec", 0.3), (EVIL, 0.2), ("popularity", 0.1))
        for metric in ("ndcg@10", "hit_rate@10", "coverage@10", "ece")
    ]
    users = events["user_id"].unique(maintain_order=True)
    given: dict[str, Any] = {
        "events": events.lazy(),
        "title": EVIL,
        "understanding": {
            "columns": [
                {"source": EVIL, "role": "user_id", "dtype": "text", "null_share": 0.1, "reason": EVIL},
                {"source": "x", "role": None, "dtype": "text", "null_share": None, "reason": "kept"},
            ],
            "time": {"unit": "s", "reason": EVIL},
            "files": [{"name": EVIL, "format": "delimited", "rows": 601}],
            "notes": [EVIL],
        },
        "cleaning": {"exact_duplicate": 1, EVIL: 2, "robot": 0},
        "evaluation": {
            "rows": [
                *rows,
                {
                    "model": "sasrec",
                    "metric": "ndcg@10",
                    "slice": EVIL,
                    "value": 0.5,
                    "low": 0.4,
                    "high": 0.6,
                },
            ],
            "headline": "ndcg@10",
            "differences": [
                {
                    "model": "sasrec",
                    "baseline": EVIL,
                    "metric": "ndcg@10",
                    "value": 0.1,
                    "low": -0.1,
                    "high": 0.3,
                }
            ],
        },
        "training": [
            {"epoch": e, "loss": 5 - e / 10, "ndcg": 0.1 + e / 100, "seconds": 1.0} for e in range(5)
        ],
        "calibration": pl.DataFrame({"n": [90, 10], "stated": [0.1, 0.5], "observed": [0.12, 0.4]}),
        "recommendations": pl.DataFrame(
            {
                "user_id": [u for u in users for _ in range(3)],
                "item_id": ["i1", "i2", "i3"] * len(users),
                "probability": [0.3, 0.2, None] * len(users),
            }
        ),
        "titles": {"i1": EVIL, "i2": "A calm title"},
        "protocol": f"Temporal split. {EVIL}",
        "warnings": [EVIL],
    }
    return ReportData(**(given | changes))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    path = write_report(tmp_path_factory.mktemp("report") / "report.html", full_report())
    assert path.stat().st_size < 6_000_000
    assert not path.with_name("report.html.part").exists()
    return Page(path.read_text(encoding="utf-8"))


def test_it_has_all_sections_in_order(page: Page) -> None:
    assert [a["id"] for tag, a in page.tags if tag == "section"] == SECTIONS
    links = [a["href"] for tag, a in page.tags if tag == "a"]
    assert links == [f"#{name}" for name in SECTIONS]


def test_it_loads_nothing(page: Page) -> None:
    for tag, attributes in page.tags:
        for name in ("src", "href", "srcset", "data", "action", "poster", "background", "xlink:href"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:")), (tag, name, value)
        assert "url(" not in (attributes.get("style") or "")
    policies = [a["content"] or "" for _, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert len(policies) == 1
    assert "default-src 'none'" in policies[0]
    assert "http" not in policies[0]
    assert not [tag for tag, _ in page.tags if tag in ("img", "iframe", "object", "embed", "base")]
    assert [a for tag, a in page.tags if tag == "link"] == [{"rel": "icon", "href": "data:,"}]


def test_its_style_loads_nothing(tmp_path: Path) -> None:
    text = write_report(tmp_path / "r.html", full_report()).read_text(encoding="utf-8")
    style = re.findall(r"<style>(.*?)</style>", text, flags=re.DOTALL)
    assert len(style) == 1
    assert "url(" not in style[0]
    assert "@import" not in style[0]
    assert "prefers-color-scheme: dark" in style[0]


def test_every_plot_is_there_once_with_data(page: Page) -> None:
    assert set(page.figures) == PLOTS
    drawn = [a["id"] for _, a in page.tags if a.get("class") == "plot"]
    assert sorted(drawn) == sorted(f"plot-{name}" for name in PLOTS)
    for name, figure in page.figures.items():
        assert set(figure) == {"data", "layout"}, name
        assert figure["data"], name
        for trace in figure["data"]:
            assert len(trace.get("x") or trace.get("z")), name
        assert "template" not in figure["layout"], name
    looks = [json.loads(text) for a, text in page.scripts if a.get("id") == "templates"]
    assert len(looks) == 1
    assert looks[0]["light"]["layout"]["font"]["color"] != looks[0]["dark"]["layout"]["font"]["color"]


def test_every_plot_has_a_reading_and_a_basis(page: Page) -> None:
    figures = [a for tag, a in page.tags if tag == "figure"]
    readings = [a.get("aria-label") or "" for _, a in page.tags if a.get("class") == "plot"]
    assert len(figures) == len(readings) == len(PLOTS)
    assert all(reading.endswith(".") and len(reading) > 20 for reading in readings)
    # The basis stands beside every figure: the log's below its plots, the protocol below the models'.
    assert page.text.count("All 600 events after cleaning") == 8
    assert page.text.count("Temporal split.") == 7


def test_text_of_users_shows_as_text(page: Page) -> None:
    # plotly, the figures, the templates, the page's own: nothing that came with the data.
    assert len(page.scripts) == 3 + len(PLOTS)
    assert "alert('x')" not in "".join(t for a, t in page.scripts if a.get("type") is None)
    flat = " ".join(EVIL.split())
    assert page.text.count(flat) >= 12
    for name, figure in page.figures.items():
        assert "<script" not in json.dumps(figure), name
        assert "<img" not in json.dumps(figure), name
    assert "A calm title" in page.text


def test_a_log_without_time_says_so(tmp_path: Path) -> None:
    data = full_report(understanding={"time": {"unit": "file order"}})
    found = Page(write_report(tmp_path / "r.html", data).read_text(encoding="utf-8"))
    assert set(found.figures) == PLOTS - {"timeline", "week", "session-events", "session-minutes"}
    assert [a["id"] for tag, a in found.tags if tag == "section"] == SECTIONS
    assert found.text.count("The log bears no times") >= 3


def test_a_log_of_distances_has_no_week(tmp_path: Path) -> None:
    data = full_report(understanding={"time": {"unit": "s", "is_relative": True}})
    found = Page(write_report(tmp_path / "r.html", data).read_text(encoding="utf-8"))
    assert set(found.figures) == PLOTS - {"week"}
    assert min(found.figures["timeline"]["data"][0]["x"]) == pytest.approx(0, abs=7)


def test_a_log_of_days_has_weekdays_and_no_minutes(tmp_path: Path) -> None:
    events = some_events().with_columns(pl.col("time").dt.truncate("1d"))
    found = Page(
        write_report(tmp_path / "r.html", full_report(events=events.lazy())).read_text(encoding="utf-8")
    )
    assert set(found.figures) == PLOTS - {"session-events", "session-minutes"}
    assert len(found.figures["week"]["data"][0]["x"]) == 7
    assert "whole days" in found.text
    by_id = events.with_columns(pl.col("user_id").alias("session_id"))
    found = Page(
        write_report(tmp_path / "r.html", full_report(events=by_id.lazy())).read_text(encoding="utf-8")
    )
    assert set(found.figures) == PLOTS - {"session-minutes"}


def test_sessions_of_a_long_log_are_those_of_a_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("desirepath.report.log_part.MAX_SORTED", 200)
    found = Page(write_report(tmp_path / "r.html", full_report()).read_text(encoding="utf-8"))
    assert "one user in 3" in found.text
    events = some_events()
    kept = events.filter(pl.col("user_id").hash(seed=0) % 3 == 0)
    whole = sessions(kept, datetime(2025, 1, 1, tzinfo=UTC)).collect().height
    assert 0 < kept.height < events.height
    assert sum(found.figures["session-events"]["data"][0]["y"]) == whole


@pytest.mark.parametrize("n", [1, 2])
def test_the_smallest_log_has_a_report(tmp_path: Path, n: int) -> None:
    events = some_events().head(1).select("user_id", "item_id", "action", "time")
    data = ReportData(events=pl.concat([events] * n).lazy())
    found = Page(write_report(tmp_path / "r.html", data).read_text(encoding="utf-8"))
    assert [a["id"] for tag, a in found.tags if tag == "section"] == SECTIONS
    assert {"timeline", "actions", "activity", "popularity", "lorenz"} <= set(found.figures)
    for words in ("No model was evaluated", "No epochs were recorded", "No recommendations were made"):
        assert words in found.text


def test_recommendations_show_titles_and_history(tmp_path: Path) -> None:
    events = pl.DataFrame(
        {
            "user_id": ["u"] * 4 + ["v"],
            "item_id": ["a", "b", "a", "c", "a"],
            "action": ["x"] * 5,
            "time": [datetime(2024, 1, d, tzinfo=UTC) for d in (1, 2, 3, 4, 5)],
        },
        schema_overrides={"time": pl.Datetime("us", "UTC")},
    )
    lists = pl.DataFrame(
        {
            "user_id": ["w", "u", "u"],
            "item_id": ["c", "b", "c"],
            "probability": [0.5, 0.001, 0.25],
            "rank": [1, 2, 1],
        }
    )
    titles = pl.DataFrame({"item_id": ["a", "c"], "title": ["Alpha", "Gamma"]})
    data = ReportData(events=events.lazy(), recommendations=lists, titles=titles, protocol="P.")
    found = Page(write_report(tmp_path / "r.html", data).read_text(encoding="utf-8"))
    words = found.text[found.text.index("last met") :]
    # w comes first and is unknown to the log; u's rank 1 comes before its rank 2.
    assert re.search(r"w no event in the log Gamma 50\.0% u Gamma Alpha b Gamma 25\.0% b 0\.10%", words), (
        words
    )


def test_progress_is_told(tmp_path: Path) -> None:
    steps: list[tuple[float, str]] = []
    write_report(tmp_path / "r.html", full_report(), lambda part, title: steps.append((part, title)))
    assert [part for part, _ in steps] == sorted(part for part, _ in steps)
    assert steps[0] == (0.0, "Overview")
    assert steps[-1][0] == 1.0


def test_what_cannot_be_reported_is_told(tmp_path: Path) -> None:
    events = some_events()
    with pytest.raises(TooLittleData, match="at least one event"):
        write_report(tmp_path / "r.html", ReportData(events=events.clear().lazy()))
    assert not list(tmp_path.iterdir())
    with pytest.raises(DataError, match="action is missing"):
        ReportData(events=events.drop("action").lazy())
    with pytest.raises(DataError, match="probability is missing"):
        ReportData(events=events.lazy(), recommendations=events)
    with pytest.raises(DataError, match="title is missing"):
        ReportData(events=events.lazy(), titles=pl.DataFrame({"item_id": ["a"]}))
