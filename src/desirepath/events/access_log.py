# SPDX-License-Identifier: Apache-2.0
"""Reads web access logs in the Common or Combined Log Format.

Lines come in as a polars column, fields go out as columns. It opens no files.
Source: Apache HTTP Server 2.4 documentation, mod_log_config, LogFormat "common" and "combined".
"""

from __future__ import annotations

import re
from typing import Final

import polars as pl

PATTERN: Final = (
    r"^(?P<host>\S+) (?P<ident>\S+) (?P<authuser>.+?) "
    r"\[(?P<time>\d{1,2}/\w{3}/\d{4}:\d{2}:\d{2}:\d{2} [+-]\d{4})\] "
    r'"(?P<request>.*?)" (?P<status>\d{3}) (?P<bytes>\d+|-)'
    r'(?: "(?P<referrer>(?:[^"\\]|\\.)*)" "(?P<user_agent>(?:[^"\\]|\\.)*)")?(?: .*)?$'
)
"""One line of either format; the request may hold quotes, as real ones do."""
CLF: Final = re.compile(PATTERN)

FIELDS: Final = (
    "host",
    "authuser",
    "time",
    "method",
    "path",
    "query",
    "status",
    "bytes",
    "referrer",
    "user_agent",
)
REASON: Final = "not an access-log line"


def parse(lines: pl.Series) -> tuple[pl.DataFrame, pl.Series]:
    """The fields of each line, and the lines that are none.

    "-" means absent. A logged-in user keeps the name; the path comes without its query.

    Shapes: lines (n,) String; returns a frame of `FIELDS` as String, and a mask (n,) of unreadable lines.
    """
    frame = (
        lines.to_frame("line").select(pl.col("line").str.extract_groups(PATTERN).alias("all")).unnest("all")
    )
    request = pl.col("request").str.extract_groups(
        r"^(?P<method>[A-Z]+)\s+(?P<target>\S.*?)(?:\s+HTTP/[\d.]+)?\s*$"
    )
    frame = frame.with_columns(request.alias("parts")).unnest("parts")
    target = pl.coalesce("target", "request")
    fields = frame.select(
        "host",
        "authuser",
        "time",
        "method",
        target.str.replace(r"\?.*$", "").alias("path"),
        target.str.extract(r"\?(.*)$").alias("query"),
        "status",
        "bytes",
        "referrer",
        "user_agent",
    ).with_columns(pl.when(pl.all() != "-").then(pl.all()))
    bad = frame["time"].is_null().rename("bad")
    return fields.filter(~bad), bad
