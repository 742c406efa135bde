# SPDX-License-Identifier: Apache-2.0
"""Databases for the tests of the live side, each started by the test that asks for it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest


def free_port() -> int:
    """A port of this machine that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _until_open(port: int, process: subprocess.Popen[bytes]) -> None:
    ends = time.monotonic() + 30
    while time.monotonic() < ends and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise RuntimeError(f"{process.args} opened no port; it ended with {process.poll()}")


def _binary(name: str) -> str | None:
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(found[-1]) if found else shutil.which(name)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """URL of an empty PostgreSQL server, up to the name of the database."""
    initdb, server = _binary("initdb"), _binary("postgres")
    if initdb is None or server is None:
        pytest.skip("no PostgreSQL here; install it (Debian: postgresql) to test the live store with it")
    folder = Path(tempfile.mkdtemp(prefix="desirepath-pg-"))
    # PostgreSQL refuses to run as root.
    who = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}
    if who:
        shutil.chown(folder, "nobody", "nogroup")
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
    made = [
        initdb,
        "-D",
        str(folder / "data"),
        "-U",
        "live",
        "-A",
        "trust",
        "-N",
        "-E",
        "UTF8",
        "--no-locale",
    ]
    subprocess.run(made, check=True, **quiet, **who)
    port = free_port()
    words = [
        "-D",
        str(folder / "data"),
        "-p",
        str(port),
        "-h",
        "127.0.0.1",
        "-k",
        "",
        "-c",
        "max_connections=200",
        # These tests kill our processes, not the server or the machine.
        "-c",
        "fsync=off",
    ]
    process = subprocess.Popen([server, *words], **quiet, **who)
    try:
        _until_open(port, process)
        yield f"postgresql://live@127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def database(postgres: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """URL of a new PostgreSQL database."""
    import psycopg

    name = f"t{time.time_ns()}"
    with psycopg.connect(f"{postgres}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    yield f"{postgres}/{name}"
    with psycopg.connect(f"{postgres}/postgres", autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of a new database, of each kind in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'live.db'}"
    return str(request.getfixturevalue("database"))


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """URL of a Redis server."""
    server = shutil.which("redis-server")
    if server is None:
        pytest.skip("no redis-server here; install it (Debian: redis-server) to test shared states")
    port = free_port()
    words = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    process = subprocess.Popen([server, *words], stdout=subprocess.DEVNULL, cwd=tempfile.gettempdir())
    try:
        _until_open(port, process)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait(30)
