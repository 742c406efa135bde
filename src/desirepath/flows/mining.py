# SPDX-License-Identifier: Apache-2.0
"""What people do: sequences, contrasts, rules and matches of a workspace; paths are next door.

`mine` is the one door for the command line; each verb is a function of a subject and its options.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from desirepath.errors import ConfigError, nearest
from desirepath.flows.groups import groups_of
from desirepath.flows.items import items_table, titles_of
from desirepath.flows.paths import PATHS
from desirepath.flows.progress import Progress, silent
from desirepath.flows.subject import Subject, made, open_subject, symbol_config
from desirepath.flows.tabulation import Found, answer, check_ending, drawn
from desirepath.flows.words import Answer, Output, Selection
from desirepath.models.backoff import BackoffChain, BackoffConfig
from desirepath.patterns.constraints import ConstraintConfig
from desirepath.patterns.contrast import ContrastConfig, contrast
from desirepath.patterns.foresight import predict_next
from desirepath.patterns.frequent import MiningConfig
from desirepath.patterns.frequent import mine as search
from desirepath.patterns.match import match
from desirepath.patterns.partitions import mine_partitioned, user_ranges
from desirepath.patterns.rules import RuleConfig, find_rules
from desirepath.sequences.current import open_sequences
from desirepath.workspace import Workspace

Verb = Callable[[Subject, Mapping[str, Any]], Found]


def mine(
    folder: Path,
    verb: str,
    selection: Selection | None = None,
    options: Mapping[str, Any] | None = None,
    output: Output | None = None,
    progress: Progress = silent,
) -> Answer:
    """One question about behaviour, answered as a table.

    Args:
        folder: the workspace.
        verb: a name in `VERBS` or in `paths.PATHS`.
        selection: what an event is called, and which sequences are looked at.
        options: of the verb's own configuration, by field; None stands for the default.
        output: where the table goes.
        progress: told of the steps.
    """
    output = output or Output()
    if output.to is not None:
        check_ending(output.to)
    if verb not in VERBS and verb not in PATHS:
        raise ConfigError(f"There is no such thing to mine: '{verb}'. {nearest(verb, [*VERBS, *PATHS])}")
    given = {name: value for name, value in (options or {}).items() if value is not None}
    if given.get("parts", 1) > 1:
        progress("Mining", 0.0, f"{given['parts']} parts")
        return answer(mine_parts(Workspace.open(folder), selection or Selection(), given), output)
    purpose = "patterns" if verb in VERBS else "paths"
    progress("Naming the events", 0.0, "")
    subject = open_subject(folder, selection or Selection(), purpose, progress)  # type: ignore[arg-type]
    progress("Naming the events", 1.0, "")
    progress("Mining", 0.0, verb)
    found = (VERBS | PATHS)[verb](subject, given)
    progress("Mining", 1.0, verb)
    return answer(found, output)


def mine_sequences(subject: Subject, options: Mapping[str, Any]) -> Found:
    """Frequent, closed or maximal sequences."""
    titles = titles_of(subject.workspace)
    patterns = search(subject.database, made(MiningConfig, options), made(ConstraintConfig, options))
    table = patterns.to_frame()
    return Found(
        table=table,
        title=f"{len(patterns):,} {options.get('kind', 'frequent')} sequences",
        notes=[
            f"Of {subject.words}; support of {patterns.min_count:,} or more.",
            *_ended(patterns.stopped_by),
        ],
        columns=("pattern", "length", "support", "share"),
        titles=titles,
        figure=partial(
            drawn,
            "patterns",
            table,
            subject.ground(min_support=patterns.min_count, stopped_by=patterns.stopped_by),
            titles=titles,
        ),
    )


def mine_parts(workspace: Workspace, selection: Selection, options: Mapping[str, Any]) -> Found:
    """Sequences of a log too large to be named at once: one part in memory at a time, counts of the whole."""
    if selection.start or selection.end:
        raise ConfigError("--parts reads whole sequences; leave out --start and --end, or --parts.")
    sequences, items = open_sequences(workspace), items_table(workspace)
    symbols = symbol_config(selection, "patterns", sequences, items)
    parts = user_ranges(workspace.sequences, int(options["parts"]), symbols, items)
    patterns = mine_partitioned(parts, made(MiningConfig, options), made(ConstraintConfig, options))
    return Found(
        table=patterns.to_frame(),
        title=f"{len(patterns):,} {options.get('kind', 'frequent')} sequences, of {len(parts)} parts",
        notes=[
            f"Of {patterns.n_sequences:,} {symbols.per}s; support of {patterns.min_count:,} or more.",
            *_ended(patterns.stopped_by),
        ],
        columns=("pattern", "length", "support", "share"),
        titles=titles_of(workspace),
    )


def mine_contrast(subject: Subject, options: Mapping[str, Any]) -> Found:
    """Sequences that set groups apart."""
    titles = titles_of(subject.workspace)
    groups = groups_of(subject, str(options.get("between", "")))
    config = made(ContrastConfig, dict(options) | {"mining": made(MiningConfig, options)})
    table = contrast(groups.database, groups.labels.tolist(), config)
    names, sizes = groups.sizes
    told = ", ".join(f"{size:,} {name}" for name, size in zip(names, sizes, strict=True))
    return Found(
        table=table,
        title=f"What sets apart {groups.title}: {told}",
        notes=[f"Of {subject.words}.", *groups.notes, *_cut_short(table)],
        columns=("pattern", "class", "share", "share_rest", "lift", "odds_ratio", "q"),
        titles=titles,
        figure=partial(
            drawn,
            "contrast",
            table,
            subject.ground(),
            titles=titles,
            groups=tuple(names),
            group_sizes=tuple(sizes),
        ),
    )


def mine_rules(subject: Subject, options: Mapping[str, Any]) -> Found:
    """Rules: X, then Y."""
    titles = titles_of(subject.workspace)
    rules = find_rules(subject.database, made(RuleConfig, options))
    return Found(
        table=rules.frame,
        title=f"{len(rules.frame):,} rules",
        notes=[f"Of {subject.words}.", *_ended(rules.stopped_by)],
        columns=("antecedent", "consequent", "support", "confidence", "lift", "median_gap_s"),
        titles=titles,
        figure=partial(
            drawn, "rules", rules.frame, subject.ground(stopped_by=rules.stopped_by), titles=titles
        ),
    )


def mine_match(subject: Subject, options: Mapping[str, Any]) -> Found:
    """Who holds a pattern, and in which events."""
    pattern = options.get("pattern") or ()
    table = match(
        subject.database, list(pattern), made(ConstraintConfig, options), every=bool(options.get("every"))
    )
    n = table["sequence"].n_unique()
    share = n / max(1, subject.database.n_sequences)
    return Found(
        table=table.drop("positions", "rows") if not options.get("rows") else table,
        title=f"{n:,} sequences hold {' > '.join(pattern)} ({share:.1%})",
        notes=[f"Of {subject.words}."],
    )


def mine_next(subject: Subject, options: Mapping[str, Any]) -> Found:
    """What comes next after a history: by a chain that backs off, or by the rules that fire."""
    history = list(options.get("history") or ())
    titles = titles_of(subject.workspace)
    after = f"Next after {' > '.join(titles.get(name, name) for name in history)}"
    if options.get("by_rules"):
        rules = find_rules(subject.database, made(RuleConfig, options))
        table = predict_next(rules.frame, history)
        found = Found(
            table=table,
            title=f"{after}, by {len(rules.frame):,} rules",
            notes=[f"Of {subject.words}.", *_ended(rules.stopped_by)],
            columns=("symbol", "confidence", "support", "lift", "median_gap_s"),
            titles=titles,
        )
    else:
        config = BackoffConfig(order=int(options.get("order", 3)))
        database = subject.database
        chain = BackoffChain(config).fit(database.offsets, database.symbol_ix, database.n_symbols)
        known = [database.symbols.index(name) for name in history]
        past = np.array([-1 if ix is None else ix for ix in known], np.int32)
        symbol, probability = chain.top(np.array([0, len(past)]), past, 100)
        unknown = [name for name, ix in zip(history, known, strict=True) if ix is None]
        found = Found(
            table=pl.DataFrame({"symbol": database.symbols.decode(symbol[0]), "probability": probability[0]}),
            title=f"{after}, by a chain of order {config.order}",
            notes=[f"Of {subject.words}."]
            + ([f"Not known, so without effect: {', '.join(unknown)}."] if unknown else []),
            titles=titles,
        )
    return found


VERBS: dict[str, Verb] = {
    "sequences": mine_sequences,
    "contrast": mine_contrast,
    "rules": mine_rules,
    "match": mine_match,
    "next": mine_next,
}


def _cut_short(table: pl.DataFrame) -> list[str]:
    """What must be said of a table that a budget ended."""
    if "is_partial" not in table.columns or not table["is_partial"].any():
        return []
    return ["Partial: a budget ended the search. Raise --min-support or --max-seconds, or set --max-length."]


def _ended(stopped_by: str) -> list[str]:
    return [f"Partial: {stopped_by}"] if stopped_by else []
