# SPDX-License-Identifier: Apache-2.0
"""How well segments find the planted ones, and what each step and a portrait cost.

    python benchmarks/segments.py                    three seeds of 5,000 users, then 100,000 users
    python benchmarks/segments.py --users 1000000    only the steps, at one size

Quality is the adjusted Rand index with default settings between the segments found and the planted ones
that hold at the end of the log: over all users of the cleaned log, and over those who kept to one segment.
Times are processor seconds beside wall seconds: other work on the machine stretches the latter. The floor of
vectors is one group-by of the same log that counts events by user and action.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import polars as pl
from sklearn.metrics import adjusted_rand_score

from desirepath.events import read_events
from desirepath.events.log import clean_events
from desirepath.profiles import (
    Beside,
    Sources,
    VectorConfig,
    item_portrait,
    segment,
    user_portrait,
    user_vectors,
)
from desirepath.profiles.partition import PartitionConfig, part
from desirepath.profiles.space import Space
from desirepath.simulate import MarketplaceConfig, demo, write
from record import record

T = TypeVar("T")
CONFIG = VectorConfig(value_actions=("purchase",))


def timed(figures: dict[str, Any], name: str, work: Callable[[], T]) -> T:
    """What `work` gives; its wall and processor seconds go into the figures."""
    wall, processor = time.perf_counter(), time.process_time()
    done = work()
    figures[f"{name}_s"] = round(time.perf_counter() - wall, 2)
    figures[f"{name}_processor_s"] = round(time.process_time() - processor, 2)
    return done


def world(config: MarketplaceConfig, folder: Path) -> tuple[pl.LazyFrame, Beside, pl.DataFrame, datetime]:
    """The cleaned log of a marketplace as Parquet, its tables, the planted segments, and its end."""
    truth = write(config, folder)
    assert truth.events is not None
    events, _ = clean_events(read_events(str(truth.events)))
    events.write_parquet(folder / "clean.parquet")
    end = events.get_column("time").max()
    assert isinstance(end, datetime)
    beside = Beside(
        items=pl.read_parquet(folder / "items.parquet"), users=pl.read_parquet(folder / "users.parquet")
    )
    return (
        pl.scan_parquet(folder / "clean.parquet"),
        beside,
        truth.table("users"),
        end + timedelta(microseconds=1),
    )


def agreement(members: pl.DataFrame, planted: pl.DataFrame) -> dict[str, Any]:
    """Adjusted Rand index with the planted segments that hold at the end of the log."""
    both = members.join(planted, on="user_id")
    kept = both.filter((pl.col("segment_right") == pl.col("segment_after")) & ~pl.col("robot"))
    return {
        "users": both.height,
        "segments": members["segment"].n_unique(),
        "ari_all_users": round(adjusted_rand_score(both["segment_after"], both["segment"]), 4),
        "users_of_one_segment": kept.height,
        "ari_users_of_one_segment": round(adjusted_rand_score(kept["segment_after"], kept["segment"]), 4),
    }


def quality(seed: int) -> dict[str, Any]:
    """One demo marketplace."""
    with tempfile.TemporaryDirectory(prefix="segments-") as folder:
        events, beside, planted, end = world(demo(seed=seed), Path(folder))
        figures: dict[str, Any] = {"seed": seed}
        vectors = timed(figures, "vectors", lambda: user_vectors(events, end, CONFIG, beside))
        found = timed(figures, "segment", lambda: segment(vectors))
        figures |= agreement(found.members, planted)
        # The departments are nearly the segments; without them, the 24 categories alone must tell.
        lone = VectorConfig(attributes=("category",))
        alone = segment(user_vectors(events, end, lone, beside))
        figures["ari_categories_only"] = agreement(alone.members, planted)["ari_all_users"]
        return figures | {"names": found.table["name"].to_list()}


def steps(n_users: int) -> dict[str, Any]:
    """What each step costs at that many users of about fifty events."""
    with tempfile.TemporaryDirectory(prefix="segments-") as folder:
        config = MarketplaceConfig(n_events=50 * n_users, n_users=n_users)
        events, beside, planted, end = world(config, Path(folder))
        figures: dict[str, Any] = {"users": n_users, "events": events.select(pl.len()).collect().item()}
        counted = events.group_by("user_id", "action").len()
        timed(figures, "floor", lambda: counted.collect(engine="streaming"))
        vectors = timed(figures, "vectors", lambda: user_vectors(events, end, CONFIG, beside))
        space = timed(figures, "space", lambda: Space.fit(vectors))
        points = timed(figures, "transform", lambda: space.transform(vectors))
        timed(figures, "choose_and_cluster", lambda: part(points))
        timed(figures, "cluster_k_given", lambda: part(points, PartitionConfig(k=6)))
        found = timed(figures, "segment_in_all", lambda: segment(vectors))
        figures |= agreement(found.members, planted)
        timed(figures, "assign", lambda: found.assign(vectors))
        sources = Sources(items=beside.items, users=beside.users, segments=found)
        user, item = vectors.users[n_users // 2], events.select("item_id").head(1).collect().item()
        user_portrait(user, events, end, sources)
        timed(figures, "user_portrait", lambda: user_portrait(user, events, end, sources))
        timed(figures, "item_portrait", lambda: item_portrait(item, events, end, sources))
        figures["peak_mib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return figures


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--users", type=int, help="only the steps, for a log of so many users")
    parser.add_argument("--demo", action="store_true", help="only the quality on the demo marketplaces")
    given = parser.parse_args()
    if given.users is None:
        record("segments", {"demo": [quality(seed) for seed in range(3)]})
    for n_users in [] if given.demo else [given.users] if given.users else [5_000, 100_000]:
        record(f"segments-{n_users // 1000}k", steps(n_users))


if __name__ == "__main__":
    main()
