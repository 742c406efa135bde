# SPDX-License-Identifier: Apache-2.0
"""Compiled functions beside the Python that they were compiled from."""

from __future__ import annotations

import threading
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from desirepath.patterns import machine_code
from desirepath.patterns.kernels import inner, kernel


class Log(NamedTuple):
    row: NDArray[np.int32]
    width: int


@inner
def _doubled(value: int) -> int:
    return 2 * value


@kernel
def _all_kinds(log: Log, table: NDArray[np.float64], pair: tuple[bool, float], marks: NDArray[np.bool_]):
    """Something of each argument, and arrays of many kinds."""
    wide = np.zeros((3, len(log.row)), np.int64)
    for i in range(len(log.row)):
        wide[0, i] = _doubled(log.row[i])
        wide[1, i] = log.width + marks[i]
        wide[2, i] = np.int64(table[i % table.shape[0], i % table.shape[1]])
    if pair[0]:
        log.row[0] = 77
    return wide[1:], wide[0], (np.full(2, pair[1]), None, np.empty(0, np.float32)), table.shape[1], marks


@kernel
def _raises(what: int) -> NDArray[np.int64]:
    if what == 1:
        raise ValueError("of all things")
    if what == 2:
        raise KeyError
    return np.empty(what, np.int64)


@kernel
def _fills(array: NDArray[np.int64], value: int) -> None:
    for i in range(len(array)):
        array[i] = value


@kernel
def _sums(array: NDArray[np.int64]) -> int:
    total = 0
    for value in array:
        total += value
    return total


@kernel
def _fills_and_sums(array: NDArray[np.int64], value: int) -> int:
    _fills(array, value)
    return _sums(array)


def of_all_kinds(rng: np.random.Generator):
    n = int(rng.integers(1, 9))
    log = Log(rng.integers(-5, 99, n).astype(np.int32), int(rng.integers(9)))
    table = rng.normal(0, 9, (int(rng.integers(1, 4)), int(rng.integers(1, 4))))
    return log, table, (bool(rng.integers(2)), float(rng.normal())), rng.integers(0, 2, n).astype(bool)


def flat(value):
    return [part for one in value for part in flat(one)] if isinstance(value, tuple) else [value]


@pytest.mark.parametrize("seed", range(20))
def test_compiled_returns_what_python_does(seed):
    ours, theirs = (of_all_kinds(np.random.default_rng(seed)) for _ in range(2))
    found, expected = flat(_all_kinds(*ours)), flat(_all_kinds.function(*theirs))
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
        assert getattr(one, "dtype", int) == getattr(other, "dtype", int)
        assert not isinstance(one, np.ndarray) or one.flags.writeable
    np.testing.assert_array_equal(ours[0].row, theirs[0].row)  # written in place


def test_kernels_call_each_other():
    array = np.zeros(4, np.int64)
    assert _fills_and_sums(array, 3) == 12
    assert _fills(array, 5) is None
    assert array.tolist() == [5] * 4


def test_arguments_by_name_are_refused():
    with pytest.raises(TypeError, match="_sums takes its arguments by position; got array by name"):
        _sums(array=np.zeros(1, np.int64))


def test_errors_are_raised():
    with pytest.raises(ValueError, match="of all things"):
        _raises(1)
    with pytest.raises(KeyError):
        _raises(2)
    with pytest.raises(ValueError, match="too big"):
        _raises(2**61)
    with pytest.raises(MemoryError):
        _raises(2**56)
    assert len(_raises(3)) == 3


def test_what_we_cannot_pass_is_left_to_numba():
    """Every other entry, and an array that may not be written: numba knows forms of its own for them."""
    array = np.arange(10)
    assert _sums(array[::2]) == 20
    array.flags.writeable = False
    assert _sums(array) == 45


def test_arrays_are_freed_with_their_last_reference():
    runtime = machine_code.runtime()
    before = runtime.memsys_get_stats_alloc() if runtime.memsys_stats_enabled() else None
    runtime.memsys_enable_stats()
    try:
        held = [_raises(1000) for _ in range(5)]
        allocated = runtime.memsys_get_stats_mi_alloc()
        freed = runtime.memsys_get_stats_mi_free()
        part = held[0][10:]
        held.clear()
        assert runtime.memsys_get_stats_mi_free() - freed == 4  # one is seen by `part`
        del part
        assert runtime.memsys_get_stats_mi_free() - freed == 5
        assert runtime.memsys_get_stats_mi_alloc() == allocated
    finally:
        if before is None:
            runtime.memsys_disable_stats()


def test_threads_that_come_at_once_find_one_form(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    fresh = kernel(_sums.function)
    found = []
    threads = [
        threading.Thread(target=lambda i=i: found.append(fresh(np.full(1000, i)) == 1000 * i))
        for i in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 8
    assert len(list(tmp_path.rglob("*.o"))) == len(fresh._forms) == 1
