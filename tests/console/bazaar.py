# SPDX-License-Identifier: Apache-2.0
"""A small marketplace to look at, with names in it that a careless page would run."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import polars as pl

EVIL_USER = "<script>window.hurt=1</script>"
EVIL_TITLE = '<img src=x onerror="window.hurt=1">'
EVIL_ITEM = "<b>i</b>"
SWITCHES = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
RULES = """
[segments.partition]
k = 3

[scenario.cheap]
filter = "price < 30"

[experiment.price]
variants = { control = "default", treated = "cheap" }
"""
QUICK = (
    "recommend.transformer=false",
    'recommend.baselines=["popularity","markov"]',
    "recommend.max_test_users=40",
    "evaluation.n_resamples=20",
    "behaviour.max_seconds=1",
)


def chromium() -> str | None:
    """The browser of this machine, or None."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def make_market(folder: Path) -> Path:
    """A workspace of a simulated marketplace in which one user and one item bear HTML for names.

    Everything a page can show was made: two versions of a model, a comparison, patterns, segments, rules.
    """
    from desirepath.flows.behaviour import mine_behaviour
    from desirepath.flows.ingestion import take_in
    from desirepath.flows.learning import compared, fitted_models, open_split
    from desirepath.flows.progress import silent
    from desirepath.flows.recommendation import choose
    from desirepath.flows.settings import load_settings, remember
    from desirepath.flows.words import Given
    from desirepath.recommend.registry import Registry
    from desirepath.simulate import MarketplaceConfig, write

    log, to = folder / "log", folder / "workspace"
    write(MarketplaceConfig(n_events=2500, n_users=100, n_items=240, days=21), log, format="csv")
    _poison(log)
    to.mkdir()
    (to / "desirepath.toml").write_text(RULES, encoding="utf-8")
    settings = load_settings(to, QUICK)
    names = {kind: str(log / f"{kind}.csv") for kind in ("items", "users")}
    workspace, _, _ = take_in(Given(sources=[str(log / "events.csv")], **names), to, settings, silent)
    remember(workspace, QUICK)
    split = open_split(workspace, settings)
    models = dict(fitted_models(workspace, settings, split, silent))
    compared(workspace, settings, split, models, silent)
    choose(workspace, settings, split, models, silent)
    mine_behaviour(workspace, settings)
    registry = Registry(workspace)
    current = registry.current()
    assert current is not None
    registry.add(dataclasses.replace(registry.open(current), name="second"), reason="a test")
    return to


def _poison(log: Path) -> None:
    """Let one user do a lot to an item, both with names that a careless page would run."""
    events = pl.read_csv(log / "events.csv", infer_schema=False)
    events = events.unique("event_id", keep="first", maintain_order=True)
    mine = events.tail(60).with_columns(
        pl.lit(EVIL_USER).alias("user_id"),
        pl.when(pl.int_range(60) % 3 == 0).then(pl.lit(EVIL_ITEM)).otherwise("item_id").alias("item_id"),
        ("x" + pl.int_range(60).cast(pl.String)).alias("event_id"),
    )
    pl.concat([events, mine]).write_csv(log / "events.csv")
    items = pl.read_csv(log / "items.csv", infer_schema=False)
    evil = items.head(1).with_columns(
        pl.lit(EVIL_ITEM).alias("item_id"), title=pl.lit(EVIL_TITLE), title_zh=pl.lit(EVIL_TITLE)
    )
    pl.concat([items, evil]).write_csv(log / "items.csv")
