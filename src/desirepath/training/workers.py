# SPDX-License-Identifier: Apache-2.0
"""Threads that each take a share of a batch through the model and back.

On a CPU, one thread a share with serial products beats sharing every small product among all
threads: no barrier waits at each of a step's hundreds of operations, least of all when the machine
has other work. On a GPU there is one share. It knows no model.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self, TypeVar

import torch

In = TypeVar("In")
Out = TypeVar("Out")


class Workers:
    """A pool in which every thread computes alone; use it in a `with` block.

    >>> with Workers(2) as workers:
    ...     workers.map(torch.numel, [torch.zeros(3), torch.zeros(4)])
    [3, 4]
    """

    def __init__(self, n: int) -> None:
        """Make `n` threads; with one, the work stays in the caller's thread with all of its threads."""
        self.n = n
        self._threads = torch.get_num_threads()
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> Self:
        if self.n > 1:
            self._pool = ThreadPoolExecutor(self.n, "train", initializer=_compute_alone)
            meet = threading.Barrier(self.n)
            list(self._pool.map(lambda _: meet.wait(), range(self.n)))
            # A worker's setting reaches libraries of the whole process: the caller's own is put back.
            torch.set_num_threads(self._threads)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def map(self, work: Callable[[In], Out], shares: Iterable[In]) -> list[Out]:
        """What `work` returns for each share, in their order."""
        if self._pool is None:
            return [work(share) for share in shares]
        return list(self._pool.map(work, shares))


def _compute_alone() -> None:
    """Keep this thread's products to itself."""
    torch.set_num_threads(1)
    # A thread takes the process's number when first asked: that must be now, before the caller's is back.
    torch.get_num_threads()
