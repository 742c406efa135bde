# SPDX-License-Identifier: Apache-2.0
"""What a log's actions seem to mean: the goal, and the steps towards it."""

from __future__ import annotations

import re

import numpy as np

from desirepath.sequences import Sequences

LOOK = r"view|click|impression|open|read|visit|play|listen|watch|search"
WANT = r"cart|basket|wish|add|like|save|bookmark|favo|follow|share|download"
GOAL = r"purchase|buy|bought|order|transaction|checkout|pay|subscri|convert|conversion|book(?!mark)|sale"


def goal_action(sequences: Sequences, asked: str = "") -> str | None:
    """The action that a log is about; None where there is only one.

    As asked, or one that sounds like a purchase, or the rarest that 1 in 20 users did.
    """
    if asked:
        return asked
    users = _users_by_action(sequences)
    if len(users) < 2:
        return None
    named = [name for name in users if re.search(GOAL, name.lower())]
    if named:
        return max(named, key=lambda name: users[name])
    common = [name for name in users if users[name] >= sequences.n_users / 20]
    rare = min(common or users, key=lambda name: users[name])
    return rare if users[rare] < sequences.n_users else None


def funnel_steps(sequences: Sequences, goal: str | None) -> tuple[str, ...]:
    """A look, a sign of wanting, the goal: of each the most common action; () where there is no goal."""
    if goal is None:
        return ()
    users = {name: n for name, n in _users_by_action(sequences).items() if name != goal}
    steps: list[str] = []
    for words in (LOOK, WANT):
        named = [name for name in users if re.search(words, name.lower()) and name not in steps]
        if named:
            steps.append(max(named, key=lambda name: users[name]))
    if not steps and users:
        steps.append(max(users, key=lambda name: users[name]))
    return (*steps, goal)


def _users_by_action(sequences: Sequences) -> dict[str, int]:
    """How many users did each action that occurs."""
    pairs = np.unique(
        sequences.user_ix.astype(np.int64) * len(sequences.actions) + np.asarray(sequences.action_ix)
    )
    counts = np.bincount(pairs % len(sequences.actions), minlength=len(sequences.actions))
    names = sequences.actions.decode(range(len(sequences.actions))).to_list()
    return {name: int(n) for name, n in zip(names, counts, strict=True) if n}
