# SPDX-License-Identifier: Apache-2.0
"""Kept machine code: found again, never stale, never half, and enough without numba."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

from desirepath.patterns import budget, gauge, machine_code
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


EVERY_QUESTION = """
import sys
from desirepath.patterns.constraints import ConstraintConfig
from desirepath.patterns.contrast import contrast
from desirepath.patterns.database import SequenceDatabase
from desirepath.patterns.frequent import MiningConfig, mine
from desirepath.patterns.match import match
from desirepath.patterns.matrix import exact_supports, pattern_matrix
from desirepath.patterns.paths import funnel, loops, retention, sankey, step_matrix, time_between
from desirepath.patterns.paths import top_paths, transitions, visits
from desirepath.patterns.rules import RuleConfig, rules

log = SequenceDatabase.from_lists([["a", "b", "c"], ["a", "c"], ["b", "c"]] * 3)
sets = SequenceDatabase.from_lists([[{"a", "b"}, "c"], ["a", "c"], [{"b", "c"}]] * 3)
kinds = [mine(log, MiningConfig(min_support=3, kind=kind)) for kind in ("frequent", "closed", "maximal")]
print([found.to_frame().rows() for found in kinds])
near = ConstraintConfig(max_gap=1, no_repeats=True)
for one in (log, sets):
    found = mine(one, MiningConfig(min_support=3, kind="closed"), near)
    print(found.to_frame().rows(), exact_supports(one, found.tree, near).tolist())
    print(pattern_matrix(one, found).sum(), match(one, found.top(1)).height)
    print(contrast(one, ["x", "y", "x"] * 3).rows())
    print(rules(one, RuleConfig(min_support=3)).rows())
print(transitions(log).rows(), sankey(log).rows(), step_matrix(log).rows(), top_paths(log).rows())
print(funnel(log, ["a", "c"]).to_frame().rows(), retention(log).rows(), loops(log).rows())
print(time_between(log, "a", "c").rows(), visits(log, 1.5).rows())
print("numba" in sys.modules)
"""


def test_a_process_that_finds_all_kernels_never_imports_numba():
    """Whatever is asked: no kernel wants arguments or symbols that only numba has."""
    first, again = (
        subprocess.run([sys.executable, "-c", EVERY_QUESTION], capture_output=True, text=True, check=True)
        for _ in range(2)
    )
    *answers, numba = again.stdout.splitlines()
    assert answers == first.stdout.splitlines()[:-1]
    assert numba == "False"


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
    assert fresh()(ONE_TO_THREE).tolist() == [3, 6, 9]
    assert not list(folder.rglob("*.o"))


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
            from desirepath.patterns import machine_code
            from desirepath.patterns.found import _depths
            machine_code._part_of_numba(machine_code.HELPERS)
            before = _depths(np.array([-1, 0, 1], np.int32))
            late = "numba" not in sys.modules
            import numba
            twice = numba.njit(lambda array: array * 2)
            print(twice(before).tolist(), _depths(np.array([-1, 0], np.int32)).tolist(), late)
        """)],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert told.split("] ") == ["[2, 4, 6", "[1, 2", "True\n"]
