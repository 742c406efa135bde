# SPDX-License-Identifier: Apache-2.0
"""Patterns by brute force: every subsequence of every sequence, counted in a dictionary."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

Pattern = tuple[str, ...]


def holds(sequence: list[str] | Pattern, pattern: Pattern) -> bool:
    events = iter(sequence)
    return all(symbol in events for symbol in pattern)


def frequent(sequences: list[list[str]], min_count: int, max_length: int = 0) -> dict[Pattern, int]:
    supports: Counter[Pattern] = Counter()
    for one in sequences:
        lengths = range(1, min(max_length or len(one), len(one)) + 1)
        supports.update({chosen for n in lengths for chosen in combinations(one, n)})
    return {pattern: n for pattern, n in supports.items() if n >= min_count}


def closed(found: dict[Pattern, int]) -> dict[Pattern, int]:
    return {a: n for a, n in found.items() if n not in {found[b] for b in longer(a, found)}}


def maximal(found: dict[Pattern, int]) -> dict[Pattern, int]:
    return {a: n for a, n in found.items() if not longer(a, found)}


def longer(pattern: Pattern, found: dict[Pattern, int]) -> list[Pattern]:
    """Those with one symbol more; anything longer that counts has one of these between."""
    return [other for other in found if len(other) == len(pattern) + 1 and holds(other, pattern)]
