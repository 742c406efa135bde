# SPDX-License-Identifier: Apache-2.0
"""A real process: it refuses the network without a key, and ends in good order when it is told to."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

import worlds
from desirepath import flows
from desirepath.errors import ConfigError
from desirepath.flows.serving import application, open_projects, serve_configs
from desirepath.models.markov import Markov
from desirepath.recommend.versions import Version, save_version
from desirepath.serving.keys import KeyRing
from desirepath.workspace import Workspace

SCRIPT = """
import sys
from pathlib import Path
from desirepath.cli import main
from desirepath.flows import ingestion, serving
import worlds
serving.open_sequences = lambda workspace: worlds.cycle()
serving.show_console = lambda app, projects: None
main()
"""
"""The command line, but for a log that needs not be read from files."""


@pytest.fixture
def workspace(tmp_path) -> Path:
    workspace = Workspace.create(tmp_path / "shop")
    sequences = worlds.cycle()
    version = Version(
        name="20260501T120000-markov",
        model=Markov().fit(sequences),
        items=sequences.items,
        calibration=None,
        exclude_seen=False,
        made={},
    )
    save_version(workspace.run("final"), version)
    return workspace.folder


@contextmanager
def running(*words: str | Path):
    """A server in a process of its own; its address, and the process."""
    place = os.pathsep.join([str(Path(worlds.__file__).parent), *sys.path])
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, "serve", *map(str, words), "--port", "0", "--log", "json"],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": place, "COLUMNS": "200"},
    )
    said: list[str] = []
    try:
        for line in process.stderr:
            said.append(line)
            if found := re.search(r"http://[0-9.]+:\d+", line):
                break
        else:
            raise AssertionError("".join(said))
        reader = threading.Thread(target=lambda: said.extend(process.stderr), daemon=True)
        reader.start()
        yield found[0], process, said
        process.wait(timeout=60)
        reader.join()
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def test_the_network_needs_a_key(workspace):
    for host in ("0.0.0.0", "::", "192.0.2.7", "shop.example"):
        with pytest.raises(ConfigError, match="keys create"):
            application([workspace], flows.ServeConfig(host=host))
    for host in ("127.0.0.1", "127.5.5.5", "::1", "localhost"):
        assert flows.ServeConfig(host=host).is_local
    with pytest.raises(ConfigError, match="needs a key"):
        application([workspace], flows.ServeConfig(cors_origins=("*",)))


def test_projects_need_names_and_databases_of_their_own(tmp_path):
    with pytest.raises(ConfigError, match="'shop'"):
        open_projects([tmp_path, tmp_path / "a" / "shop", tmp_path / "b" / "shop"], flows.ServeConfig())
    with pytest.raises(ConfigError, match=r"\{project\}"):
        open_projects([tmp_path / "a", tmp_path / "b"], flows.ServeConfig(database="sqlite:///one.db"))


def test_settings_come_from_the_workspace(tmp_path):
    toml = (
        '[serve]\nport = 9000\ncors_origins = ["https://shop.example"]\n[limits]\nbody_s = 3\n[scenario.x]\n'
    )
    (tmp_path / "desirepath.toml").write_text(toml)
    config, limits = serve_configs(tmp_path, host="::1")
    assert (config.port, config.host, config.cors_origins) == (9000, "::1", ("https://shop.example",))
    assert limits.body_s == 3
    (tmp_path / "desirepath.toml").write_text("[limits]\nbody_second = 3\n")
    with pytest.raises(ConfigError, match="Did you mean"):
        serve_configs(tmp_path)


@pytest.mark.slow
def test_told_to_stop_it_ends_what_it_began(workspace):
    """Everything acknowledged is there afterwards, and the log says nothing odd."""
    token, key = KeyRing(workspace).create("admin")
    acknowledged: list[str] = []
    odd: list[int] = []

    with running(workspace) as (address, process, said):

        def send(name: str) -> None:
            with httpx.Client(base_url=address, timeout=30, headers={"x-api-key": token}) as client:
                for n in range(100_000):
                    event = {"event_id": f"{name}-{n}", "user_id": name, "item_id": str(n % 12)}
                    try:
                        reply = client.post("/v1/events", json=event)
                    except httpx.TransportError:
                        return
                    if reply.status_code != 200:
                        odd.append(reply.status_code)
                        return
                    acknowledged.append(event["event_id"])

        threads = [threading.Thread(target=send, args=(f"client{n}",)) for n in range(4)]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 60
        while len(acknowledged) < 60 and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join(timeout=60)
    assert process.returncode in (0, -signal.SIGTERM)
    assert len(acknowledged) >= 60
    assert not set(odd) - {503}
    with sqlite3.connect(workspace / "live.db") as database:
        kept = {row[0] for row in database.execute("SELECT event_id FROM events")}
    database.close()
    assert set(acknowledged) <= kept
    lines = [json.loads(line) for line in said if line.startswith("{")]
    assert {line["status"] for line in lines if line["event"] == "request"} == {200}
    assert not [line for line in lines if line["level"] not in ("info",)]
    assert token.split("_", 3)[3] not in "".join(said)
    assert key.id in "".join(said)
