# SPDX-License-Identifier: Apache-2.0
"""Database servers for the length of a test, on free ports of this machine, in folders that are removed."""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def free_port() -> int:
    """A port of this machine that nobody listens on now.

    Below those that the system gives to clients: one who tries again and again to reach a server that is away
    would in the end be given its port, and reach himself.
    """
    while True:
        port = random.randint(20_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def _until_open(port: int, process: subprocess.Popen[bytes]) -> None:
    ends = time.monotonic() + 30
    while time.monotonic() < ends and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise RuntimeError(f"{process.args} opened no port; it ended with {process.poll()}")


def postgres_binary(name: str) -> str | None:
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(found[-1]) if found else shutil.which(name)


@contextmanager
def postgres_server() -> Iterator[str]:
    """URL of an empty PostgreSQL server, up to the name of the database."""
    initdb, server = postgres_binary("initdb"), postgres_binary("postgres")
    assert initdb is not None
    assert server is not None
    folder = Path(tempfile.mkdtemp(prefix="desirepath-pg-"))
    # PostgreSQL refuses to run as root.
    who = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}
    if who:
        shutil.chown(folder, "nobody", "nogroup")
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
    data = str(folder / "data")
    made = [initdb, "-D", data, "-U", "live", "-A", "trust", "-N", "-E", "UTF8", "--no-locale"]
    subprocess.run(made, check=True, **quiet, **who)
    port = free_port()
    # Tests kill our processes, not the server or the machine, so that it need not wait for the disk.
    options = ["-c", "max_connections=200", "-c", "fsync=off"]
    words = [server, "-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", "", *options]
    process = subprocess.Popen(words, **quiet, **who)
    try:
        _until_open(port, process)
        yield f"postgresql://live@127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def redis_server() -> Iterator[str]:
    """URL of an empty Redis server that keeps nothing on disk."""
    port = free_port()
    words = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, cwd=tempfile.gettempdir())
    try:
        _until_open(port, process)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait(30)
