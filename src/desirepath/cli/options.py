# SPDX-License-Identifier: Apache-2.0
"""Options that several commands share, and how a command is given a whole family of them."""

from __future__ import annotations

import functools
import inspect as signatures
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from desirepath import flows
from desirepath.errors import ConfigError

Per = Literal["user", "session"]
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


def _reading(
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


def _selection(
    by: Annotated[
        str | None,
        typer.Option("--by", metavar="NAME,NAME", help="What an event is called: item, action, a column."),
    ] = None,
    per: Annotated[Per | None, typer.Option("--per", help="Whose events make one sequence.")] = None,
    session_gap: Annotated[
        float, typer.Option("--session-gap", metavar="SECONDS", min=1e-6, help="Pause that ends a session.")
    ] = 1800.0,
    collapse: Annotated[bool, typer.Option("--collapse", help="Pass over immediate repeats.")] = False,
    at_once: Annotated[
        bool, typer.Option("--at-once", help="Events at one instant are one set without order.")
    ] = False,
    actions: Annotated[
        str | None, typer.Option("--actions", metavar="NAME,NAME", help="Only events with these actions.")
    ] = None,
    start: Annotated[
        str | None, typer.Option("--start", metavar="NAME,NAME", help="Only sequences that begin so.")
    ] = None,
    end: Annotated[
        str | None, typer.Option("--end", metavar="NAME,NAME", help="Only sequences that end so.")
    ] = None,
) -> flows.Selection:
    return flows.Selection(
        by=words(by),
        per=per,
        session_gap_s=session_gap,
        collapse_repeats=collapse,
        simultaneous=at_once,
        actions=words(actions),
        start=words(start),
        end=words(end),
    )


def words(text: str | None) -> tuple[str, ...]:
    """The names in a text that parts them by commas."""
    return tuple(word.strip() for word in (text or "").split(",") if word.strip())


def _with(name: str, options: Callable[..., Any], command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the parameters of `options` in place of its parameter `name`."""
    extra = signatures.signature(options, eval_str=True).parameters
    own = signatures.signature(command, eval_str=True)

    @functools.wraps(command)
    def wrapped(**given: Any) -> None:
        made = options(**{word: given.pop(word) for word in extra})
        command(**{name: made}, **given)

    parameters = [p for p in own.parameters.values() if p.name != name] + list(extra.values())
    parameters.sort(key=lambda p: p.default is not p.empty)
    wrapped.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {p.name: p.annotation for p in parameters}
    return wrapped


def with_reading(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of reading in place of its parameter `reading`."""
    return _with("reading", _reading, command)


def with_selection(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that name events and sequences in place of its parameter `selection`."""
    return _with("selection", _selection, command)
