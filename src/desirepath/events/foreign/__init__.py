# SPDX-License-Identifier: Apache-2.0
"""Readers of other systems' files: Gorse, Amazon Personalize, Metarank.

Each turns foreign files into an `Imported`: a raw log for the intake, tables of items and users, and lists
that were shown. Importing this package is light; a reader is loaded when it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from desirepath.errors import ConfigError, DataError, nearest

if TYPE_CHECKING:
    from desirepath.events.files import Source
    from desirepath.events.foreign.detection import Told
    from desirepath.events.foreign.imported import Imported

FORMATS = {
    "gorse": "a binary dump of Gorse (GET /api/dump)",
    "gorse-jsonl": "users, items and feedback as JSON lines (Gorse's GET /api/bulk/...)",
    "personalize": "interactions, items and users as CSV (Amazon Personalize)",
    "metarank": "item, user, ranking and interaction events as JSON lines (Metarank)",
}
"""The formats that can be imported, and what they are."""


def read_foreign(
    sources: Sequence[str | Path],
    format: str | None = None,
    *,
    partial: bool = False,
    on_progress: Callable[[float], None] | None = None,
) -> Imported:
    """Everything that another system's files hold, with nothing removed.

    Args:
        sources: files, folders or patterns; several files of one kind are put together.
        format: a key of FORMATS; None tells it by the files' content.
        partial: whether a cut or broken dump gives what is whole before the damage, rather than an error.
        on_progress: called with the share of the files that has been read, 0 to 1.

    Raises:
        ConfigError: a format that is not known, or a file that does not exist.
        DataError: a file has another format, is damaged, or holds nothing.
    Cost: one pass over the files; memory for one block of a file, and for the tables of items and users.
    """
    if format is not None and format not in FORMATS:
        raise ConfigError(
            f"FORMAT must be one of {', '.join(FORMATS)}; got '{format}'. {nearest(format, FORMATS)}"
        )
    from desirepath.events.files import discover
    from desirepath.events.foreign.detection import tell

    told = [tell(source) for source in discover(sources)]
    chosen, told = _agreed(told, format)
    found = _read(chosen, told, on_progress or (lambda share: None))
    if found.damage and not partial:
        raise DataError(
            f"{' '.join(found.damage)} Nothing was imported: fetch the file again, or pass --partial to "
            "import what is whole."
        )
    return found


def _agreed(told: list[Told], format: str | None) -> tuple[str, list[Told]]:
    """The one format of all files; files found in a folder that are of none are left out."""
    known = [one for one in told if one.format == format or (format is None and one.format)]
    for one in told:
        if one not in known and not one.source.found:
            what = f"it looks like {one.format}" if one.format else "its content looks like none of them"
            wanted = FORMATS[format] if format else f"one of {', '.join(FORMATS)}"
            raise DataError(
                f"{one.source.name} must be {wanted}; {what}. Read an ordinary log with `desirepath ingest`."
            )
    formats = {one.format for one in known}
    if len(formats) != 1:
        met = ", ".join(sorted(formats)) or "none that is known"
        raise DataError(f"All files must be of one format; these are of {met}. Import each format by itself.")
    return formats.pop(), known


def _read(format: str, told: list[Told], watch: Callable[[float], None]) -> Imported:
    sources: list[Source] = [one.source for one in told]
    if format == "gorse":
        from desirepath.events.foreign.gorse import read_gorse_dump

        return read_gorse_dump(sources, watch)
    if format == "gorse-jsonl":
        from desirepath.events.foreign.gorse import read_gorse_lines

        return read_gorse_lines(sources, cast(Any, [one.kind for one in told]), watch)
    if format == "metarank":
        from desirepath.events.foreign.metarank import read_metarank

        return read_metarank(sources, watch)
    from desirepath.events.foreign.personalize import read_personalize

    kinds: dict[str, list[Source]] = {}
    for one in told:
        kinds.setdefault(one.kind, []).append(one.source)
    return read_personalize(kinds, watch)


__all__ = ["FORMATS", "read_foreign"]
