# SPDX-License-Identifier: Apache-2.0
"""The way from a log to recommendations, whole and step by step."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from desirepath import flows
from desirepath.cli.application import app, drawn, show
from desirepath.cli.options import Folder, Items, Json, K, Rejects, Set, Sources, To, Users, with_reading


@app.command()
@with_reading
def inspect(
    sources: Sources,
    reading: flows.ColumnChoice,
    samples: Annotated[
        bool, typer.Option("--samples", help="Show real values; they are masked without this.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Say how a log is understood and how good it is; write nothing."""
    show(flows.inspect(sources, reading, samples=samples), as_json)


@app.command()
@with_reading
def run(
    to: To,
    reading: flows.ColumnChoice,
    sources: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FILE...]", help="As for ingest; none: what the workspace has already."),
    ] = None,
    items: Items = None,
    users: Users = None,
    rejects: Rejects = None,
    settings: Set = None,
    as_json: Json = False,
) -> None:
    """Do it all: ingest, train, evaluate, recommend, report. Goes on where an earlier run was cut."""
    given = flows.Given(sources=sources or [], reading=reading, items=items, users=users, rejects=rejects)
    drawn(lambda progress: flows.run(given, to, settings or [], progress), as_json)


@app.command()
@with_reading
def ingest(
    sources: Sources,
    to: To,
    reading: flows.ColumnChoice,
    items: Items = None,
    users: Users = None,
    rejects: Rejects = None,
    settings: Set = None,
    as_json: Json = False,
) -> None:
    """Read, clean and keep events, and build the sequences. The same file twice adds nothing."""
    given = flows.Given(sources=sources, reading=reading, items=items, users=users, rejects=rejects)
    drawn(lambda progress: flows.ingest(given, to, settings or [], progress), as_json)


@app.command()
def train(folder: Folder, settings: Set = None, as_json: Json = False) -> None:
    """Fit the baselines and the transformer on the training part of the log."""
    drawn(lambda progress: flows.train(folder, settings or [], progress), as_json)


@app.command()
def evaluate(folder: Folder, settings: Set = None, as_json: Json = False) -> None:
    """Compare the trained models on the test part, over the full catalogue, with intervals."""
    drawn(lambda progress: flows.evaluate(folder, settings or [], progress), as_json)


@app.command()
def recommend(
    folder: Folder,
    user: Annotated[str | None, typer.Option("--user", help="A known user.")] = None,
    history: Annotated[
        str | None, typer.Option("--history", metavar="ITEM,ITEM", help="Item ids of anyone, oldest first.")
    ] = None,
    similar_item: Annotated[
        str | None, typer.Option("--similar-item", metavar="ITEM", help="Items like this one.")
    ] = None,
    similar_user: Annotated[
        str | None, typer.Option("--similar-user", metavar="USER", help="Users like this one.")
    ] = None,
    k: K = None,
    exclude_seen: Annotated[
        bool | None,
        typer.Option("--exclude-seen/--include-seen", help="Whether seen items stay out of the lists."),
    ] = None,
    settings: Set = None,
    as_json: Json = False,
) -> None:
    """Recommend to one user, to a history, or, when nobody is named, to all users into Parquet."""
    asked = flows.Asked(
        user=user,
        history=None if history is None else [word.strip() for word in history.split(",") if word.strip()],
        similar_item=similar_item,
        similar_user=similar_user,
        k=k,
        exclude_seen=exclude_seen,
    )
    drawn(lambda progress: flows.recommend(folder, asked, settings or [], progress), as_json)


@app.command()
def export(
    folder: Folder,
    what: Annotated[
        Literal["events", "sequences", "recommendations", "features", "evaluation"],
        typer.Argument(help="What to write."),
    ],
    to: Annotated[Path, typer.Option("--to", metavar="FILE", help="A .parquet, .csv or .jsonl file.")],
    as_json: Json = False,
) -> None:
    """Write a part of the workspace as one table."""
    drawn(lambda progress: flows.export(folder, what, to, progress), as_json)


@app.command()
def doctor(
    folder: Annotated[
        Path | None, typer.Argument(metavar="[DIR]", help="A workspace to look at too.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say what this machine and a workspace can do, and what is wrong with them."""
    answer = flows.doctor(folder)
    show(answer, as_json)
    if answer.plain["problems"]:
        raise typer.Exit(1)


@app.command()
def demo(
    to: To = Path("demo"),
    seed: Annotated[int, typer.Option("--seed", help="Another seed, another marketplace.")] = 0,
    settings: Set = None,
    as_json: Json = False,
) -> None:
    """Simulate a small marketplace, run everything on it, and say what was found."""
    drawn(lambda progress: flows.demo(to, seed, settings or [], progress), as_json)
