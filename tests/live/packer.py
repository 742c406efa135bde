# SPDX-License-Identifier: Apache-2.0
"""A process that packs a live store and may be killed; forks for each time, before Polars has threads."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from desirepath.live.compaction import CompactionConfig, compact
from desirepath.live.store import LiveStore
from desirepath.workspace import Workspace


def main() -> None:
    """Pack once for each line of the input; says the number of the process, and how it ended."""
    folder = Path(sys.argv[1])
    for _ in sys.stdin:
        pid = os.fork()
        if pid == 0:
            store = LiveStore(f"sqlite:///{folder / 'live.db'}")
            compact(Workspace.open(folder), store, CompactionConfig(rows_at_once=9))
            os._exit(0)
        print(pid, flush=True)
        print(os.waitpid(pid, 0)[1], flush=True)


if __name__ == "__main__":
    main()
