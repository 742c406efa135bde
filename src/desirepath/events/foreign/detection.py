# SPDX-License-Identifier: Apache-2.0
"""Tells which foreign format a file has, and which part of it, by its first bytes.

It reads the head of a file, unpacked; the readers of the formats do the rest.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass

from desirepath.errors import DataError
from desirepath.events.files import Archive, Source, chunks, compression
from desirepath.events.foreign.dump import SECTIONS

HEAD = 2**16
LINES = 200
METARANK = ("item", "user", "ranking", "interaction")


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a file was taken for."""

    source: Source
    format: str
    """gorse, gorse-jsonl, personalize, metarank; "" for none of them."""
    kind: str = ""
    """Its part: users, items, feedback, interactions, events."""


def tell(source: Source) -> Told:
    """The format and part of one file, by its content.

    Raises: DataError when it is empty or cannot be unpacked.
    """
    first = head(source)
    if not first:
        raise DataError(f"{source.name} must hold data to import; the file is empty.")
    if int.from_bytes(first[:8], "little", signed=True) in SECTIONS or first[:8] == bytes(8):
        return Told(source=source, format="gorse", kind="dump")
    text = first.decode("utf-8-sig", "replace")
    format, kind = _of_lines(text) if text.lstrip().startswith("{") else _of_heading(text)
    return Told(source=source, format=format, kind=kind)


def _of_lines(text: str) -> tuple[str, str]:
    """Format and kind by the keys of the first lines that are objects."""
    for line in text.splitlines()[:LINES]:
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if not isinstance(found, dict):
            continue
        if found.get("event") in METARANK and "timestamp" in found:
            return "metarank", "events"
        for key, kind in (("FeedbackType", "feedback"), ("ItemId", "items"), ("UserId", "users")):
            if key in found:
                return "gorse-jsonl", kind
    return "", ""


def _of_heading(text: str) -> tuple[str, str]:
    """Format and kind by the heading of a CSV."""
    names = heading(text)
    if {"USER_ID", "ITEM_ID", "TIMESTAMP"} <= names:
        return "personalize", "interactions"
    for key, kind in (("ITEM_ID", "items"), ("USER_ID", "users")):
        if key in names:
            return "personalize", kind
    return "", ""


def head(source: Source) -> bytes:
    """The first bytes of a file, unpacked."""
    archive = Archive()
    try:
        packed, first = compression(source, archive)
        return next(iter(chunks(source, archive, packed)), b"")[:HEAD] if first else b""
    finally:
        archive.close()


def heading(text: str) -> set[str]:
    """The names in the first line of a CSV."""
    lines = text.splitlines()
    try:
        return {name.strip() for name in next(csv.reader(lines[:1]))} if lines else set()
    except csv.Error:
        return set()
