# SPDX-License-Identifier: Apache-2.0
"""Opens the database behind the live store, SQLite or PostgreSQL, with the promises that the store makes.

A transaction that writes begins by taking the only right to write, so that events become visible in the
order of their numbers; a commit is on disk before it returns. It knows no tables but those of migrations.
"""

from __future__ import annotations

from typing import Any

import orjson
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.exc import DataError as RefusedValue

from desirepath.errors import ConfigError, DataError, DesirepathError, WorkspaceError
from desirepath.live.migrations import upgrade

KINDS = ("sqlite", "postgresql")
WAIT_S = 30.0
"""How long SQLite waits for another process that writes."""
WRITES = "desirepath_writes"
"""Execution option of a connection whose transactions write."""
LOCK = 0x64_65_73_69_72_65
"""Number of the advisory lock under which one process at a time writes to a PostgreSQL database."""

_TAKE_TURN = text(
    "SELECT pg_advisory_xact_lock(:lock), CASE current_setting('synchronous_commit') WHEN 'off' "
    "THEN set_config('synchronous_commit', 'on', true) END"
)


def open_database(url: str | URL) -> Engine:
    """The database at `url`, its tables brought to this version.

    Args:
        url: such as "sqlite:////var/shop/live.db" or "postgresql://host/shop".

    Raises:
        ConfigError: the URL names neither an SQLite file nor PostgreSQL.
        WorkspaceError: it cannot be opened, or a newer version of Desirepath wrote it.
    """
    parsed = _parsed(url)
    options: dict[str, Any] = {
        "json_serializer": lambda value: orjson.dumps(value).decode(),
        "json_deserializer": _from_json,
        "hide_parameters": True,  # an error must not carry what people did into a log
    }
    if parsed.get_backend_name() == "postgresql":
        engine = create_engine(parsed, pool_pre_ping=True, pool_size=8, max_overflow=24, **options)
    else:
        options["connect_args"] = {"check_same_thread": False, "timeout": WAIT_S}
        engine = create_engine(parsed, pool_size=8, max_overflow=24, **options)
        event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin)
    try:
        with writing(engine).begin() as connection:
            upgrade(connection)
    except DBAPIError as error:
        engine.dispose()
        raise told(error, engine) from error
    except BaseException:
        engine.dispose()
        raise
    return engine


def writing(engine: Engine) -> Engine:
    """The same database for transactions that write: one at a time, over all processes."""
    return engine.execution_options(**{WRITES: True})


def told(error: DBAPIError, engine: Engine) -> DesirepathError:
    """An error of the database, as one that says what to do; it holds no data."""
    if isinstance(error, RefusedValue):
        return DataError(
            f"Texts and numbers must be such that {engine.dialect.name} can keep them; one is not, such as a "
            "text with a NUL character. Send the rows without it."
        )
    reason = str(error.orig).strip().splitlines()[0] if error.orig is not None else type(error).__name__
    return WorkspaceError(
        f"The live store {engine.url!r} must be there to read and write; it answers: {reason}. "
        "See that its disk has room and its server runs; nothing that was acknowledged is lost."
    )


def _from_json(value: Any) -> Any:
    # SQLite keeps a number in a column of JSON as a number.
    return value if isinstance(value, int | float) else orjson.loads(value)


def _parsed(url: str | URL) -> URL:
    try:
        parsed = make_url(url)
        kind = parsed.get_backend_name()
    except (ArgumentError, NoSuchModuleError):
        raise ConfigError(
            "The live store must have a URL such as sqlite:////var/shop/live.db or postgresql://host/shop."
        ) from None
    if kind not in KINDS:
        raise ConfigError(
            f"The live store must be SQLite or PostgreSQL; got '{kind}'. Give a URL that begins with "
            "sqlite:/// or postgresql://."
        )
    if kind == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.database in (None, "", ":memory:"):
        raise ConfigError("The live store must be a file, for memory forgets; give sqlite:///PATH.")
    return parsed


def _prepare_sqlite(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # transactions begin where we say so, savepoints included
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    # Every commit is on disk before it is acknowledged, whatever happens to the machine.
    cursor.execute("PRAGMA synchronous=FULL")
    # What is deleted is overwritten: who was erased must not be found between the rows.
    cursor.execute("PRAGMA secure_delete=ON")
    cursor.close()


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get(WRITES, False)
    if connection.dialect.name == "sqlite":
        # A transaction that first reads and then writes is refused if another wrote in between.
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
    elif writes:
        # Numbers are given before a commit and seen after it: without turns, a reader who follows the
        # numbers would pass by an event that was numbered earlier and committed later.
        connection.execute(_TAKE_TURN, {"lock": LOCK})
