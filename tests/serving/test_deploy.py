# SPDX-License-Identifier: Apache-2.0
"""What stands in deploy/ fits the server: metrics that exist, ports and paths that agree, nothing secret."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml
from shop import open_shop, served

from desirepath.serving.app import make_app
from desirepath.serving.options import ServeConfig

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
TOLD_BY_PROMETHEUS = {"up": {"job", "instance"}}


def loaded(path: Path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def told(tmp_path_factory) -> str:
    """What a used server tells of itself."""
    with served(make_app({"default": open_shop(tmp_path_factory.mktemp("deploy"))})) as client:
        event = {"user_id": "u1", "item_id": "3", "action": "view"}
        assert client.post("/v1/events", json=event).status_code == 200
        for user in ("u1", "nobody"):
            assert client.post("/v1/recommend", json={"user_id": user}).status_code == 200
        return client.get("/metrics").text


@pytest.fixture(scope="module")
def exported(told) -> dict[str, set[str]]:
    """Names of all samples, with their labels."""
    found: dict[str, set[str]] = {}
    for line in told.splitlines():
        if not line.startswith("#"):
            name = re.match(r"[a-z_]+", line)[0]
            found.setdefault(name, set()).update(re.findall(r'(\w+)="', line))
    return found


def expressions() -> list[str]:
    """Everything that alerts and panels ask of Prometheus, with what Grafana puts in."""
    board = json.loads((DEPLOY / "grafana" / "dashboards" / "desirepath.json").read_text(encoding="utf-8"))
    found = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    for one in board["templating"]["list"]:  # label_values is Grafana's own
        asked = re.fullmatch(r"label_values\((.+), (\w+)\)", one["definition"])
        found.append(f"sum by ({asked[2]}) ({asked[1]})")
    for group in loaded(DEPLOY / "alerts.yml")["groups"]:
        found += [rule["expr"] for rule in group["rules"]]
    return [text.replace("$__rate_interval", "1m").replace("$project", "default") for text in found]


@dataclass
class Asked:
    """What one expression asks for."""

    labels: dict[str, set[str]] = field(default_factory=dict)
    """Of each metric, the labels that choose among its series."""
    kept: set[str] = field(default_factory=set)
    """Labels that its results are told apart by."""


def parsed(text: str) -> Asked:
    """The metrics and labels of an expression, of which syntax and types must be right."""
    promql = pytest.importorskip("promql_parser", reason="no promql-parser here: pip install promql-parser")
    found = Asked()

    def visit(node) -> None:
        if isinstance(node, promql.VectorSelector):
            found.labels.setdefault(node.name, set()).update(one.name for one in node.matchers.matchers)
        elif isinstance(node, promql.AggregateExpr) and node.modifier is not None:
            assert node.modifier.type == promql.AggModifierType.By, text
            found.kept.update(node.modifier.labels)

    promql.walk(promql.parse(text), visit)
    return found


@pytest.mark.parametrize("text", expressions())
def test_what_is_asked_for_is_told(exported, text):
    known = exported | TOLD_BY_PROMETHEUS
    asked = parsed(text)
    assert asked.labels, "it asks for nothing"
    assert set(asked.labels) <= set(known), set(asked.labels) - set(known)
    added = TOLD_BY_PROMETHEUS["up"]  # Prometheus adds these to everything that it reads
    for name, labels in asked.labels.items():
        assert labels <= known[name] | added
    assert asked.kept <= set().union(added, *(known[name] for name in asked.labels))


@pytest.mark.parametrize(
    "wrong",
    [
        "rate(desirepath_users)",
        "sum by (le (a)",
        "sum(a[5m])",
        "histogram_quantile(a)",
        "rated(a[5m])",
        'a{b=~"("}',
    ],
)
def test_what_prometheus_would_not_take_is_not_taken(wrong):
    with pytest.raises(ValueError):  # noqa: PT011, the parser's words are its own
        parsed(wrong)


def promtool(*words: str, text: str | None = None) -> str:
    """What Prometheus' own tool says; it must agree."""
    tool = shutil.which("promtool")
    if tool is None:
        pytest.skip("no promtool here; install it (Debian: prometheus) to test with Prometheus' own tool")
    done = subprocess.run([tool, *words], input=text, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_prometheus_takes_the_rules_and_alerts_speak_when_they_should():
    assert "5 rules found" in promtool("check", "rules", str(DEPLOY / "alerts.yml"))
    assert "SUCCESS" in promtool("test", "rules", str(DEPLOY / "alerts_test.yml"))
    promtool("check", "config", "--syntax-only", str(DEPLOY / "prometheus.yml"))


def test_prometheus_takes_what_the_server_tells(told):
    assert promtool("check", "metrics", text=told) == ""


def test_every_alert_is_tested_to_speak_and_to_keep_still():
    rules = {rule["alert"] for group in loaded(DEPLOY / "alerts.yml")["groups"] for rule in group["rules"]}
    cases = [case for one in loaded(DEPLOY / "alerts_test.yml")["tests"] for case in one["alert_rule_test"]]
    assert {case["alertname"] for case in cases if case.get("exp_alerts")} == rules
    assert {case["alertname"] for case in cases if not case.get("exp_alerts")} == rules


def test_everything_that_is_told_is_shown(exported):
    """A figure that nobody looks at need not be counted."""
    shown = " ".join(expressions())
    families = {re.sub(r"_(total|bucket|sum|count|created)$", "", name) for name in exported}
    assert not [name for name in families if name.startswith("desirepath_") and name not in shown]


def test_the_board_is_whole():
    board = json.loads((DEPLOY / "grafana" / "dashboards" / "desirepath.json").read_text(encoding="utf-8"))
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))
    taken = set()
    for panel in board["panels"]:
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["datasource"]["uid"] == "prometheus"
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, "panels lie over each other"
        taken |= cells
    source = loaded(DEPLOY / "grafana" / "provisioning" / "datasources" / "prometheus.yaml")
    assert source["datasources"][0]["uid"] == "prometheus"


def test_compose_agrees_with_itself_and_the_server():
    compose = loaded(DEPLOY / "compose.yaml")
    services = compose["services"]
    assert set(services) == {"desirepath", "postgres", "redis", "prometheus", "grafana"}
    own = services["desirepath"]
    port = ServeConfig().port
    assert own["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert int(own["stop_grace_period"].removesuffix("s")) > ServeConfig().grace_s
    for name in own["environment"]:
        section, key = name.removeprefix("DESIREPATH_").lower().split("__")
        assert section == "serve"
        assert hasattr(ServeConfig(), key), name
    (job,) = loaded(DEPLOY / "prometheus.yml")["scrape_configs"]
    assert job["static_configs"][0]["targets"] == [f"desirepath:{port}"]
    assert "/run/secrets/metrics_key" in job["authorization"]["credentials_file"]
    assert services["prometheus"]["secrets"] == ["metrics_key"]
    for service in services.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            is_there = (DEPLOY / source).exists() if source.startswith("./") else source in compose["volumes"]
            assert is_there or source.startswith("${"), volume
        # Nothing is published to other machines.
        assert all(published.startswith("127.0.0.1:") for published in service.get("ports", []))


def test_no_password_has_a_default():
    text = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
    for name in re.findall(r"\$\{([A-Z_]+)", text):
        assert f"${{{name}:?" in text, f"{name} must be set by whoever runs it"
    for line in (DEPLOY / "example.env").read_text(encoding="utf-8").splitlines():
        if "PASSWORD" in line:
            assert line.endswith("=")


def test_the_image_runs_as_nobody_and_with_a_key():
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    final = text.rpartition("\nFROM ")[2]
    assert "\nUSER desirepath\n" in final
    assert "HEALTHCHECK" in final
    assert "/readyz" in final
    assert f"EXPOSE {ServeConfig().port}" in final
    extras = set(re.search(r"'\.\[([a-z,]+)\]'", text)[1].split(","))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert extras <= set(project["optional-dependencies"])
    copied = set(re.findall(r"^COPY ((?!--)[\w. ]+) \./", text, re.M)[0].split())
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8")
    for name in copied:
        assert f"!{name}" in ignored
        assert (ROOT / name).exists()


def test_every_dependency_is_pinned():
    """What an audit finds today it finds tomorrow: versions change only by a commit."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [
        *project["dependencies"],
        *(one for extra in project["optional-dependencies"].values() for one in extra),
    ]
    names = {re.match(r"[A-Za-z0-9_.-]+", one)[0].lower().replace("_", "-") for one in wanted}
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[^=\s]+", pin) for pin in pins)
    pinned = {pin.partition("==")[0].lower().replace("_", "-") for pin in pins}
    assert names - {"desirepath"} <= pinned
