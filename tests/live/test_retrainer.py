"""Trainings in another process: when one is due, that there is only one, and how its end is told."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from desirepath.errors import ConfigError
from desirepath.live.retrainer import Ended, RetrainConfig, Retrainer, command_for

GOOD = 'import json, sys; print(json.dumps({"name": "v2"})); sys.stderr.write("warm\\n")'
BAD = 'import sys; sys.stderr.write("error: no events\\n"); sys.exit(3)'
LONG = "import time; time.sleep(600)"


def retrainer(code: str, tmp_path: Path, clock: list[float] | None = None, **options) -> Retrainer:
    log = tmp_path / "deep" / "retrain.log"
    if clock is None:
        return Retrainer([sys.executable, "-c", code], log, RetrainConfig(**options))
    return Retrainer([sys.executable, "-c", code], log, RetrainConfig(**options), clock=lambda: clock[0])


def ended(one: Retrainer) -> Ended:
    for _ in range(1000):
        found = one.tick()
        if found is not None:
            return found
        time.sleep(0.02)
    raise AssertionError("it never ended")


def test_a_training_that_goes_well(tmp_path: Path) -> None:
    one = retrainer(GOOD, tmp_path)
    assert one.tick() is None
    assert one.start("3 new events")
    assert one.running
    found = ended(one)
    assert (found.reason, found.error, found.result) == ("3 new events", None, {"name": "v2"})
    assert found == one.last
    assert not one.running
    assert one.tick() is None  # told once
    assert one.start("again")
    assert ended(one).reason == "again"


def test_a_training_that_fails_says_why(tmp_path: Path) -> None:
    one = retrainer(BAD, tmp_path)
    one.start("test")
    assert ended(one).error == "The training ended with code 3: error: no events"
    silent = retrainer("raise SystemExit(4)", tmp_path)
    silent.start("test")
    assert "it said nothing" in str(ended(silent).error)
    garbled = retrainer('print("no json")', tmp_path)
    garbled.start("test")
    assert "cannot be read" in str(ended(garbled).error)


def test_never_two_at_once_and_stopped_when_told(tmp_path: Path) -> None:
    one = retrainer(LONG, tmp_path)
    assert one.start("first")
    process = one._process
    assert process is not None
    assert not one.start("second")
    assert one.due(10**6) is None
    one.stop()
    assert process.poll() is not None
    assert not one.running
    one.stop()  # nothing to stop is no fault


def test_when_it_is_due(tmp_path: Path) -> None:
    clock = [0.0]
    one = retrainer(GOOD, tmp_path, clock, every_hours=2, min_new_events=500)
    assert one.due(499) is None
    assert one.due(500) == "500 new events"
    clock[0] = 2 * 3600.0
    assert one.due(1) == "2.0 hours since the last one"
    assert one.due(0) is None  # nothing is new
    one.start("hours")
    ended(one)
    assert one.due(1) is None
    failing = retrainer(BAD, tmp_path, clock, min_new_events=1)
    failing.start("test")
    ended(failing)
    assert failing.due(10) is None  # not at once again
    clock[0] += 901.0
    assert failing.due(10) is not None
    never = retrainer(GOOD, tmp_path, clock)
    clock[0] = 1e9
    assert never.due(10**9) is None


def test_the_usual_command() -> None:
    command = command_for(Path("shop"), RetrainConfig(model="markov"))
    assert command[-6:] == ["desirepath", "retrain", "shop", "--json", "--model", "markov"]
    assert command_for(Path("shop"), RetrainConfig())[-1] == "--json"


@pytest.mark.parametrize(
    "wrong",
    [
        {"every_hours": -1},
        {"every_hours": float("nan")},
        {"min_new_events": -1},
        {"fresh_share": 1.0},
        {"margin": 1.0},
        {"margin": -0.1},
        {"min_judged": 0},
        {"promote": "always"},
        {"shadow_hours": 0},
        {"keep": 0},
        {"confidence": 0.0},
    ],
)
def test_wrong_options_are_named(wrong: dict) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        RetrainConfig(**wrong)
