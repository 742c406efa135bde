# SPDX-License-Identifier: Apache-2.0
"""Reads a table or a query of SQLite or PostgreSQL through Apache Arrow's database drivers (ADBC).

Every value comes as the text that the database itself writes, so that no id passes through a float.
Passwords never reach a message.
"""

from __future__ import annotations

import importlib
import re
from contextlib import closing
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

import polars as pl
import pyarrow as pa

from desirepath.errors import ConfigError, DataError, nearest
from desirepath.events.files import readable
from desirepath.events.spool import Spool

SCHEMES = {"sqlite": "sqlite", "sqlite3": "sqlite", "postgresql": "postgresql", "postgres": "postgresql"}
"""URL scheme -> driver."""
LISTING = {
    "sqlite": "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') "
    "AND name NOT LIKE 'sqlite_%' ORDER BY name",
    "postgresql": "SELECT table_name FROM information_schema.tables "
    "WHERE table_schema = ANY (current_schemas(false)) ORDER BY table_name",
}
"""Statement that names the tables of a database."""


def is_url(source: str) -> bool:
    """Whether a source is a URL rather than a path."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.\-]+://", source) is not None


def without_password(url: str) -> str:
    """The URL as it may be shown.

    >>> without_password("postgresql://anna:secret@db/shop?table=events")
    'postgresql://anna@db/shop?table=events'
    """
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")
    user = host[0].split(":")[0]
    netloc = f"{user}@{host[2]}" if user else host[2]
    query = urlencode([(k, v) for k, v in parse_qsl(parts.query) if "pass" not in k.lower()], safe="/*, ")
    return urlunsplit((parts.scheme, netloc, parts.path, query, ""))


def read(url: str, query: str | None = None, table: str | None = None) -> tuple[Spool, str, str]:
    """All rows of one table or query as text, the name of what was read, and the driver.

    `?table=` and `?query=` in the URL do what the arguments do. A database with one table needs neither.

    Raises: ConfigError for a URL, table or driver that does not exist; DataError when the database refuses.

    Args:
        url: sqlite:///relative.db, sqlite:////absolute.db or postgresql://user:password@host/database.
        query: A SELECT statement.
        table: A table or view, with its schema if need be.
    """
    parts = urlsplit(url)
    driver = SCHEMES.get(parts.scheme.lower().split("+")[0])
    if driver is None:
        raise ConfigError(
            f"A URL must begin with sqlite:// or postgresql://; got '{without_password(url)}'. "
            "Fetch other sources to a file first."
        )
    options = dict(parse_qsl(parts.query))
    query, table = query or options.pop("query", None), table or options.pop("table", None)
    module = _driver(driver)
    shown = without_password(url).split("?")[0]
    if driver == "sqlite":
        target = _sqlite_path(parts.path, shown)
    else:
        target = urlunsplit(("postgresql", parts.netloc, parts.path, urlencode(options), ""))
    manager = importlib.import_module("adbc_driver_manager")
    try:
        with closing(module.connect(target)) as connection, closing(connection.cursor()) as cursor:
            if query is None:
                table = _table(cursor, driver, table, shown)
                query = f"SELECT * FROM {_quoted(table)}"
            spool = _fetch(cursor, query)
    except (manager.Error, pa.ArrowException) as error:
        first = re.sub(r"://[^@\s]*@", "://", str(error).splitlines()[0])
        raise DataError(f"The database {shown} must give the rows asked for; it says: {first}") from error
    return spool, f"{shown}{f':{table}' if table else ' (query)'}", driver


def _driver(driver: str) -> Any:
    try:
        return importlib.import_module(f"adbc_driver_{driver}.dbapi")
    except ImportError as error:
        raise ConfigError(
            f"Reading {driver} needs the package adbc-driver-{driver}. "
            "Install it with: pip install 'desirepath[sql]'"
        ) from error


def _sqlite_path(path: str, shown: str) -> str:
    """The file behind a SQLite URL; it must exist, since connecting would make an empty one."""
    name = unquote(path.removeprefix("/"))
    with readable(name), open(name or "", "rb") as file:
        if file.read(15) not in (b"SQLite format 3", b""):
            raise DataError(f"{shown} must be an SQLite database; it is another kind of file.")
    return name


def _quoted(table: str) -> str:
    return ".".join('"' + part.replace('"', '""') + '"' for part in table.split("."))


def _table(cursor: Any, driver: str, table: str | None, shown: str) -> str:
    """The table to read: the one that is named, or the only one there is."""
    cursor.execute(LISTING[driver])
    known = [row[0] for row in cursor.fetchall()]
    if table is None:
        if len(known) != 1:
            raise ConfigError(
                f"{shown} holds {len(known)} tables; say which with --table or ?table=. "
                f"Known: {', '.join(known[:30]) or 'none'}."
            )
        return str(known[0])
    if "." not in table and table not in known:
        raise ConfigError(
            f"{shown} has no table '{table}'. {nearest(table, known) if known else 'It is empty.'}"
        )
    return table


def _fetch(cursor: Any, query: str) -> Spool:
    """The rows of a query, every column cast to text by the database."""
    plain = query.strip().rstrip(";")
    cursor.execute(f"SELECT * FROM ({plain}) AS rows_asked_for LIMIT 0")
    names = [column[0] for column in cursor.description]
    casts = ", ".join(f"CAST({_quoted_name(name)} AS TEXT) AS {_quoted_name(name)}" for name in names)
    cursor.execute(f"SELECT {casts} FROM ({plain}) AS rows_asked_for")
    spool = Spool()
    for batch in cursor.fetch_record_batch():
        frame = pl.DataFrame(pl.from_arrow(batch))
        spool.append(frame.with_columns(pl.all().cast(pl.String).replace("", None)))
    return spool


def _quoted_name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
