# SPDX-License-Identifier: Apache-2.0
"""The marketplace, made once, and a process of its own that serves it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from bazaar import chromium, make_market


@pytest.fixture(scope="session")
def market(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the workspace."""
    return make_market(tmp_path_factory.mktemp("market"))


@pytest.fixture(scope="session")
def console(market: Path) -> Iterator[str]:
    """Address of a server that shows the marketplace; skipped where no browser could look at it."""
    if chromium() is None:
        pytest.skip("no Chromium on this machine; install it to test the console")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "PYTHONWARNINGS": "default"}
    words = [sys.executable, "-m", "desirepath", "serve", str(market), "--port", str(port)]
    with (market.parent / "server.log").open("wb") as said:
        server = subprocess.Popen(words, stdout=said, stderr=said, env=environment)
    address = f"http://127.0.0.1:{port}"
    try:
        ends = time.monotonic() + 120
        while not _answers(f"{address}/readyz"):
            assert server.poll() is None, (market.parent / "server.log").read_text()
            assert time.monotonic() < ends, "the server did not start"
            time.sleep(0.1)
        yield address
    finally:
        server.terminate()
        server.wait(30)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False
