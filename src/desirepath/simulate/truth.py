# SPDX-License-Identifier: Apache-2.0
"""The truth of a marketplace: facts in JSON, tables in Parquet, and a short account of both."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from desirepath.errors import DataError, nearest

VERSION = 1
"""Of the layout of truth.json."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What was planted and what came of it."""

    facts: dict[str, Any]
    """The counts and laws, as in truth.json."""
    tables: dict[str, pl.LazyFrame]
    """The tables of the folder `truth`, by name."""
    events: Path | None = None
    """The log, if it was written: what a reader is given."""

    def table(self, name: str) -> pl.DataFrame:
        """One table of the truth, read into memory.

        Raises:
            DataError: if there is none of that name (a lean log has but a few).
        """
        if name not in self.tables:
            raise DataError(f"The truth holds no table {name!r}. {nearest(name, self.tables)}")
        return self.tables[name].collect()


def save_facts(folder: Path, facts: dict[str, Any], events: Path) -> Path:
    """Write truth.json.

    Args:
        folder: of the marketplace.
        facts: what `Tally.facts` gave, and the configuration.
        events: the log, inside the folder.
    """
    path = folder / "truth.json"
    text = json.dumps({"version": VERSION, "events": events.name, **facts}, indent=1, ensure_ascii=False)
    partial = path.with_name("truth.json.partial")
    partial.write_text(text + "\n", encoding="utf-8")
    partial.replace(path)
    return path


def read_truth(folder: Path | str) -> Truth:
    """The truth that `write` left in a folder.

    Raises:
        DataError: if the folder holds none, or one of another version.
    """
    folder = Path(folder)
    path = folder / "truth.json"
    if not path.is_file():
        raise DataError(
            f"A simulated marketplace holds a truth.json, but {folder} has none. Simulate one there."
        )
    facts = json.loads(path.read_text(encoding="utf-8"))
    if facts.get("version") != VERSION:
        raise DataError(
            f"truth.json must be of version {VERSION}, but {path} is of {facts.get('version')}. "
            "Simulate it anew."
        )
    tables = {file.stem: pl.scan_parquet(file) for file in sorted((folder / "truth").glob("*.parquet"))}
    return Truth(facts=facts, tables=tables, events=folder / facts["events"])


def marketplace_summary(truth: Truth) -> dict[str, str]:
    """What was planted, in a few lines for people: a title and a sentence each."""
    facts = truth.facts
    rows, counts, social = facts["rows"], facts["counts"], facts["social"]
    actions = ", ".join(f"{number:,} {name}" for name, number in counts["actions"].items())
    dirty = ", ".join(
        f"{number:,} {name.replace('_', ' ')}"
        for name, number in rows.items()
        if name not in ("written", "clean")
    )
    segments = ", ".join(f"{entry['name']} {entry['users']:,}" for entry in facts["segments"])
    funnel = facts["funnel"]["sessions"]
    effects = ", ".join(f"{entry['name']} {entry['uplift']:+.0%}" for entry in facts["campaign"]["segments"])
    patterns = "; ".join(
        f"{entry['name']} ({' > '.join(entry['actions'])}) in {entry['support_buyers']:,} buyers"
        f" and {entry['support_leavers']:,} leavers"
        for entry in facts["patterns"]
    )
    triggers = ", ".join(
        f"{entry['cause']} → {entry['effect']} {entry['mean']:.2f}"
        for entry in facts["triggers"]
        if entry["way"] == "own"
    )
    walked, views = facts["next_item"], counts["actions"]["view"]
    return {
        "size": f"{rows['written']:,} rows, {counts['users']:,} users, {counts['items']:,} items: {actions}",
        "dirt": f"{rows['clean']:,} clean rows; besides them {dirty}",
        "segments": f"{segments}; {counts['switchers']:,} users change theirs",
        "cold": f"{counts['cold_users']:,} users and {counts['cold_items']:,} items come in the last tenth",
        "funnel": f"{funnel[0]:,} sessions view, {funnel[1]:,} fill a cart, {funnel[2]:,} purchase",
        "order": f"{walked['ring']:,} of {views:,} views follow the hidden order of the items",
        "triggers": f"direct children an event: {triggers}",
        "patterns": patterns,
        "campaign": f"purchases added by it: {effects}",
        "social": f"{social['edges']:,} edges; friends caused {social['children']:,} purchases",
        "exposures": f"{facts['exposures']['slots']:,} slots shown, {facts['exposures']['clicks']:,} clicked",
    }
