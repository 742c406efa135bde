# SPDX-License-Identifier: Apache-2.0
"""Paths on five million simulated events: seconds, memory, and totals against plain Polars.

    python benchmarks/paths.py
    python benchmarks/paths.py --log FOLDER          keep the simulated log there, and use it again

Sequences are packed once; the clock runs over what follows. Every figure is the best of several warm calls on
one processor, beside it the processor time of the same call, since a shared machine makes wall time longer
than it is. Polars answers the same questions in the same run, from the same arrays in memory, and both must
agree.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("POLARS_MAX_THREADS", "1")

import numpy as np
import polars as pl

from desirepath.flows import ColumnChoice, Given, ingest
from desirepath.patterns.database import SequenceDatabase, SymbolConfig, sequence_database
from desirepath.patterns.paths import (
    FunnelConfig,
    RetentionConfig,
    StepsConfig,
    funnel,
    loops,
    path_tree,
    retention,
    sankey,
    step_matrix,
    top_paths,
    transitions,
    visits,
)
from desirepath.sequences import Sequences
from desirepath.simulate import bench, write
from record import record

STEPS = ("view", "cart", "purchase")
SIXTEEN = ("view", "view", "search", "view") * 4
BAR_S = 0.1


def best(call: Callable[[], Any], repeats: int = 7) -> dict[str, float]:
    call()
    walls, works = [], []
    for _ in range(repeats):
        wall, work = time.perf_counter(), time.process_time()
        call()
        walls.append(time.perf_counter() - wall)
        works.append(time.process_time() - work)
    return {"wall_s": round(min(walls), 4), "processor_s": round(min(works), 4)}


def opened(folder: Path) -> Path:
    """The folder of packed sequences, made from a simulated log where there is none."""
    packed = folder / "workspace" / "sequences"
    if not packed.exists():
        write(bench(5_000_000), folder)
        ingest(Given(sources=(str(folder / "events.parquet"),), reading=ColumnChoice()), folder / "workspace")
    return packed


def events_of(database: SequenceDatabase) -> pl.DataFrame:
    """The same events as a plain table, in order."""
    sequence = np.repeat(np.arange(database.n_sequences, dtype=np.int32), np.diff(database.offsets))
    return pl.DataFrame(
        {
            "sequence": sequence,
            "user": database.user_ix[sequence],
            "symbol": database.symbols.decode(database.symbol_ix).cast(pl.Categorical),
            "time_s": database.time_s,
        }
    )


def plain_transitions(events: pl.DataFrame) -> pl.DataFrame:
    same = pl.col("sequence") == pl.col("sequence").shift(-1)
    pairs = events.select(
        "symbol", to=pl.col("symbol").shift(-1), gap=pl.col("time_s").shift(-1) - pl.col("time_s"), same=same
    ).filter("same")
    return pairs.group_by("symbol", "to").agg(pl.len(), pl.col("gap").mean(), median=pl.col("gap").median())


def plain_funnel(events: pl.DataFrame) -> list[int]:
    """Sequences that reach each step, by the first start; without a window this is all there are."""
    reached, begun = [], events.select("sequence", "symbol", row=pl.int_range(pl.len()))
    for step in STEPS:
        firsts = begun.filter(pl.col("symbol") == step).group_by("sequence").agg(pl.col("row").min())
        reached.append(firsts.height)
        begun = begun.join(firsts.rename({"row": "from"}), on="sequence").filter(
            pl.col("row") > pl.col("from")
        )
        begun = begun.drop("from")
    return reached


def plain_steps(events: pl.DataFrame) -> pl.DataFrame:
    place = (pl.col("row") - pl.col("row").first().over("sequence") + 1).cast(pl.Int64).alias("step")
    rows = events.with_row_index("row").select("symbol", place).filter(pl.col("step") <= 20)
    return rows.group_by("step", "symbol").len()


def plain_visits(events: pl.DataFrame) -> pl.DataFrame:
    fresh = (pl.col("sequence") != pl.col("sequence").shift(1)) | (pl.col("time_s").diff() > 1800)
    marked = events.with_columns(visit=fresh.fill_null(True).cum_sum())
    return marked.group_by("visit", maintain_order=True).agg(
        pl.col("user").first(),
        pl.col("time_s").first().alias("start"),
        pl.col("time_s").last().alias("end"),
        pl.len(),
        pl.col("symbol").first().alias("first"),
        pl.col("symbol").last().alias("last"),
    )


def plain_cohorts(events: pl.DataFrame) -> pl.DataFrame:
    week = ((pl.col("time_s") / 86400).floor().cast(pl.Int32) + 3) // 7
    active = events.select("user", week.alias("week")).unique()
    born = active.group_by("user").agg(pl.col("week").min().alias("cohort"))
    return (
        active.join(born, on="user")
        .group_by("cohort", period=pl.col("week") - pl.col("cohort"))
        .len()
        .sort("cohort", "period")
    )


def compared(database: SequenceDatabase) -> dict[str, Any]:
    """Ours and Polars', after checking that their totals are one."""
    events = events_of(database)
    steps20 = StepsConfig(n_steps=20)
    ours = {
        "transitions": lambda: transitions(database),
        "funnel": lambda: funnel(database, STEPS).to_frame(),
        "step matrix": lambda: step_matrix(database, steps20),
        "sessions": lambda: visits(database),
        "cohorts": lambda: retention(database, RetentionConfig(period="week")),
    }
    theirs = {
        "transitions": lambda: plain_transitions(events),
        "funnel": lambda: plain_funnel(events),
        "step matrix": lambda: plain_steps(events),
        "sessions": lambda: plain_visits(events),
        "cohorts": lambda: plain_cohorts(events),
    }
    check(database, {name: call() for name, call in theirs.items()}, steps20)
    out: dict[str, Any] = {}
    for name, call in ours.items():
        mine, floor = best(call), best(theirs[name], 2)
        times = round(floor["processor_s"] / mine["processor_s"], 1)
        out[name] = mine | {"polars": floor, "times_faster": times}
    one_day = FunnelConfig(window_s=86_400)
    rest = {
        "funnel of 3 within a day": lambda: funnel(database, STEPS, one_day).to_frame(),
        "funnel of 16 within a day": lambda: funnel(database, SIXTEEN, one_day).to_frame(),
        "drop-offs": lambda: funnel(database, STEPS).drop_offs(),
        "sankey": lambda: sankey(database),
        "path tree": lambda: path_tree(database),
        "top paths": lambda: top_paths(database),
        "loops": lambda: loops(database),
    }
    return out | {name: best(call, 4) for name, call in rest.items()}


def check(database: SequenceDatabase, plain: dict[str, Any], steps20: StepsConfig) -> None:
    """Stop where a total differs."""
    table = transitions(database)
    assert table["count"].sum() == database.n_events + database.n_sequences
    ours = {(a, b): (n, m) for a, b, n, m in table.select("from", "to", "count", "median_s").rows()}
    for left, right, count, _, median in plain["transitions"].rows():
        found = ours[left, right]
        assert found[0] == count
        assert abs(found[1] - median) < 1e-6, (left, right)
    assert table.filter(pl.col("median_s").is_not_null()).height == plain["transitions"].height
    assert funnel(database, STEPS).to_frame()["entered"].to_list() == plain["funnel"]
    matrix = {(step, name): n for step, name, n, _ in step_matrix(database, steps20).rows()}
    assert all(matrix[step, name] == n for step, name, n in plain["step matrix"].rows())
    table = visits(database)
    assert table["n_events"].sum() == database.n_events
    assert table["n_events"].to_list() == plain["sessions"]["len"].to_list()
    assert table["last"].equals(plain["sessions"]["last"].cast(pl.String))
    cohorts = retention(database, RetentionConfig(period="week"))
    first = cohorts["cohort"].min()
    week = (pl.col("cohort") - first).dt.total_days() // 7
    over = cohorts.drop_nulls("active").filter(pl.col("active") > 0).select(week, "period", "active")
    floor = plain["cohorts"].with_columns(pl.col("cohort") - pl.col("cohort").min())
    joined = over.cast(pl.Int64).join(floor.cast(pl.Int64), on=["cohort", "period"])
    assert joined.height == over.height
    assert (joined["active"] == joined["len"]).all()


def measured(packed: Path) -> dict[str, Any]:
    began = time.perf_counter()
    sequences = Sequences.load(packed)
    figures: dict[str, Any] = {"open_s": round(time.perf_counter() - began, 3)}
    for per in ("user", "session"):
        config = SymbolConfig(by=("action",), per=per)
        began = time.perf_counter()
        database = sequence_database(sequences, config)
        first_s = time.perf_counter() - began
        load = best(lambda config=config: sequence_database(sequences, config), 4)
        figures[per] = {
            "sequences": database.n_sequences,
            "events": database.n_events,
            "load": load | {"first_wall_s": round(first_s, 3)},
            **compared(database),
        }
    return figures


def peak(packed: Path) -> dict[str, float]:
    """Memory of a process that opens, loads and asks each question once."""
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    database = sequence_database(Sequences.load(packed), SymbolConfig(by=("action",)))
    loaded = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    transitions(database)
    funnel(database, STEPS).to_frame()
    step_matrix(database, StepsConfig(n_steps=20))
    visits(database)
    retention(database)
    done = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"imported_mib": round(base), "loaded_mib": round(loaded), "peak_mib": round(done)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--log", type=Path, help="folder of the simulated log")
    parser.add_argument("--peak", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.peak:
        print(json.dumps(peak(given.peak)))
        return
    with tempfile.TemporaryDirectory(prefix="paths-") as spare:
        packed = opened(given.log or Path(spare))
        words = [sys.executable, __file__, "--peak", str(packed)]
        alone = subprocess.run(words, capture_output=True, text=True, check=True)
        figures = measured(packed) | {"memory": json.loads(alone.stdout), "bar_s": BAR_S}
    record("paths", figures)


if __name__ == "__main__":
    main()
