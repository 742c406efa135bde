# SPDX-License-Identifier: Apache-2.0
"""What a report shows of people's behaviour, as plain tables: paths, patterns, contrasts, rules, segments.

It knows no miner: whoever mined fills it, and every part may be left out. The columns are those of the
tables that `patterns` and `profiles` return, so that they can be handed over as they are; more columns
do no harm.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import polars as pl

from desirepath.errors import ConfigError, DataError, ShapeError, nearest
from desirepath.report.theme import many

NEEDED: Final[Mapping[str, tuple[str, ...]]] = {
    "links": ("step", "source", "target", "count"),
    "funnel": ("step", "name", "entered"),
    "drop_offs": ("step", "name", "next", "count"),
    "transitions": ("from", "to", "count"),
    "steps": ("step", "symbol", "count"),
    "tree": ("node", "parent", "step", "symbol", "count", "ended"),
    "top_paths": ("path", "count", "share"),
    "loops": ("symbol", "kind", "count", "sequence_share"),
    "waits": ("from", "to", "above_s", "up_to_s", "starts"),
    "patterns": ("pattern", "support"),
    "contrast": (
        *("pattern", "class", "support", "share", "support_rest", "share_rest"),
        *("odds_ratio", "odds_low", "odds_high", "q"),
    ),
    "rules": ("antecedent", "consequent", "support", "confidence", "lift"),
    "retention": ("cohort", "period", "users", "active"),
    "segments": ("segment", "name", "n_users"),
    "members": ("segment", "x", "y"),
    "marks": ("segment", "kind", "feature", "value", "others", "effect", "q"),
    "moves": ("from", "to", "n_users"),
    "activity": ("activity_class", "n_users"),
}
"""Columns that each table must have."""
OF_USERS: Final = ("retention", "segments", "members", "marks", "moves", "activity")
"""Tables that count users and know no names of events."""
ALIKE: Final = {"drop_offs": "funnel", "members": "segments", "marks": "segments", "moves": "segments"}
"""Parts that rest on what another rests on, unless they have a ground of their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What the figures of a part rest on, in words that stand below them."""

    event: str = "the item"
    """What an event is called by, such as "the item", "the action" or "action and category"."""
    sequence: str = "user"
    """Whose events make a sequence, in the singular: "user" or "session"."""
    n_sequences: int = 0
    """Sequences read: what shares of support are shares of. 0 where it is not known."""
    n_users: int = 0
    """Users they belong to; 0 where it is not known."""
    min_support: int = 0
    """Least support asked for, in sequences; 0 where there was none."""
    stopped_by: str = ""
    """The budget that ended the search early, in words; empty where it was complete."""
    more: str = ""
    """Further settings as a sentence, such as "At most 3 events lie between two steps."."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BehaviourData:
    """Everything a report shows of behaviour; a part that is neither given nor said to be absent is left out.

    Raises:
        DataError: a table lacks a column of `NEEDED`.
        ConfigError: `absent` or `grounds` names no part.
        ShapeError: groups and group_sizes of different lengths.
    """

    links: pl.DataFrame | None = None
    """Links of a Sankey diagram (`paths.sankey`): step, source, target, count. "<start>", "<end>",
    "<other>" and "<more>" are told apart from events."""
    funnel: pl.DataFrame | None = None
    """Steps of a funnel (`Funnel.to_frame`): step, name, entered; share_of_previous with _low and _high,
    share_of_first and median_s (seconds from the step before) are shown where they are."""
    drop_offs: pl.DataFrame | None = None
    """What those who left a funnel did next (`Funnel.drop_offs`): step, name, next, count."""
    transitions: pl.DataFrame | None = None
    """How often one event follows another (`paths.transitions`): from, to, count; median_s where it is."""
    steps: pl.DataFrame | None = None
    """The step matrix (`paths.step_matrix`): step, symbol, count; the counts of a step add up."""
    tree: pl.DataFrame | None = None
    """The tree of beginnings (`paths.path_tree`): node, parent, step, symbol, count, ended."""
    top_paths: pl.DataFrame | None = None
    """Most common whole paths (`paths.top_paths`): path (list), count, share; variants, median_s where
    they are. The row ["<other>"] holds the rest."""
    loops: pl.DataFrame | None = None
    """What is done again (`paths.loops`): symbol, kind ("repeat" or "cycle"), count, sequence_share;
    mean_events and median_s where they are."""
    waits: pl.DataFrame | None = None
    """Times from one event to another (`paths.gap_counts`, of one pair or several below each other): from,
    to, above_s, up_to_s, starts."""
    patterns: pl.DataFrame | None = None
    """Frequent patterns (`Patterns.to_frame`): pattern (list), support; is_partial where it is. Shares
    are of `Ground.n_sequences`; where that is not known, of the column share."""
    contrast: pl.DataFrame | None = None
    """Patterns that set groups apart (`contrast`): pattern (list), class (the group a row speaks of), support
    and share in it, support_rest and share_rest outside it, odds_ratio with odds_low and odds_high, q;
    is_partial where it is."""
    groups: tuple[str, ...] = ()
    """Names of the groups of `contrast`, such as ("buyers", "others"): of two, the first is drawn to the
    right. Empty: those of its rows."""
    group_sizes: tuple[int, ...] = ()
    """Sequences of each of these groups, in the same order; empty where they are not known."""
    rules: pl.DataFrame | None = None
    """Sequential rules (`rules`): antecedent and consequent (lists), support, confidence, lift;
    median_gap_s, is_partial where they are."""
    retention: pl.DataFrame | None = None
    """Cohorts (`paths.retention`): cohort (its first day), period (0 is its own), users, active (null
    where the period is not over)."""
    period: str = "week"
    """What a period of `retention` is: "day", "week" or "month"."""
    segments: pl.DataFrame | None = None
    """Segments and their sizes (`Segments.table`): segment, name, n_users."""
    members: pl.DataFrame | None = None
    """Users on a map (`Segments.members`): segment, x, y; drawn as a sample."""
    marks: pl.DataFrame | None = None
    """What sets segments apart (`Segments.marks`): segment, kind, feature, value, others, effect, q;
    measure ("h" or "d") where it is."""
    moves: pl.DataFrame | None = None
    """Who moved from which segment to which (`movement.moves`): from, to, n_users. Of several moments
    (moment_from, moment_to) the last pair is drawn."""
    is_stable: bool | None = None
    """Whether resampling finds the segments again (`Segments.is_stable`); None where it was not tried."""
    activity: pl.DataFrame | None = None
    """Users by activity class and RFM class (`classes.class_sizes`): activity_class, n_users; rfm_class
    where it is. Rows of one class are summed."""
    ground: Ground = field(default_factory=Ground)
    """What all parts rest on, but for those of `grounds`."""
    grounds: Mapping[str, Ground] = field(default_factory=dict)
    """What single parts rest on, by the name of their table, such as {"funnel": Ground(...)}."""
    absent: Mapping[str, str] = field(default_factory=dict)
    """Why a table that was asked for is not there, by its name: a sentence that says what would bring it."""

    def __post_init__(self) -> None:
        for name, needed in NEEDED.items():
            table = getattr(self, name)
            lacking = [] if table is None else [column for column in needed if column not in table.columns]
            if lacking:
                raise DataError(
                    f"{name} must have {', '.join(needed)}; {', '.join(lacking)} is missing from "
                    f"{', '.join(table.columns)}."
                )
        for name in (*self.absent, *self.grounds):
            if name not in NEEDED:
                raise ConfigError(
                    f"absent and grounds must name parts of a report; '{name}' is none. "
                    f"{nearest(name, NEEDED)}"
                )
        if self.group_sizes and len(self.group_sizes) != len(self.groups):
            raise ShapeError(
                f"group_sizes must have a number for each of {len(self.groups)} groups; "
                f"it has {len(self.group_sizes)}."
            )

    def ground_of(self, part: str) -> Ground:
        """What this part rests on."""
        like = ALIKE.get(part, part)
        return self.grounds.get(part) or self.grounds.get(like) or self.ground

    def is_partial(self, part: str) -> bool:
        """Whether a budget ended the search for this part's table early."""
        table = getattr(self, part)
        marked = table is not None and "is_partial" in table.columns and bool(table["is_partial"].any())
        return marked or bool(self.ground_of(part).stopped_by)

    def basis(self, part: str) -> str:
        """The sentences below a figure of this part: what an event and a sequence are, and what was asked."""
        ground = self.ground_of(part)
        users = f" of {many(ground.n_users, 'user')}" if ground.n_users else ""
        said = []
        if part in OF_USERS:
            said += [f"Counts{users}."] if users else []
        else:
            if ground.n_sequences and ground.sequence != "user":
                read = f"{many(ground.n_sequences, ground.sequence)}{users} were read"
            else:
                read = f"All events of one {ground.sequence} make a sequence"
                read += f"; {many(ground.n_sequences, 'sequence')} were read" if ground.n_sequences else ""
            said.append(f"An event is called by {ground.event}. {read}.")
        if ground.min_support and part in ("patterns", "contrast", "rules"):
            said.append(f"Asked for: held by {many(ground.min_support, 'sequence')} or more.")
        said += [ground.more] if ground.more else []
        if self.is_partial(part):
            why = f" ({ground.stopped_by})" if ground.stopped_by else ""
            said.append(f"Partial: the search ended early{why}, so that something is missing.")
        return " ".join(said)

    def title(self, part: str, words: str) -> str:
        """A title, marked where the part's table is not complete."""
        return f"{words} (partial)" if self.is_partial(part) else words
