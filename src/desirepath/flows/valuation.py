# SPDX-License-Identifier: Apache-2.0
"""What a changed scenario would bring, from the lists that a workspace served."""

from __future__ import annotations

import dataclasses
import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.table import Table

from desirepath.config import from_toml
from desirepath.errors import ConfigError, TooLittleData, WorkspaceError, nearest
from desirepath.evaluation.valuation import ScenarioValue, scenario_value
from desirepath.flows.items import items_table
from desirepath.flows.words import Answer
from desirepath.live.catalogue import Catalogue
from desirepath.live.retracing import Ground, retrace
from desirepath.live.scenarios import DEFAULT
from desirepath.live.store import LiveStore
from desirepath.recommend.registry import Registry
from desirepath.recommend.scenario import ScenarioConfig, load_scenarios
from desirepath.recommend.sequential import Interval
from desirepath.sequences.current import open_sequences
from desirepath.workspace import Workspace

SPAN = re.compile(r"(?P<n>\d+)(?P<unit>[hdw])")
UNITS_S = {"h": 3600, "d": 86_400, "w": 7 * 86_400}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """Which rules are valued against those in force."""

    scenario: str
    """The scenario whose lists were served."""
    other: str = ""
    """Another scenario of the workspace's TOML; empty for the one in `rules`."""
    rules: Path | None = None
    """An edited TOML, whose scenario of the same name is the candidate."""


def value(
    folder: Path, candidate: Candidate, since: str = "30d", most_lists: int = 5_000, database: str = ""
) -> Answer:
    """Value a candidate scenario from served lists, without showing it to anyone.

    Args:
        folder: the workspace.
        candidate: what is valued.
        since: how far back lists count, such as "48h", "7d" or "2026-11-20".
        most_lists: the newest so many of them.
        database: URL of the live store; empty for the SQLite file in the workspace.

    Raises:
        ConfigError: a scenario, the rules or `since` are wrong.
        DataError: nothing was served in that time.
        TooLittleData: what was served tells too little of the candidate; the message says why.
        WorkspaceError: there is no live store, or no log.
    """
    workspace = Workspace.open(folder)
    file = workspace.folder / "live.db"
    if not database and not file.exists():
        raise WorkspaceError(
            f"{folder} has no live store, so that nothing was served from it. Serve it first with "
            f"`desirepath serve {folder}`, or name the store's URL with --database."
        )
    sequences, table = open_sequences(workspace), items_table(workspace)
    schema = Catalogue(sequences.items, table).policy_view().table.schema
    rules = _rules(workspace, candidate, schema)
    store = LiveStore(database or f"sqlite:///{file}")
    try:
        ground = Ground(
            workspace=workspace,
            store=store,
            sequences=sequences,
            table=table,
            open_version=Registry(workspace).open,
        )
        again = retrace(ground, candidate.scenario, rules, since_us(since), most_lists)
    finally:
        store.close()
    found = scenario_value(again.shown, again.current, again.candidate, again.rewards)
    if found.refused:
        raise TooLittleData(found.refused)
    plain = dataclasses.asdict(found) | {"scenario": candidate.scenario, "left_out": again.left_out}
    return Answer(plain, [_shown(found), *_said(found, again.left_out)])


def since_us(text: str) -> int:
    """The moment that "48h", "7d", "2w" or a date means, in microseconds since 1970 UTC.

    Raises:
        ConfigError: it means none.

    >>> since_us("2026-11-20")
    1795132800000000
    """
    span = SPAN.fullmatch(text)
    if span:
        return round(1e6 * (time.time() - int(span["n"]) * UNITS_S[span["unit"]]))
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(
            f"--since must be a span such as 48h, 7d or 2w, or a date such as 2026-11-20; got '{text}'."
        ) from None
    return round(1e6 * (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def _rules(workspace: Workspace, candidate: Candidate, schema: Any) -> tuple[ScenarioConfig, ScenarioConfig]:
    """The rules in force, and the candidate's."""
    known = {DEFAULT: ScenarioConfig()}
    known |= load_scenarios(from_toml(workspace.settings_path).get("scenario", {}), schema)
    edited = known
    if (candidate.rules is None) == (not candidate.other):
        raise ConfigError(
            "Name the candidate: either --rules FILE, or --as another scenario of the workspace."
        )
    if candidate.rules is not None:
        if not candidate.rules.exists():
            raise ConfigError(f"--rules must name a TOML file; {candidate.rules} is not there.")
        edited = load_scenarios(from_toml(candidate.rules).get("scenario", {}), schema)
    for name, rules in ((candidate.scenario, known), (candidate.other or candidate.scenario, edited)):
        if name not in rules:
            raise ConfigError(f"There is no scenario '{name}' there. {nearest(name, rules)}")
    return known[candidate.scenario], edited[candidate.other or candidate.scenario]


def _shown(found: ScenarioValue) -> Table:
    shown = Table(title="A list brings", title_justify="left", box=None)
    shown.add_column("", no_wrap=True)
    for column in ("now", "candidate", "difference", "self-normalised", "inverse propensity"):
        shown.add_column(column, justify="right", no_wrap=True)
    for name, worth in found.worth.items():
        cells = (worth.current, worth.dr, worth.difference, worth.snips, worth.ips)
        shown.add_row(name, *map(told, cells))
    return shown


def told(found: Interval) -> str:
    """A figure with its interval, in a few characters.

    >>> told(Interval(0.25, 0.2, 0.3, 100)), told(Interval(0.25))
    ('0.250 [0.200, 0.300]', '0.250 (no interval)')
    """
    if found.low is None or found.high is None:
        return f"{found.value:.3f} (no interval)"
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"


def _said(found: ScenarioValue, left_out: dict[str, int]) -> list[str]:
    beside = "".join(f" {n:,} lists were left out: {why}." for why, n in left_out.items())
    decay = found.decay
    return [
        f"{found.n_lists:,} lists of {found.n_users:,} users, worth {found.effective_n:,.0f} lists of the "
        f"candidate. {found.unseen:.1%} of what it would show could not have been shown; "
        f"{found.retraced:.1%} of what was served follows from the rules in force.{beside}",
        "[dim]The candidate's figure is doubly robust; 95% intervals that hold at every look. Attention "
        f"falls with the place k as k^-{decay.value:.2f} (± {decay.error:.2f}, from {decay.n:,.0f} clicks on "
        "items that chance had moved).[/]",
    ]
