# SPDX-License-Identifier: Apache-2.0
"""Measure a workspace's server on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from desirepath.cli.application import app, drawn
from desirepath.cli.options import Folder, Json


@app.command()
def bench(
    folder: Folder,
    rate: Annotated[float, typer.Option("--rate", help="Requests a second while latency is taken.")] = 50.0,
    seconds: Annotated[float, typer.Option("--seconds", help="Length of each of the five parts.")] = 10.0,
    clients: Annotated[int, typer.Option("--clients", help="Clients at once, for the most it can do.")] = 32,
    min_events: Annotated[
        int, typer.Option("--min-events", help="Only ask for users with so many events.")
    ] = 1,
    scenario: Annotated[str, typer.Option("--scenario", help="The scenario to ask for.")] = "default",
    as_json: Json = False,
) -> None:
    """Measure latency, throughput, freshness and memory of a server on a copy of a workspace."""
    from desirepath.flows.bench import BenchConfig, bench

    config = BenchConfig(
        rate_per_s=rate, seconds=seconds, clients=clients, min_events=min_events, scenario=scenario
    )
    drawn(lambda progress: bench(folder, config, progress), as_json)
