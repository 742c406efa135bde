# SPDX-License-Identifier: Apache-2.0
"""One call of a peer's miner, in the peer's interpreter: `PYTHON mining_peer.py MINER FILE MIN_COUNT`.

Prints the patterns found, those of one symbol left out or not, and the processor seconds of the call alone,
its child processes included.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path


def spent() -> float:
    """Processor seconds so far; seq2pat works in child processes."""
    mine, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return mine.ru_utime + mine.ru_stime + children.ru_utime + children.ru_stime


def sequences(path: Path) -> list[list[int]]:
    """Dense item numbers from 1, as the peers want them."""
    lines = path.read_text().splitlines()
    rows = [[int(word) for word in line.split() if word not in ("-1", "-2")] for line in lines]
    rows = [row for row in rows if row]
    dense = {name: i for i, name in enumerate(sorted({name for row in rows for name in row}), start=1)}
    return [[dense[name] for name in row] for row in rows]


def effspm_miner(name: str, rows: list[list[int]], min_count: int) -> tuple[int, float]:
    import effspm

    events = [[-item for item in row] for row in rows]  # a negative number begins an event
    began = spent()
    found = getattr(effspm, name)(data=events, minsup=min_count)
    return len(found["patterns"]), spent() - began


def prefixspan_miner(rows: list[list[int]], min_count: int) -> tuple[int, float]:
    from prefixspan import PrefixSpan

    began = spent()
    found = PrefixSpan(rows).frequent(min_count)
    return len(found), spent() - began


def seq2pat_miner(rows: list[list[int]], min_count: int) -> tuple[int, float]:
    from sequential.seq2pat import Seq2Pat

    began = spent()
    found = Seq2Pat(sequences=rows, max_span=None).get_patterns(min_frequency=min_count)
    return len(found), spent() - began


def dichotomic(rows: list[list[int]], min_count: int) -> tuple[int, float]:
    """The union of what each half, even and odd lines, holds often enough."""
    from sequential.dpm import dichotomic_pattern_mining
    from sequential.seq2pat import Seq2Pat

    halves = [Seq2Pat(sequences=rows[part::2], max_span=None) for part in (0, 1)]
    began = spent()
    found = dichotomic_pattern_mining(*halves, min_frequency_pos=min_count, min_frequency_neg=min_count)
    return len(found["union"]), spent() - began


def main() -> None:
    miner, path, min_count = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    rows = sequences(path)
    if miner == "prefixspan":
        n, seconds = prefixspan_miner(rows, min_count)
    elif miner == "seq2pat":
        n, seconds = seq2pat_miner(rows, min_count)
    elif miner == "dichotomic":
        n, seconds = dichotomic(rows, min_count)
    else:
        n, seconds = effspm_miner(miner, rows, min_count)
    print(json.dumps({"patterns": n, "cpu_s": seconds}))


if __name__ == "__main__":
    main()
