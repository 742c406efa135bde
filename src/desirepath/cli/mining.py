# SPDX-License-Identifier: Apache-2.0
"""`desirepath mine VERB`: what people do, one question a verb."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from desirepath import flows
from desirepath.cli.application import app, drawn
from desirepath.cli.options import Folder, Json, with_selection, words

mine = typer.Typer(help="What people do: sequences, contrasts, rules, paths.", no_args_is_help=True)
app.add_typer(mine, name="mine")

Rows = Annotated[int, typer.Option("-k", "--rows", min=1, help="Rows shown.")]
File = Annotated[
    Path | None, typer.Option("--to", metavar="FILE", help="The whole table: .parquet, .csv or .jsonl.")
]
Plot = Annotated[
    Path | None, typer.Option("--plot", metavar="FILE", help="A drawing: .html, .png, .svg or .pdf.")
]
Support = Annotated[
    str, typer.Option("--min-support", help="Least support: a share such as 0.01, or a count such as 50.")
]
Confidence = Annotated[float, typer.Option("--min-confidence", min=0, max=1, help="Least share of X then Y.")]
Kind = Literal["frequent", "closed", "maximal"]
Best = Literal["information_gain", "lift", "odds_ratio", "difference", "support", "q"]
MinLength = Annotated[int, typer.Option("--min-length", min=1, help="Fewest symbols.")]
MaxLength = Annotated[int, typer.Option("--max-length", min=0, help="Most symbols; 0 for any number.")]
Gap = Annotated[
    int | None, typer.Option("--max-gap", min=1, help="Farthest that neighbours may be, in events.")
]
GapSeconds = Annotated[
    float | None, typer.Option("--max-gap-s", min=0, help="Longest time between neighbours, in seconds.")
]
Span = Annotated[float | None, typer.Option("--max-span-s", min=0, help="Longest time from first to last.")]
Begins = Annotated[str | None, typer.Option("--starts-with", metavar="NAME,NAME", help="Begins with one.")]
Ends = Annotated[str | None, typer.Option("--ends-with", metavar="NAME,NAME", help="Ends with one.")]
Holds = Annotated[str | None, typer.Option("--contains", metavar="NAME,NAME", help="Holds all of them.")]
NoRepeats = Annotated[bool, typer.Option("--no-repeats", help="No symbol twice in a row.")]
Seconds = Annotated[float, typer.Option("--max-seconds", min=0, help="Time to search; 0 for no limit.")]
Most = Annotated[int, typer.Option("--max-patterns", min=1, help="The search ends with this many.")]
Names = Annotated[str, typer.Argument(metavar="NAME,NAME", help="Names in order, parted by commas.")]
Steps = Annotated[int | None, typer.Option("--n-steps", min=1, help="Steps shown.")]
Top = Annotated[int | None, typer.Option("--top", min=1, help="Names a step; the rest is <other>.")]


def support(text: str) -> float | int:
    """A count where it is a whole number above 0, else a share.

    >>> support("50"), support("0.01"), support("1.0")
    (50, 0.01, 1.0)
    """
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(
            f"must be a share such as 0.01 or a count such as 50; got '{text}'"
        ) from None


def _ask(
    verb: str,
    folder: Path,
    selection: flows.Selection,
    options: dict[str, Any],
    output: flows.Output,
    as_json: bool,
) -> None:
    drawn(lambda progress: flows.mine(folder, verb, selection, options, output, progress), as_json)


@mine.command()
@with_selection
def sequences(
    folder: Folder,
    selection: flows.Selection,
    min_support: Support = "0.01",
    kind: Annotated[Kind, typer.Option("--kind", help="All, or those without a longer equal.")] = "frequent",
    top_k: Annotated[int, typer.Option("--top-k", min=0, help="Only the most frequent; 0 for all.")] = 0,
    min_length: MinLength = 1,
    max_length: MaxLength = 0,
    max_gap: Gap = None,
    max_gap_s: GapSeconds = None,
    max_span_s: Span = None,
    starts_with: Begins = None,
    ends_with: Ends = None,
    contains: Holds = None,
    no_repeats: NoRepeats = False,
    max_seconds: Seconds = 600.0,
    max_patterns: Most = 20_000_000,
    parts: Annotated[int, typer.Option("--parts", min=1, help="One part of the users at a time.")] = 1,
    rows: Rows = 20,
    to: File = None,
    plot: Plot = None,
    as_json: Json = False,
) -> None:
    """What many people do in the same order, whatever lies between."""
    options = {
        "min_support": support(min_support),
        "kind": kind,
        "top_k": top_k,
        "min_length": min_length,
        "max_length": max_length,
        "max_gap": max_gap,
        "max_gap_s": max_gap_s,
        "max_span_s": max_span_s,
        "starts_with": words(starts_with),
        "ends_with": words(ends_with),
        "contains": words(contains),
        "no_repeats": no_repeats,
        "max_seconds": max_seconds,
        "max_patterns": max_patterns,
        "parts": parts,
    }
    _ask("sequences", folder, selection, options, flows.Output(k=rows, to=to, plot=plot), as_json)


@mine.command()
@with_selection
def contrast(
    folder: Folder,
    selection: flows.Selection,
    between: Annotated[
        str, typer.Option("--between", help="did:ACTION, since:DATE, segment, a users' column, or a file.")
    ],
    min_support: Support = "0.05",
    min_length: MinLength = 1,
    max_length: MaxLength = 5,
    order_by: Annotated[Best, typer.Option("--order-by", help="Which rows come first.")] = "information_gain",
    max_q: Annotated[float, typer.Option("--max-q", min=0, max=1, help="Most false discoveries.")] = 0.05,
    max_seconds: Seconds = 600.0,
    rows: Rows = 20,
    to: File = None,
    plot: Plot = None,
    as_json: Json = False,
) -> None:
    """What sets groups apart: sequences far more common in one than in the other, with tests."""
    options = {
        "between": between,
        "min_support": support(min_support),
        "min_length": min_length,
        "max_length": max_length,
        "max_seconds": max_seconds,
        "order_by": order_by,
        "max_q": max_q,
    }
    _ask("contrast", folder, selection, options, flows.Output(k=rows, to=to, plot=plot), as_json)


@mine.command()
@with_selection
def rules(
    folder: Folder,
    selection: flows.Selection,
    min_support: Support = "0.01",
    min_confidence: Confidence = 0.3,
    max_antecedent: Annotated[int, typer.Option("--max-antecedent", min=0, help="Most symbols of X.")] = 3,
    max_consequent: Annotated[int, typer.Option("--max-consequent", min=0, help="Most symbols of Y.")] = 1,
    window: Annotated[int, typer.Option("--window", min=0, help="X and Y within so many events.")] = 0,
    window_s: Annotated[float, typer.Option("--window-s", min=0, help="X and Y within so long.")] = 0.0,
    max_seconds: Seconds = 600.0,
    rows: Rows = 20,
    to: File = None,
    plot: Plot = None,
    as_json: Json = False,
) -> None:
    """Whoever did all of X did Y afterwards: how many, how surely, how soon."""
    options = {
        "min_support": support(min_support),
        "min_confidence": min_confidence,
        "max_antecedent": max_antecedent,
        "max_consequent": max_consequent,
        "window": window,
        "window_s": window_s,
        "max_seconds": max_seconds,
    }
    _ask("rules", folder, selection, options, flows.Output(k=rows, to=to, plot=plot), as_json)


@mine.command()
@with_selection
def match(
    folder: Folder,
    pattern: Names,
    selection: flows.Selection,
    every: Annotated[bool, typer.Option("--every", help="All matches, not the first alone.")] = False,
    max_gap: Gap = None,
    max_gap_s: GapSeconds = None,
    max_span_s: Span = None,
    rows: Rows = 20,
    to: File = None,
    as_json: Json = False,
) -> None:
    """Who holds a sequence, in which events, and how long each step took."""
    options = {
        "pattern": words(pattern),
        "every": every,
        "max_gap": max_gap,
        "max_gap_s": max_gap_s,
        "max_span_s": max_span_s,
        "rows": to is not None,
    }
    _ask("match", folder, selection, options, flows.Output(k=rows, to=to), as_json)


@mine.command(name="next")
@with_selection
def next_symbol(
    folder: Folder,
    history: Names,
    selection: flows.Selection,
    by_rules: Annotated[bool, typer.Option("--rules", help="By rules instead of chains.")] = False,
    order: Annotated[int, typer.Option("--order", min=1, max=10, help="Events a chain looks back.")] = 3,
    min_support: Support = "0.001",
    min_confidence: Confidence = 0.05,
    rows: Rows = 10,
    to: File = None,
    as_json: Json = False,
) -> None:
    """What comes next after a history: by chains with back-off, or by the rules that fire."""
    options = {
        "history": words(history),
        "by_rules": by_rules,
        "order": order,
        "min_support": support(min_support),
        "min_confidence": min_confidence,
        "max_consequent": 1,
        "max_antecedent": 3,
    }
    _ask("next", folder, selection, options, flows.Output(k=rows, to=to), as_json)


@mine.command()
@with_selection
def transitions(
    folder: Folder,
    selection: flows.Selection,
    rows: Rows = 20,
    to: File = None,
    plot: Plot = None,
    as_json: Json = False,
) -> None:
    """What comes right after what, how often and how soon; starts and ends included."""
    _ask("transitions", folder, selection, {}, flows.Output(k=rows, to=to, plot=plot), as_json)


@mine.command()
@with_selection
def funnel(
    folder: Folder,
    selection: flows.Selection,
    steps: Annotated[str, typer.Option("--steps", metavar="A,B|C,D", help="Steps; | for any of several.")],
    window_s: Annotated[
        float | None, typer.Option("--window-s", min=0, help="Time from the first step to the last.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Nothing in between.")] = False,
    exclude: Annotated[
        str | None, typer.Option("--exclude", metavar="NAME,NAME", help="Events that end a way.")
    ] = None,
    drop_offs: Annotated[bool, typer.Option("--drop-offs", help="What those did next who left.")] = False,
    rows: Rows = 50,
    to: File = None,
    plot: Plot = None,
    as_json: Json = False,
) -> None:
    """How many come how far along ordered steps, how long it takes, and what those who leave do."""
    options = {
        "steps": words(steps),
        "window_s": window_s,
        "order": "strict" if strict else "ordered",
        "exclude": words(exclude),
        "drop_offs": drop_offs,
    }
    _ask("funnel", folder, selection, options, flows.Output(k=rows, to=to, plot=plot), as_json)


@mine.command()
@with_selection
def steps(
    folder: Folder,
    selection: flows.Selection,
    n_steps: Steps = None,
    top: Top = None,
    anchor: Annotated[
        str | None, typer.Option("--anchor", metavar="NAME,NAME", help="Count steps from its first time.")
    ] = None,
    from_end: Annotated[bool, typer.Option("--from-end", help="Count steps from the end.")] = False,
    rows: Rows = 50,
    to: File = None,
    plot: Plot = None,
    as_json: Json = False,
) -> None:
    """Which share of sequences is where at each step, the ended ones included."""
    align = "anchor" if anchor else "end" if from_end else "start"
    options = {"n_steps": n_steps, "top": top, "anchor": words(anchor), "align": align}
    _ask("steps", folder, selection, options, flows.Output(k=rows, to=to, plot=plot), as_json)


@mine.command()
@with_selection
def sankey(
    folder: Folder,
    selection: flows.Selection,
    n_steps: Steps = None,
    top: Top = None,
    anchor: Annotated[
        str | None, typer.Option("--anchor", metavar="NAME,NAME", help="Count steps from its first time.")
    ] = None,
    rows: Rows = 50,
    to: File = None,
    plot: Plot = None,
    as_json: Json = False,
) -> None:
    """The streams from step to step; what is not named is one stream, so that totals hold."""
    align = "anchor" if anchor else "start"
    options = {"n_steps": n_steps, "top": top, "anchor": words(anchor), "align": align}
    _ask("sankey", folder, selection, options, flows.Output(k=rows, to=to, plot=plot), as_json)


@mine.command()
@with_selection
def tree(
    folder: Folder,
    selection: flows.Selection,
    n_steps: Steps = None,
    top: Top = None,
    rows: Rows = 50,
    to: File = None,
    plot: Plot = None,
    as_json: Json = False,
) -> None:
    """The tree of beginnings, with how many end at each node."""
    _ask(
        "tree",
        folder,
        selection,
        {"n_steps": n_steps, "top": top},
        flows.Output(k=rows, to=to, plot=plot),
        as_json,
    )


@mine.command()
@with_selection
def paths(
    folder: Folder,
    selection: flows.Selection,
    n_steps: Steps = None,
    rows: Rows = 20,
    to: File = None,
    as_json: Json = False,
) -> None:
    """The most common whole paths, and the share of all others."""
    _ask(
        "paths",
        folder,
        selection,
        {"n_steps": n_steps, "paths": rows},
        flows.Output(k=rows + 1, to=to),
        as_json,
    )


@mine.command()
@with_selection
def retention(
    folder: Folder,
    selection: flows.Selection,
    period: Annotated[Literal["day", "week", "month"], typer.Option("--period")] = "week",
    rolling: Annotated[bool, typer.Option("--rolling", help="Then or later counts.")] = False,
    birth: Annotated[
        str | None, typer.Option("--birth", metavar="NAME,NAME", help="What begins a time.")
    ] = None,
    back: Annotated[
        str | None, typer.Option("--back", metavar="NAME,NAME", help="What counts as back.")
    ] = None,
    rows: Rows = 50,
    to: File = None,
    plot: Plot = None,
    as_json: Json = False,
) -> None:
    """Who comes back, by when they first came; periods that are not over stay empty."""
    options = {
        "period": period,
        "kind": "rolling" if rolling else "exact",
        "birth": words(birth),
        "back": words(back),
    }
    _ask("retention", folder, selection, options, flows.Output(k=rows, to=to, plot=plot), as_json)


@mine.command()
@with_selection
def visits(
    folder: Folder, selection: flows.Selection, rows: Rows = 20, to: File = None, as_json: Json = False
) -> None:
    """Visits told apart by a pause: when, how long, from what to what."""
    _ask("visits", folder, selection, {}, flows.Output(k=rows, to=to), as_json)


@mine.command()
@with_selection
def loops(
    folder: Folder,
    selection: flows.Selection,
    rows: Rows = 20,
    to: File = None,
    plot: Plot = None,
    as_json: Json = False,
) -> None:
    """What is repeated at once, and what people come back to."""
    _ask("loops", folder, selection, {}, flows.Output(k=rows, to=to, plot=plot), as_json)


@mine.command()
@with_selection
def between(
    folder: Folder,
    selection: flows.Selection,
    first: Annotated[str, typer.Option("--from", metavar="NAME,NAME", help="The first event.")],
    then: Annotated[str, typer.Option("--then", metavar="NAME,NAME", help="The event waited for.")],
    rows: Rows = 20,
    to: File = None,
    plot: Plot = None,
    as_json: Json = False,
) -> None:
    """How long it takes from one event to another, and how many ever get there."""
    options = {"first": words(first), "then": words(then)}
    _ask("between", folder, selection, options, flows.Output(k=rows, to=to, plot=plot), as_json)
