# SPDX-License-Identifier: Apache-2.0
"""The console in a browser: first paint and filled page of each, and a click to the changed list.

    python benchmarks/console.py WORKSPACE [--clicks 30] [--rounds 3]

A copy of WORKSPACE is served by a process of its own; Chromium runs on the same machine and is counted in.
"""

from __future__ import annotations

import argparse
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

from record import record

PAGES = (
    "trial",
    "overview",
    "users",
    "items",
    "patterns",
    "segments",
    "models",
    "experiments",
    "quality",
    "settings",
)
SWITCHES = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
PAINT = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
FILLED = "() => document.querySelector('.dp-main h1') && !document.querySelector('.dp-waiting > i')"
CLICK = """async () => {
    const list = document.querySelector('.dp-slate');
    const began = performance.now();
    const changed = new Promise((done) => {
        const watch = new MutationObserver(() => {
            if (document.querySelector('.dp-slate button:not([disabled])')) { watch.disconnect(); done(); }
        });
        watch.observe(list, { subtree: true, childList: true, attributes: true, characterData: true });
    });
    document.querySelector('.dp-slate li:nth-child(3) button').click();
    await new Promise((done) => setTimeout(done, 0));
    await changed;
    return performance.now() - began;
}"""
PAINT_BAR_MS = 2000


@contextmanager
def served(workspace: Path) -> Iterator[str]:
    """The address of a server of a copy of the workspace."""
    with tempfile.TemporaryDirectory() as place, socket.socket() as probe:
        folder = Path(place) / "workspace"
        shutil.copytree(workspace, folder, ignore=shutil.ignore_patterns("live.db*"))
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        words = [sys.executable, "-m", "desirepath", "serve", str(folder), "--port", str(port)]
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            while True:
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2).close()
                    break
                except OSError:
                    assert process.poll() is None, "the server ended; start it by hand to see why"
                    time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(30)


def opened(page: Page, address: str) -> tuple[float, float]:
    """First contentful paint and filled page in milliseconds."""
    began = time.perf_counter()
    page.goto(address)
    page.wait_for_function(FILLED)
    filled_ms = 1e3 * (time.perf_counter() - began)
    return float(page.evaluate(PAINT)), filled_ms


def stated_ms(page: Page, mark: str) -> float:
    """A time that the page itself states."""
    return float(page.inner_text(f".{mark} b").removesuffix(" ms"))


def clicked(page: Page, address: str, n: int) -> dict[str, float]:
    """From a click to the changed list, as the browser sees it and as the server measured its parts."""
    page.goto(f"{address}/console/trial")
    page.wait_for_function(FILLED)
    seen, kept, answered = [], [], []
    for turn in range(n + 3):
        took = float(page.evaluate(CLICK))
        page.wait_for_selector(".dp-kept b")
        page.wait_for_timeout(400)  # what follows the list is part of no click
        if turn >= 3:
            seen.append(took)
            kept.append(stated_ms(page, "dp-kept"))
            answered.append(stated_ms(page, "dp-answered"))
    return {
        "click_to_list_p50_ms": round(statistics.median(seen), 1),
        "click_to_list_max_ms": round(max(seen), 1),
        "kept_p50_ms": round(statistics.median(kept), 1),
        "answered_p50_ms": round(statistics.median(answered), 1),
    }


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--clicks", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    figures: dict[str, Any] = {"workspace": asked.workspace.name, "pages": {}}
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    with served(asked.workspace) as address, sync_playwright() as started:
        browser = started.chromium.launch(executable_path=path, args=SWITCHES)
        page = browser.new_page(reduced_motion="reduce")
        for name in PAGES:
            rounds = [opened(page, f"{address}/console/{name}") for _ in range(asked.rounds + 1)]
            figures["pages"][name] = {
                "first_visit_paint_ms": round(rounds[0][0]),
                "paint_ms": round(statistics.median(paint for paint, _ in rounds[1:])),
                "filled_ms": round(statistics.median(filled for _, filled in rounds[1:])),
            }
        figures["try_it"] = clicked(page, address, asked.clicks)
        browser.close()
    slowest = max(found["first_visit_paint_ms"] for found in figures["pages"].values())
    figures["slowest_first_paint_ms"] = slowest
    figures["paint_bar_met"] = slowest < PAINT_BAR_MS
    record("console", figures)


if __name__ == "__main__":
    main()
