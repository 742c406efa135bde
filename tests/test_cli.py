# SPDX-License-Identifier: Apache-2.0
"""The command line: frozen options, honest exit codes, clean JSON, and a run that survives being killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest
import typer

from desirepath import cli
from desirepath.simulate import tiny, write

FAST = [
    *("--set", "training.epochs=2"),
    *("--set", "model.dim=16"),
    *("--set", "evaluation.n_resamples=50"),
    *("--set", "recommend.baselines=[]"),
]
READING = {
    *("--user", "--item", "--time", "--action", "--column", "--time-unit", "--delimiter", "--header"),
    *("--no-header", "--encoding", "--query", "--table"),
}
GIVEN = {"--to", "--items", "--users", "--rejects", "--set", "--json"} | READING
OPTIONS = {
    "inspect": {"--samples", "--json"} | READING,
    "run": GIVEN,
    "ingest": GIVEN,
    "import": {"--to", "--partial", "--rejects", "--set", "--json"},
    "train": {"--set", "--json"},
    "evaluate": {"--set", "--json"},
    "recommend": {
        *("--user", "--history", "--similar-item", "--similar-user", "--k", "-k"),
        *("--exclude-seen", "--include-seen", "--set", "--json"),
    },
    "export": {"--to", "--json"},
    "doctor": {"--json"},
    "demo": {"--to", "--seed", "--set", "--json"},
    "segments": {"--to", "--plot", "--set", "--json"},
    "profile": {"--user", "--item", "--set", "--json"},
    "serve": {"--host", "--port", "--database", "--log"},
    "bench": {"--clients", "--rate", "--seconds", "--min-events", "--scenario", "--json"},
    "compact": {"--keep-days", "--database", "--json"},
    "retrain": {"--model", "--margin", "--promote", "--database", "--set", "--json"},
    "keys create": {"--scope", "--label", "--expires", "--json"},
    "keys list": {"--json"},
    "keys revoke": {"--json"},
    "keys rotate": {"--overlap", "--json"},
    "models list": {"--json"},
    "models promote": {"--reason", "--json"},
    "models rollback": {"--reason", "--json"},
    "scenarios value": {"--rules", "--as", "--since", "--most", "--database", "--json"},
}
SELECTION = {
    *("--by", "--per", "--session-gap", "--collapse", "--at-once", "--actions", "--start", "--end"),
    *("--rows", "-k", "--to", "--json"),
}
LIMITS = {"--max-gap", "--max-gap-s", "--max-span-s"}
FINDING = {"--min-support", "--max-seconds"}
MINE = {
    "sequences": SELECTION
    | LIMITS
    | FINDING
    | {"--kind", "--top-k", "--min-length", "--max-length", "--starts-with", "--ends-with", "--contains"}
    | {"--no-repeats", "--max-patterns", "--parts", "--plot"},
    "contrast": SELECTION
    | FINDING
    | {"--between", "--min-length", "--max-length", "--order-by", "--max-q", "--plot"},
    "rules": SELECTION
    | FINDING
    | {"--min-confidence", "--max-antecedent", "--max-consequent", "--window", "--window-s", "--plot"},
    "match": SELECTION | LIMITS | {"--every"},
    "next": SELECTION | {"--rules", "--order", "--min-support", "--min-confidence"},
    "transitions": SELECTION | {"--plot"},
    "funnel": SELECTION | {"--steps", "--window-s", "--strict", "--exclude", "--drop-offs", "--plot"},
    "steps": SELECTION | {"--n-steps", "--top", "--anchor", "--from-end", "--plot"},
    "sankey": SELECTION | {"--n-steps", "--top", "--anchor", "--plot"},
    "tree": SELECTION | {"--n-steps", "--top", "--plot"},
    "paths": SELECTION | {"--n-steps"},
    "retention": SELECTION | {"--period", "--rolling", "--birth", "--back", "--plot"},
    "visits": SELECTION,
    "loops": SELECTION | {"--plot"},
    "between": SELECTION | {"--from", "--then", "--plot"},
}
"""A change here is a change of what users type: it belongs into the changelog."""


def desirepath(*words: str | Path, **more) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "desirepath", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, **more)


@pytest.fixture(scope="module")
def market(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("market")
    write(tiny(), folder, format="csv")
    return folder


@pytest.fixture(scope="module")
def workspace(market, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("done") / "workspace"
    done = desirepath(
        "run", market / "events.csv", "--items", market / "items.csv", "--to", folder, *FAST, "--json"
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert Path(answer["report"]).exists()
    assert answer["model"] == "sasrec"
    return folder


def options_of(commands) -> dict[str, set[str]]:
    return {
        name: {word for p in command.params for word in (*p.opts, *p.secondary_opts) if word.startswith("-")}
        - {"--help"}
        for name, command in commands.items()
    }


def test_the_options_are_frozen():
    commands = dict(typer.main.get_command(cli.app).commands)
    mine = commands.pop("mine")
    for group in ("keys", "models", "scenarios"):
        verbs = commands.pop(group).commands
        commands |= {f"{group} {name}": command for name, command in verbs.items()}
    assert options_of(commands) == OPTIONS
    assert options_of(mine.commands) == MINE


def test_every_command_is_described():
    page = (Path(__file__).parents[1] / "docs" / "flows.md").read_text()
    for name, command in typer.main.get_command(cli.app).commands.items():
        assert command.help
        assert f"| `{name}" in page


def test_run_leaves_recommendations(workspace):
    table = pl.read_parquet(workspace / "recommendations.parquet")
    assert table.columns == ["user_id", "item_id", "rank", "score", "probability"]
    assert table["probability"].is_between(0, 1).all()
    assert table.group_by("user_id").len()["len"].max() == 10
    assert (workspace / "report.html").stat().st_size < 6_000_000


def test_run_again_does_nothing_again(workspace, market):
    before = {p: p.stat().st_mtime_ns for p in workspace.rglob("*") if p.is_file() and p.name != ".lock"}
    again = desirepath("run", market / "events.csv", "--to", workspace, "--json")
    assert again.returncode == 0, again.stderr
    after = {p: p.stat().st_mtime_ns for p in workspace.rglob("*") if p.is_file() and p.name != ".lock"}
    changed = {p.name for p in after if after[p] != before.get(p)}
    assert changed <= {"settings.json"}


def test_recommend_in_every_way(workspace):
    table = pl.read_parquet(workspace / "recommendations.parquet")
    user, item = table["user_id"][0], table["item_id"][0]
    mine = json.loads(desirepath("recommend", workspace, "--user", user, "-k", "3", "--json").stdout)
    kept = table.filter(pl.col("user_id") == user).head(3)
    assert [row["item_id"] for row in mine["items"]] == kept["item_id"].to_list()
    anyone = json.loads(
        desirepath("recommend", workspace, "--history", f"{item},nonsense", "-k", "3", "--json").stdout
    )
    assert anyone["unknown"] == ["nonsense"]
    assert len(anyone["items"]) == 3
    for option, value in (("--similar-item", item), ("--similar-user", user)):
        near = json.loads(desirepath("recommend", workspace, option, value, "-k", "3", "--json").stdout)
        assert len(near["items"]) == 3


@pytest.mark.parametrize("what", ["events", "sequences", "recommendations", "features", "evaluation"])
def test_export(workspace, tmp_path, what):
    for ending in ("parquet", "csv", "jsonl"):
        done = desirepath("export", workspace, what, "--to", tmp_path / f"out.{ending}")
        assert done.returncode == 0, done.stderr
        assert (tmp_path / f"out.{ending}").stat().st_size > 0


def test_doctor_finds_what_is_broken(workspace, tmp_path):
    sound = json.loads(desirepath("doctor", workspace, "--json").stdout)
    assert sound["problems"] == []
    broken = desirepath("doctor", tmp_path, "--json")
    assert broken.returncode == 1
    assert "no workspace" in json.loads(broken.stdout)["problems"][0]


def wrong(name: str, tmp_path: Path) -> list[str | Path]:
    """Words that must fail, by what is wrong with them."""
    files = {
        "empty": b"",
        "header only": b"user_id,item_id,timestamp\n",
        "one user": b"user_id,item_id,timestamp\n"
        + b"".join(b"u,i%d,150000000%d\n" % (i, i) for i in range(9)),
        "one item": b"user_id,item_id,timestamp\n"
        + b"".join(b"u%d,i,150000000%d\n" % (i, i) for i in range(9)),
        "one instant": b"user_id,item_id,timestamp\n"
        + b"".join(b"u%d,i%d,1500000000\n" % (i % 3, i) for i in range(9)),
        "no clock": b"user_id,item_id,timestamp\nu,i,soon\nv,j,later\n",
        "cut gzip": b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03abc",
    }
    path = tmp_path / ("log.csv.gz" if name == "cut gzip" else "log.csv")
    path.write_bytes(files.get(name, files["one user"]))
    to = ["--to", tmp_path / "workspace"]
    return {
        "wrong path": ["run", tmp_path / "nothing.csv", *to],
        "wrong column": ["run", path, "--user", "usr_id", *to],
        "wrong section": ["run", path, "--set", "trainin.epochs=1", *to],
        "wrong value": ["run", path, "--set", "training.epochs=many", *to],
        "wrong word": ["run", path, "--colour", "red", *to],
        "two questions": ["recommend", tmp_path, "--user", "a", "--history", "b"],
        "no workspace": ["train", tmp_path],
    }.get(name, ["run", path, *to, *FAST])


@pytest.mark.parametrize(
    ("name", "code", "word"),
    [
        ("wrong path", 2, "nothing"),
        ("wrong column", 2, "user_id"),
        ("wrong section", 2, "training"),
        ("wrong value", 2, "epochs"),
        ("wrong word", 2, "--colour"),
        ("no workspace", 1, "no workspace"),
        ("empty", 1, "empty"),
        ("header only", 1, ""),
        ("one user", 3, "two users"),
        ("one item", 3, "two items"),
        ("one instant", 3, "moment"),
        ("cut gzip", 1, "gz"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, name, code, word):
    done = desirepath(*wrong(name, tmp_path))
    assert "Traceback" not in done.stderr
    assert (done.returncode, word in done.stderr) == (code, True), done.stderr
    assert len(done.stderr) < 1500


def test_a_newer_workspace_is_left_alone(tmp_path):
    (tmp_path / "desirepath.json").write_text('{"format": 99}')
    done = desirepath("train", tmp_path)
    assert done.returncode == 1
    assert "Upgrade" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_is_stopped_goes_on(market, workspace, tmp_path, how):
    """Stopped at several moments, a run ends with what an unbroken one gives."""
    words = [market / "events.csv", "--items", market / "items.csv", "--to", tmp_path / "w", *FAST]
    command = [sys.executable, "-m", "desirepath", "run", *map(str, words)]
    for patience_s in (1.5, 3.0, 5.0, 7.0, 9.0):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        time.sleep(patience_s)
        if process.poll() is None:
            os.kill(process.pid, how)
        stderr = process.communicate(timeout=120)[1].decode()
        assert "Traceback" not in stderr
    done = desirepath("run", *words, "--json")
    assert done.returncode == 0, done.stderr
    whole = pl.read_parquet(workspace / "recommendations.parquet")
    assert pl.read_parquet(tmp_path / "w" / "recommendations.parquet").equals(whole)
