# SPDX-License-Identifier: Apache-2.0
"""The command line: verbs only. Each parses its words, calls a flow, and prints what came back.

Exit codes: 0 fine, 1 failed, 2 wrong use, 3 the data cannot support an answer, 130 interrupted.
"""

from __future__ import annotations

import errno
import functools
import inspect as signatures
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from polars.exceptions import PanicException
from rich.console import Console, RenderableType
from rich.markup import escape

import desirepath
from desirepath import flows
from desirepath.bars import Bars
from desirepath.errors import ConfigError, DesirepathError

app = typer.Typer(
    help="From a raw log of user behaviour to profiles, predictions and honest recommendations.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
out = Console()
err = Console(stderr=True)

Sources = Annotated[
    list[str], typer.Argument(metavar="FILE...", help="Files, folders, globs or database URLs of events.")
]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The workspace.")]
To = Annotated[Path, typer.Option("--to", metavar="DIR", help="The workspace; made when there is none.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, on standard output.")]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="SECTION.KEY=VALUE", help="Override a setting (docs/config.md); repeatable."
    ),
]
Items = Annotated[str | None, typer.Option("--items", metavar="FILE", help="A table of the items.")]
Users = Annotated[str | None, typer.Option("--users", metavar="FILE", help="A table of the users.")]
Rejects = Annotated[
    Path | None, typer.Option("--rejects", metavar="FILE", help="Write the rows not kept (.parquet or .csv).")
]
K = Annotated[int | None, typer.Option("-k", "--k", min=1, help="Length of the lists.")]


def _reading_options(
    user: Annotated[str | None, typer.Option("--user", metavar="COLUMN", help="Column of the users.")] = None,
    item: Annotated[str | None, typer.Option("--item", metavar="COLUMN", help="Column of the items.")] = None,
    time: Annotated[
        str | None, typer.Option("--time", metavar="COLUMN", help="Column of the moment; 'none': file order.")
    ] = None,
    action: Annotated[
        str | None, typer.Option("--action", metavar="COLUMN", help="Column of the action.")
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option("--column", metavar="ROLE=COLUMN", help="Any other role, such as session_id=visit."),
    ] = None,
    time_unit: Annotated[
        str | None, typer.Option("--time-unit", help="s, ms, us, ns, minutes, hours, days, iso, a pattern.")
    ] = None,
    delimiter: Annotated[str | None, typer.Option("--delimiter", help="Text between two fields.")] = None,
    header: Annotated[
        bool | None, typer.Option("--header/--no-header", help="Whether line one names the columns.")
    ] = None,
    encoding: Annotated[
        str | None, typer.Option("--encoding", help="Codec of the text, such as latin-1.")
    ] = None,
    query: Annotated[str | None, typer.Option("--query", help="SQL to read from a database URL.")] = None,
    table: Annotated[str | None, typer.Option("--table", help="Table to read from a database URL.")] = None,
) -> flows.ColumnChoice:
    others = {}
    for word in column or []:
        role, equals, name = word.partition("=")
        if not equals:
            raise ConfigError(f"--column must read ROLE=COLUMN; got '{word}'.")
        others[role] = name
    return flows.ColumnChoice(
        user=user,
        item=item,
        time=time,
        action=action,
        others=others,
        time_unit=time_unit,
        delimiter=delimiter,
        header=header,
        encoding=encoding,
        query=query,
        table=table,
    )


def _with_reading(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options above in place of its parameter `reading`."""
    extra = signatures.signature(_reading_options, eval_str=True).parameters
    own = signatures.signature(command, eval_str=True)

    @functools.wraps(command)
    def wrapped(**words: Any) -> None:
        reading = _reading_options(**{name: words.pop(name) for name in extra})
        command(reading=reading, **words)

    parameters = [p for p in own.parameters.values() if p.name != "reading"] + list(extra.values())
    parameters.sort(key=lambda p: p.default is not p.empty)
    wrapped.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {p.name: p.annotation for p in parameters}
    return wrapped


def _show(answer: flows.Answer, as_json: bool) -> None:
    """Print an answer as JSON, or as a person would like to read it."""
    if as_json:
        sys.stdout.write(json.dumps(answer.plain, indent=1, default=str, ensure_ascii=False) + "\n")
    else:
        answer.print(out)


def _drawn(work: Callable[[flows.Progress], flows.Answer], as_json: bool) -> None:
    with Bars(err) as bars:
        answer = work(bars)
    _show(answer, as_json)


@app.command()
@_with_reading
def inspect(
    sources: Sources,
    reading: flows.ColumnChoice,
    samples: Annotated[
        bool, typer.Option("--samples", help="Show real values; they are masked without this.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Say how a log is understood and how good it is; write nothing."""
    _show(flows.inspect(sources, reading, samples=samples), as_json)


@app.command()
@_with_reading
def run(
    sources: Sources,
    to: To,
    reading: flows.ColumnChoice,
    items: Items = None,
    users: Users = None,
    rejects: Rejects = None,
    settings: Set = None,
    as_json: Json = False,
) -> None:
    """Do it all: ingest, train, evaluate, recommend, report. Goes on where an earlier run was cut."""
    given = flows.Given(sources=sources, reading=reading, items=items, users=users, rejects=rejects)
    _drawn(lambda progress: flows.run(given, to, settings or [], progress), as_json)


@app.command()
@_with_reading
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
    _drawn(lambda progress: flows.ingest(given, to, settings or [], progress), as_json)


@app.command()
def train(folder: Folder, settings: Set = None, as_json: Json = False) -> None:
    """Fit the baselines and the transformer on the training part of the log."""
    _drawn(lambda progress: flows.train(folder, settings or [], progress), as_json)


@app.command()
def evaluate(folder: Folder, settings: Set = None, as_json: Json = False) -> None:
    """Compare the trained models on the test part, over the full catalogue, with intervals."""
    _drawn(lambda progress: flows.evaluate(folder, settings or [], progress), as_json)


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
    _drawn(lambda progress: flows.recommend(folder, asked, settings or [], progress), as_json)


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
    _drawn(lambda progress: flows.export(folder, what, to, progress), as_json)


@app.command()
def doctor(
    folder: Annotated[
        Path | None, typer.Argument(metavar="[DIR]", help="A workspace to look at too.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say what this machine and a workspace can do, and what is wrong with them."""
    answer = flows.doctor(folder)
    _show(answer, as_json)
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
    _drawn(lambda progress: flows.demo(to, seed, settings or [], progress), as_json)


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False,
) -> None:
    if version:
        out.print(f"desirepath {desirepath.__version__}", highlight=False)
        raise typer.Exit


def _fail(message: RenderableType, code: int) -> None:
    err.print(message, soft_wrap=True)
    sys.exit(code)


def main() -> None:
    """Run the command line; every error ends in one sentence and an exit code."""
    try:
        app()
    except DesirepathError as error:
        _fail(f"[bold red]error:[/] {escape(str(error))}", error.exit_code)
    except KeyboardInterrupt:
        _fail("[yellow]stopped.[/] The same command goes on from here.", 130)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output left; there is no one to tell
        sys.exit(1)
    except PanicException as error:  # a BaseException: polars found a file damaged in its depths
        reason = escape(str(error).partition("\n")[0])
        _fail(f"[bold red]error:[/] A file is damaged; polars stopped at it: {reason}. Restore it.", 1)
    except OSError as error:
        hint = {
            errno.ENOSPC: "The disk is full. Free some space; the same command goes on from here.",
            errno.EDQUOT: "The disk quota is used up. Free some space; the same command goes on from here.",
            errno.EACCES: "It is not permitted. Choose another place, or change its permissions.",
            errno.EROFS: "The file system is read-only. Choose another place.",
        }.get(error.errno or 0)
        if hint is None:
            raise
        place = error.filename or "a file"
        _fail(f"[bold red]error:[/] {escape(str(place))}: {hint}", 1)
