# SPDX-License-Identifier: Apache-2.0
"""Kept machine code: found again, never stale, never half, and enough without numba."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

from desirepath.patterns import budget, gauge, machine_code
from desirepath.patterns.database import SequenceDatabase
from desirepath.patterns.frequent import MiningConfig, mine
from desirepath.patterns.growth import grow
from desirepath.patterns.kernels import Kernel, inner, kernel
from desirepath.patterns.suffixes import search

FACTOR = 3


@inner
def _scaled(value: int) -> int:
    return FACTOR * value


def _scale(array):
    out = np.empty_like(array)
    for i in range(len(array)):
        out[i] = _scaled(array[i])
    return out


ONE_TO_THREE = np.arange(1, 4)


def fresh() -> Kernel:
    """The kernel as a new process sees it."""
    return kernel(_scale)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def compiled(monkeypatch):
    """The kernels that were compiled while the test ran."""
    met = []
    compile_for = machine_code.compile_for
    monkeypatch.setattr(
        machine_code, "compile_for", lambda *args: met.append(args[0].__name__) or compile_for(*args)
    )
    return met


def test_a_process_that_finds_all_kernels_mines_without_numba():
    log = [["a", "b", "c"], ["a", "c"], ["b", "c"]]
    config = MiningConfig(min_support=2, kind="closed")
    here = mine(SequenceDatabase.from_lists(log), config).to_frame()  # compiles what is not kept yet
    told = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(f"""
            import sys
            from desirepath.patterns.database import SequenceDatabase
            from desirepath.patterns.frequent import MiningConfig, mine
            found = mine(SequenceDatabase.from_lists({log}), MiningConfig(min_support=2, kind="closed"))
            print(found.to_frame().write_json())
            print("numba" in sys.modules)
        """)],
        capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    assert json.loads(told[0]) == here.to_dicts()
    assert told[1] == "False"


def test_code_is_kept_once_and_found_again(folder, compiled):
    for _ in range(3):
        assert fresh()(ONE_TO_THREE).tolist() == [3, 6, 9]
    assert compiled == ["_scale"]
    assert len(list(folder.rglob("*"))) == 2  # a folder with one file, and no unfinished one


@pytest.mark.parametrize("changed", ["constant", "inner function", "function"])
def test_changed_code_is_compiled_anew(folder, compiled, monkeypatch, changed):
    assert fresh()(ONE_TO_THREE).tolist() == [3, 6, 9]
    if changed == "constant":
        monkeypatch.setitem(globals(), "FACTOR", 5)
        monkeypatch.setitem(globals(), "_scaled", inner(_scaled.function))
    elif changed == "inner function":
        monkeypatch.setitem(globals(), "_scaled", inner(lambda value: 5 * value))
    else:
        monkeypatch.setattr(_scale, "__code__", (lambda array: array * 5).__code__)
    assert fresh()(ONE_TO_THREE).tolist() == [5, 10, 15]
    assert fresh()(ONE_TO_THREE).tolist() == [5, 10, 15]
    assert len(compiled) == 2
    assert len(list(folder.rglob("*.o"))) == 1


@pytest.mark.parametrize("harm", ["cut short", "other bytes", "no header", "other fields", "empty"])
def test_damaged_files_are_written_anew(folder, compiled, harm):
    fresh()(ONE_TO_THREE)
    (kept,) = folder.rglob("*.o")
    whole = kept.read_bytes()
    head, _, image = whole.partition(b"\n")
    kept.write_bytes(
        {
            "cut short": whole[: len(whole) // 2],
            "other bytes": head + b"\n" + image[:-9] + bytes(9),
            "no header": image,
            "other fields": b'{"image": 3}\n' + image,
            "empty": b"",
        }[harm]
    )
    for _ in range(2):
        assert fresh()(ONE_TO_THREE).tolist() == [3, 6, 9]
    assert len(compiled) == 2


def test_without_a_folder_that_may_be_written_all_works(tmp_path, compiled, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "file" / "below"))
    assert fresh()(ONE_TO_THREE).tolist() == [3, 6, 9]
    assert fresh()(ONE_TO_THREE).tolist() == [3, 6, 9]
    assert len(compiled) == 2


def test_the_users_folder_is_the_second_choice(tmp_path, monkeypatch):
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first, second = machine_code._folders(_scale)
    assert first.name == "__pycache__"
    assert second.is_relative_to(tmp_path)


def test_code_that_cannot_be_linked_is_compiled_anew(folder, compiled, monkeypatch):
    fresh()(ONE_TO_THREE)
    found = machine_code.find(_scale, "(<i8[1])")
    assert found is not None
    assert machine_code.link(dataclasses.replace(found, symbol="nowhere")) is None
    assert machine_code.link(dataclasses.replace(found, image=found.image[:100])) is None
    (kept,) = folder.rglob("*.o")
    kept.write_bytes(kept.read_bytes().replace(found.symbol.encode(), b"nowhere", 1))
    assert fresh()(ONE_TO_THREE).tolist() == [3, 6, 9]
    assert len(compiled) == 2


def test_a_numba_without_that_memory_manager_makes_the_calls(folder, monkeypatch):
    monkeypatch.setattr(machine_code, "RUNTIME", "numba.core.runtime.nowhere")
    machine_code.runtime.cache_clear()
    try:
        assert fresh()(ONE_TO_THREE).tolist() == [3, 6, 9]
        assert not list(folder.rglob("*.o"))
    finally:
        machine_code.runtime.cache_clear()


def test_where_calls_are_not_proven_numba_makes_them(folder, compiled, monkeypatch):
    monkeypatch.setattr(machine_code, "PROVEN", False)
    assert fresh()(ONE_TO_THREE).tolist() == [3, 6, 9]
    assert compiled == []


def test_the_origin_of_a_kernel_is_all_that_it_reaches(monkeypatch):
    """A constant that only a function of another file reads, two calls down."""
    before = [machine_code._origin(one.function) for one in (search, grow)]
    assert before == [machine_code._origin(one.function) for one in (search, grow)]
    monkeypatch.setattr(gauge, "TOO_LARGE", 9)
    after = [machine_code._origin(one.function) for one in (search, grow)]
    assert before[0] != after[0]
    assert before[1] != after[1]


def test_the_clock_of_a_search_stands_while_kernels_compile():
    with machine_code.compiling:
        before = budget._clock_s()
        time.sleep(0.2)
        assert budget._clock_s() == pytest.approx(before, abs=0.1)
    assert budget._clock_s() == pytest.approx(before, abs=0.1)


def test_numba_beside_it_shares_the_memory_manager():
    """Numba may come later: it finds the same module, and frees what was returned before it came."""
    told = subprocess.run(
        [sys.executable, "-c", textwrap.dedent("""
            import sys
            import numpy as np
            from desirepath.patterns.machine_code import runtime
            from desirepath.patterns.found import _depths
            before = _depths(np.array([-1, 0, 1], np.int32))
            late = "numba" not in sys.modules
            import numba
            twice = numba.njit(lambda array: array * 2)
            print(twice(before).tolist(), _depths(np.array([-1, 0], np.int32)).tolist(), late)
        """)],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert told.split("] ") == ["[2, 4, 6", "[1, 2", "True\n"]
