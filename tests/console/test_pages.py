# SPDX-License-Identifier: Apache-2.0
"""The console in a real browser: every page in both languages and both looks, and the loop of Try it."""

from __future__ import annotations

import csv
import io
import re
import sqlite3
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx
import pytest
from bazaar import EVIL_ITEM, EVIL_TITLE, EVIL_USER, SWITCHES, chromium
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

PATHS = {
    "trial": ".dp-slate li >> nth=9",
    "overview": ".dp-bars li >> nth=5",
    "users": ".ag-row >> nth=3",
    f"users?user={quote(EVIL_USER, safe='')}": ".dp-bars li >> nth=5",
    "items": ".ag-row >> nth=3",
    f"items?item={quote(EVIL_ITEM, safe='')}": ".dp-bars li",
    "patterns": ".nicegui-echart canvas >> nth=1",
    "segments": ".nicegui-echart canvas",
    "models": ".nicegui-echart canvas",
    "experiments": ".dp-card h2",
    "quality": ".nicegui-echart canvas",
    "settings": ".ag-row >> nth=3",
}
"""Each page, and what is there once it is filled."""
LOOKS = {"en": ("en-US", "light"), "zh": ("zh-CN", "dark")}
FIRST_PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"


class Watch:
    """What went wrong in a browser, and where it asked."""

    def __init__(self, context: BrowserContext, origin: str) -> None:
        self.faults: list[str] = []
        self._origin = origin
        context.on("console", lambda said: self._said(said.type, said.text))
        context.on("weberror", lambda error: self.faults.append(f"error: {error.error}"))
        context.on("request", lambda asked: self._asked(asked.url))
        context.on("requestfailed", lambda asked: self._failed(asked.url, asked.failure))
        context.on("response", lambda reply: self._replied(reply.status, reply.url))

    def _said(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.faults.append(f"console {kind}: {text}")

    def _asked(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("data", "blob") and f"{parts.scheme}://{parts.netloc}" != self._origin:
            self.faults.append(f"foreign request: {url}")

    def _failed(self, url: str, why: str | None) -> None:
        if "ERR_ABORTED" not in (why or ""):  # a page that was left while it loaded
            self.faults.append(f"failed: {url} {why}")

    def _replied(self, status: int, url: str) -> None:
        if status >= 400:
            self.faults.append(f"status {status}: {url}")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = chromium()
    if path is None:
        pytest.skip("no Chromium on this machine; install it to test the console")
    with sync_playwright() as started:
        opened = started.chromium.launch(executable_path=path, args=list(SWITCHES))
        yield opened
        opened.close()


@contextmanager
def visiting(
    browser: Browser, console: str, look: str = "en", width: int = 1280
) -> Iterator[tuple[Page, Watch]]:
    """A page of a visitor whose browser speaks a language and has a look of its own."""
    locale, scheme = LOOKS[look]
    context = browser.new_context(
        locale=locale, color_scheme=scheme, viewport={"width": width, "height": 860}, reduced_motion="reduce"
    )
    context.set_default_timeout(30_000)
    watch = Watch(context, console)
    try:
        yield context.new_page(), watch
    finally:
        context.close()


@pytest.mark.parametrize("look", LOOKS)
def test_every_page_opens(browser: Browser, console: str, look: str) -> None:
    """No error, no foreign request, nothing cut off, in one language and one look; then in the other look."""
    paints = []
    with visiting(browser, console, look) as (page, watch):
        for path, filled in PATHS.items():
            page.goto(f"{console}/console/{path}")
            expect(page.locator(filled).first).to_be_visible(timeout=30_000)
            expect(page.locator(".dp-waiting > i")).to_have_count(0, timeout=30_000)
            paints.append(page.evaluate(FIRST_PAINT))
            assert page.evaluate("document.documentElement.lang") == look
            dark = page.evaluate("document.body.classList.contains('body--dark')")
            assert dark == (look == "zh")
            assert page.evaluate("document.documentElement.scrollWidth") <= 1280
            text = page.inner_text("body")
            assert not re.search(r"\{[a-z_]+\}", text), f"{path} shows an unfilled place"
            assert page.evaluate("window.hurt") is None, f"{path} ran what should be shown"
            page.click("#dp-theme")  # system -> light
            page.click("#dp-theme")  # light -> dark
            assert page.evaluate("document.body.classList.contains('body--dark')")
            page.click("#dp-theme")  # as the system has it
            assert watch.faults == [], path
    # Generous, for a machine that does other work: a page's frame is there before any script has run.
    assert statistics.median(paints) < 2000


def test_every_page_is_narrow_on_a_phone(browser: Browser, console: str) -> None:
    with visiting(browser, console, "zh", width=390) as (page, watch):
        for path in ("trial", "patterns", "models"):
            page.goto(f"{console}/console/{path}")
            expect(page.locator(PATHS[path]).first).to_be_visible(timeout=30_000)
            assert page.evaluate("document.documentElement.scrollWidth") <= 390, path
        assert watch.faults == []


def test_a_click_changes_the_list(browser: Browser, console: str, market: Path) -> None:
    """The loop: as nobody, choose; the event is on disk, and list, timeline and interests have moved."""
    with visiting(browser, console) as (page, watch):
        page.goto(f"{console}/")
        rows = page.locator(".dp-slate button")
        expect(rows).to_have_count(10)
        expect(page.locator(".dp-second .dp-line li")).to_have_count(0)
        before = [row.get_attribute("data-item") for row in rows.all()]
        chosen = before[2]
        rows.nth(2).click()
        expect(page.locator(".dp-second .dp-line li")).to_have_count(1)
        expect(page.locator(".dp-kept b")).to_have_text(re.compile(r"^[\d.]+ ms$"))
        expect(page.locator(".dp-answered b")).to_have_text(re.compile(r"^[\d.]+ ms$"))
        expect(page.locator(".dp-events b")).to_have_text("1")
        after = [row.get_attribute("data-item") for row in rows.all()]
        assert after != before
        expect(page.locator(".dp-slate .dp-move").first).to_be_visible()
        assert page.locator(".dp-bars li").count() > 3
        expect(page.locator(".dp-why").first).not_to_be_empty()
        with sqlite3.connect(f"file:{market / 'live.db'}?mode=ro", uri=True) as database:
            asked = "select item_id, position, more from events where user_id like 'session:%'"
            kept = database.execute(asked).fetchall()
        assert [row[:2] for row in kept] == [(chosen, 3)]
        assert "console" in kept[0][2]
        page.select_option("#dp-action", label="purchase")
        other = page.locator("input[role=combobox]").nth(1)
        other.fill("onerror")
        expect(page.locator(".dp-found li")).to_contain_text(EVIL_TITLE)
        other.press("Enter")
        expect(page.locator(".dp-second .dp-line li")).to_have_count(2)
        with sqlite3.connect(f"file:{market / 'live.db'}?mode=ro", uri=True) as database:
            asked = "select item_id, action from events where user_id like 'session:%' order by seq desc"
            assert database.execute(asked).fetchone() == (EVIL_ITEM, "purchase")
        assert watch.faults == []


def test_a_user_is_found_and_tried(browser: Browser, console: str) -> None:
    with visiting(browser, console) as (page, watch):
        page.goto(f"{console}/console/trial")
        expect(page.locator(".dp-slate button")).to_have_count(10)
        field = page.locator("input[role=combobox]").first
        field.fill("<scr")
        expect(page.locator(".dp-found li")).to_have_text(EVIL_USER)
        field.press("Enter")
        known = httpx.post(f"{console}/v1/recommend", json={"user_id": EVIL_USER}).json()["n_events"]
        assert known > 30
        expect(page.locator(".dp-events b")).to_have_text(str(known))
        assert "user=" in page.url
        assert page.evaluate("window.hurt") is None
        assert watch.faults == []


def test_language_and_look_are_remembered(browser: Browser, console: str) -> None:
    with visiting(browser, console) as (page, watch):
        page.goto(f"{console}/console/experiments")
        expect(page.locator(".dp-main h1")).to_have_text("Experiments")
        page.click(".dp-switch[lang=zh]")
        expect(page.locator(".dp-main h1")).to_have_text("实验")
        page.click("#dp-theme")
        page.click("#dp-theme")
        page.goto(f"{console}/console/settings")
        expect(page.locator(".dp-main h1")).to_have_text("设置")
        assert page.evaluate("document.body.classList.contains('body--dark')")
        assert watch.faults == []


def test_rules_are_valued_before_anyone_sees_them(browser: Browser, console: str) -> None:
    """Where nothing was served under a scenario, or its lists tell too little, the page says so."""
    with visiting(browser, console) as (page, watch):
        page.goto(f"{console}/console/experiments")
        page.locator(".dp-card", has_text="Before it goes live").locator("select").select_option(
            label="cheap"
        )
        page.get_by_role("button", name="Value them").click()
        expect(page.locator(".dp-problem")).to_contain_text("Nothing can be said", timeout=20_000)
        page.locator(".dp-editor textarea").fill("diversty = 0.5")
        page.get_by_role("button", name="Value them").click()
        expect(page.locator(".dp-problem")).to_contain_text("diversity", timeout=20_000)
        assert watch.faults == []


def test_tables_sort_filter_and_export(browser: Browser, console: str) -> None:
    """The grid's order against that of the exported file, which was sorted by nobody."""
    with visiting(browser, console) as (page, watch):
        page.goto(f"{console}/console/users")
        expect(page.locator(".ag-row").first).to_be_visible()
        href = page.locator("a[download]").get_attribute("href")
        reply = page.request.get(f"{console}{href}")
        rows = list(csv.DictReader(io.StringIO(reply.text().lstrip("\ufeff"))))
        assert EVIL_USER in {row["user_id"] for row in rows}
        page.locator(".ag-header-cell-text", has_text="Events").click()
        expect(page.locator(".ag-header-cell[aria-sort=ascending]")).to_have_count(1)
        fewest = sorted(int(row["n_events"]) for row in rows)[0]
        first = page.locator('.ag-row[row-index="0"] [col-id="c1"]')
        expect(first).to_have_text(str(fewest))
        page.locator(".ag-header-cell[aria-sort=ascending] .ag-header-cell-text").click()
        expect(first).to_have_text(f"{max(int(row['n_events']) for row in rows):,}")
        page.locator(".ag-row").first.click()
        expect(page.locator(".dp-who")).to_be_visible()
        assert watch.faults == []


def test_a_version_is_promoted_and_rolled_back(browser: Browser, console: str) -> None:
    with visiting(browser, console) as (page, watch):
        page.goto(f"{console}/console/models")
        current = _current(console)
        page.locator("tr", has_text="second").get_by_role("button", name="Promote").click()
        page.locator(".dp-dialog").get_by_role("button", name="Promote").click()
        expect(page.locator(".dp-fact b").first).to_have_text("second")
        assert _current(console) == "second"
        page.get_by_role("button", name="Roll back").click()
        page.locator(".dp-dialog").get_by_role("button", name="Roll back").click()
        expect(page.locator(".dp-fact b").first).to_have_text(current)
        assert _current(console) == current
        assert watch.faults == []


def _current(console: str) -> str:
    found = httpx.get(f"{console}/v1/models").json()
    return str(found["state"]["current"])


def test_a_scenario_is_previewed(browser: Browser, console: str) -> None:
    """What is wrong is told in place; what is right changes the list beside the one in force."""
    with visiting(browser, console) as (page, watch):
        page.goto(f"{console}/console/settings")
        editor = page.locator(".dp-editor textarea")
        editor.fill("diversty = 0.5")
        page.get_by_role("button", name="Preview").click()
        expect(page.locator(".dp-problem")).to_contain_text("diversity")
        editor.fill('filter = "price > 50"')
        page.get_by_role("button", name="Preview").click()
        lists = page.locator(".dp-short")
        expect(lists).to_have_count(2)
        assert page.locator(".dp-problem").count() == 0
        assert lists.nth(0).inner_text() != lists.nth(1).inner_text()
        assert watch.faults == []


def test_tooltips_show_names_as_text(browser: Browser, console: str) -> None:
    """An action of any name may be sent; what a chart says of it is made by the library's own HTML."""
    action = "<img src=x onerror='window.hurt=1'>"
    httpx.post(
        f"{console}/v1/events", json={"user_id": "u", "item_id": "i", "action": action}
    ).raise_for_status()
    with visiting(browser, console) as (page, watch):
        page.goto(f"{console}/console/overview")
        chart = page.locator(".nicegui-echart canvas")
        expect(chart).to_be_visible()
        expect(page.locator(".dp-line")).to_contain_text(action)
        place = chart.bounding_box()
        assert place is not None
        tip = page.locator(".nicegui-echart > div", has_text=action)
        page.mouse.move(place["x"] + place["width"] - 30, place["y"] + place["height"] - 60)
        expect(tip).to_be_visible()
        assert page.evaluate("window.hurt") is None
        assert watch.faults == []
