# SPDX-License-Identifier: Apache-2.0
"""The trained models of a workspace, seen and changed by name: list, promote, roll back."""

from __future__ import annotations

from pathlib import Path

import polars as pl
from rich.table import Table

from desirepath.flows.words import Answer
from desirepath.recommend.registry import Registry
from desirepath.workspace import Workspace

STYLES = {"current": "bold green", "candidate": "yellow", "rejected": "dim"}


def models(folder: Path) -> Answer:
    """Every version of the workspace, the newest first, and what was changed last."""
    registry = Registry(Workspace.open(folder))
    table, ledger = registry.versions(), registry.ledger()
    plain = {
        "current": ledger.current,
        "candidate": ledger.candidate,
        "previous": registry.previous(),
        "versions": table.to_dicts(),
        "history": [dict(line) for line in ledger.history],
    }
    if not table.height:
        return Answer(plain, [f"{folder} has no trained model yet. Run `desirepath run FILE --to {folder}`."])
    last = ledger.history[-1]
    said = f"{last['at'][:19].replace('T', ' ')} UTC: {last['what']} {last['name']}"
    return Answer(plain, [_shown(table), f"[dim]{said}{f', {why}' if (why := last['reason']) else ''}[/]"])


def promote(folder: Path, name: str, reason: str = "") -> Answer:
    """Make a version the one that answers; a server that runs on this workspace takes it up by itself."""
    registry = Registry(Workspace.open(folder))
    before = registry.current()
    registry.promote(name, reason or "by hand")
    return Answer({"current": name, "before": before}, [f"{name} answers now, in place of {before}."])


def rollback(folder: Path, reason: str = "") -> Answer:
    """Go back to the version before; can be repeated."""
    registry = Registry(Workspace.open(folder))
    before = registry.current()
    name = registry.rollback(reason)
    return Answer({"current": name, "before": before}, [f"{name} answers again, in place of {before}."])


def _shown(table: pl.DataFrame) -> Table:
    shown = Table(title="Models", title_justify="left", box=None)
    for column in ("version", "state", "learned until"):
        shown.add_column(column, no_wrap=True)
    shown.add_column("NDCG@10", justify="right", no_wrap=True)
    shown.add_column("judged", no_wrap=True)
    for row in table.iter_rows(named=True):
        until, validation, verdict = row["trained_until"], row["validation"], row["verdict"] or ""
        shown.add_row(
            row["name"],
            row["state"],
            f"{until:%Y-%m-%d}" if until else "",
            "" if validation is None else f"{validation:.4f}",
            verdict if row["difference"] is None else f"{row['difference']:+.4f}, {verdict}",
            style=STYLES.get(row["state"]),
        )
    return shown
