"""SQL by URL: SQLite through the standard library as witness, PostgreSQL on a server of our own."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from desirepath.errors import ConfigError, DataError
from desirepath.events import ColumnChoice, read_events
from desirepath.events.sql import is_url, without_password

pytest.importorskip("adbc_driver_sqlite", reason="reading SQL needs desirepath[sql]")

ROWS = [
    (-8845298781299428018, "007", "view", 1_500_000_000, 1.5),
    (9007199254740993, "NA", "buy", 1_500_000_001, None),
    (None, 'say "hi"', "view", 1_500_000_002, 2.0),
]


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "shop.db"
    with sqlite3.connect(path) as connection:
        connection.execute(
            "CREATE TABLE events (user_id, item_id TEXT, action TEXT, timestamp INTEGER, price REAL)"
        )
        connection.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?)", ROWS)
    connection.close()
    return path


def check(log):
    frame = log.lazy.collect()
    assert frame["user_id"].to_list() == ["-8845298781299428018", "9007199254740993", None]
    assert frame["item_id"].to_list() == ["007", "NA", 'say "hi"']
    assert frame["time"][1] == datetime.fromtimestamp(1_500_000_001, UTC)
    assert frame["value"].to_list() == [1.5, None, 2.0]
    assert log.understanding.files[0].format == "sql"


def test_sqlite_by_url_and_by_path(database):
    check(read_events(f"sqlite:///{database}"))
    check(read_events(database))


def test_which_table(database):
    with sqlite3.connect(database) as connection:
        connection.execute('CREATE TABLE "odd ""name" AS SELECT * FROM events')
    connection.close()
    with pytest.raises(ConfigError, match=r"2 tables; say which with --table.*events"):
        read_events(f"sqlite:///{database}")
    check(read_events(f"sqlite:///{database}?table=events"))
    check(read_events(f"sqlite:///{database}", overrides=ColumnChoice(table='odd "name')))
    with pytest.raises(ConfigError, match="Did you mean 'events'"):
        read_events(f"sqlite:///{database}?table=event")


def test_query(database):
    choice = ColumnChoice(query="SELECT * FROM events WHERE action = 'view';")
    assert read_events(f"sqlite:///{database}", overrides=choice).lazy.collect().height == 2
    with pytest.raises(DataError, match="it says"):
        read_events(f"sqlite:///{database}", overrides=ColumnChoice(query="SELEC 1"))


def test_absent_database_is_not_made(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        read_events(f"sqlite:///{tmp_path}/absent.db?table=x")
    assert not (tmp_path / "absent.db").exists()


def test_empty_table(database):
    with sqlite3.connect(database) as connection:
        connection.execute("DELETE FROM events")
    connection.close()
    with pytest.raises(DataError, match="must hold events"):
        read_events(database)


def test_urls():
    assert is_url("postgresql://x/y")
    assert not is_url("C:/data/log.csv")
    assert without_password("postgresql://a:b@h:5/d?password=c&table=t") == "postgresql://a@h:5/d?table=t"


def _server_folder() -> str | None:
    for folder in (shutil.which("initdb"), *sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))):
        if folder:
            return str(Path(folder).parent)
    return None


@pytest.fixture
def postgres(tmp_path):
    """A PostgreSQL server of our own on a free port; skipped where none can be started."""
    pytest.importorskip("adbc_driver_postgresql", reason="reading PostgreSQL needs desirepath[sql]")
    folder = _server_folder()
    if folder is None:
        pytest.skip("no PostgreSQL server is installed")
    if os.geteuid() == 0 and not shutil.which("runuser"):
        pytest.skip("PostgreSQL does not run as root")
    as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    home = Path("/tmp") / f"desirepath-pg-{os.getpid()}"
    home.mkdir(mode=0o777)
    home.chmod(0o777)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    data = home / "data"

    def run(*command):
        return subprocess.run([*as_user, *command], capture_output=True, text=True, cwd="/")

    made = run(f"{folder}/initdb", "-D", str(data), "-U", "anna", "-A", "trust", "--no-sync")
    if made.returncode:
        shutil.rmtree(home, ignore_errors=True)
        pytest.skip(f"initdb failed: {made.stderr[-200:]}")
    options = f"-p {port} -k {home} -c listen_addresses=127.0.0.1 -c fsync=off"
    started = run(f"{folder}/pg_ctl", "-D", str(data), "-w", "-l", str(home / "log"), "-o", options, "start")
    if started.returncode:
        shutil.rmtree(home, ignore_errors=True)
        pytest.skip(f"PostgreSQL did not start: {started.stdout[-200:]}")
    try:
        yield f"postgresql://anna:secret@127.0.0.1:{port}/postgres"
    finally:
        run(f"{folder}/pg_ctl", "-D", str(data), "-m", "immediate", "stop")
        shutil.rmtree(home, ignore_errors=True)


@pytest.mark.slow
def test_postgresql(postgres):
    from adbc_driver_postgresql import dbapi

    with dbapi.connect(postgres) as connection, connection.cursor() as cursor:
        cursor.execute(
            "CREATE TABLE visits (visitor_id bigint, product_id text, event_type text, "
            "created_at timestamptz, price numeric, tags text[], extra jsonb)"
        )
        cursor.execute(
            "INSERT INTO visits VALUES (-8845298781299428018, '007', 'view', '2017-07-14 04:40:00+02', 1.50, "
            "'{a,b}', '{\"x\": 1}'), "
            "(9007199254740993, 'NA', 'buy', '2017-07-14 02:40:01.25Z', NULL, NULL, NULL)"
        )
        connection.commit()
    for log in (
        read_events(f"{postgres}?table=visits"),
        read_events(postgres),  # the only table
        read_events(postgres, overrides=ColumnChoice(query="SELECT * FROM visits")),
    ):
        frame = log.lazy.collect()
        assert frame["user_id"].to_list() == ["-8845298781299428018", "9007199254740993"]
        assert frame["item_id"].to_list() == ["007", "NA"]
        assert [m.timestamp() for m in frame["time"]] == [1_500_000_000, 1_500_000_001.25]
        assert frame["value"].to_list() == [1.5, None]
        assert "secret" not in str(log.understanding)
    with pytest.raises(ConfigError, match="Did you mean 'visits'"):
        read_events(f"{postgres}?table=visit")
    with pytest.raises(DataError) as error:
        read_events(postgres.replace("127.0.0.1:", "127.0.0.1:1") + "?table=visits")
    assert "secret" not in str(error.value)
