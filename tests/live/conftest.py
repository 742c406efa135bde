# SPDX-License-Identifier: Apache-2.0
"""Databases for the tests of the live side; a server is started by the first test that asks for it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from servers import postgres_binary, postgres_server, redis_server


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """URL of a PostgreSQL server, up to the name of the database."""
    if postgres_binary("initdb") is None or postgres_binary("postgres") is None:
        pytest.skip("no PostgreSQL here; install it (Debian: postgresql) to test the live store with it")
    with postgres_server() as url:
        yield url


@pytest.fixture
def database(postgres: str) -> Iterator[str]:
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
    if shutil.which("redis-server") is None:
        pytest.skip("no redis-server here; install it (Debian: redis-server) to test shared states")
    with redis_server() as url:
        yield url
