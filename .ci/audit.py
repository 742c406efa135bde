# SPDX-License-Identifier: Apache-2.0
"""Asks public data bases of known faults about pinned versions, and says what it could not ask.

pip-audit ends well where a data base knew none of the packages, and badly where none could be reached; here
the first is no audit, and the second no fault.
"""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field

SERVICES = ("pypi", "osv")
"""In the order in which they are asked; one that could say something is enough."""
UNREACHED = re.compile(
    r"\w*(?:ConnectionError|Timeout|ProxyError|SSLError|NameResolutionError|ServiceError)\b|Could not connect"
)
MOST_SHOWN = 10

Run = Callable[[str], tuple[str, str]]
"""A service to what pip-audit writes about it: output and errors."""


@dataclass
class Answer:
    """What one data base said."""

    n_asked: int = 0
    unknown: list[str] = field(default_factory=list)
    """Packages that it has nothing about."""
    faults: list[str] = field(default_factory=list)
    problem: str = ""
    """Why nothing was audited; empty where something was."""
    is_broken: bool = False
    """Whether that is for want of anything but the network."""


def read(output: str, errors: str) -> Answer:
    """What pip-audit wrote, as an answer."""
    try:
        packages = json.loads(output)["dependencies"]
    except (ValueError, KeyError, TypeError):
        said = errors.strip().splitlines() or ["it wrote nothing"]
        unreached = next((line for line in reversed(said) if UNREACHED.search(line)), None)
        return Answer(problem=(unreached or "\n".join(said[-6:]))[:500], is_broken=unreached is None)
    answer = Answer(n_asked=len(packages))
    for package in packages:
        if "skip_reason" in package:
            answer.unknown.append(package["name"])
        for fault in package.get("vulns", ()):
            fixed = ", ".join(fault.get("fix_versions", ())) or "no version yet"
            answer.faults.append(f"{package['name']} {package['version']}: {fault['id']}, mended in {fixed}")
    if len(answer.unknown) == answer.n_asked:
        answer.problem = f"it knows none of the {answer.n_asked} packages"
    return answer


def audit(run: Run) -> tuple[int, str]:
    """The exit status, and what is to be said: 1 for faults, and for an audit that broke."""
    problems = []
    for service in SERVICES:
        answer = read(*run(service))
        if answer.is_broken:
            return 1, f"The audit broke ({service}): {answer.problem}"
        if answer.faults:
            listed = "\n".join(f"  {fault}" for fault in answer.faults)
            return 1, f"{len(answer.faults)} known faults ({service}):\n{listed}"
        if not answer.problem:
            n = answer.n_asked - len(answer.unknown)
            said = f"audited: {n} of {answer.n_asked} pinned versions have no known fault ({service})"
            shown = ", ".join(answer.unknown[:MOST_SHOWN])
            more = ", ..." if len(answer.unknown) > MOST_SHOWN else ""
            return 0, said + (f"\nnot audited: {shown}{more}, which {service} does not know" if shown else "")
        problems.append(f"{service}: {answer.problem}")
    return 0, not_audited("; ".join(problems))


def not_audited(why: str) -> str:
    """Words that nobody takes for a pass."""
    return f"{'=' * 80}\nnot audited: no data base of known faults could be asked.\n  {why}\n{'=' * 80}"


def pip_audit(requirements: str) -> Run:
    """Asks about the versions that a file pins."""

    def run(service: str) -> tuple[str, str]:
        words = ["-s", service, "-r", requirements, "--no-deps", "--disable-pip", "-f", "json"]
        command = [sys.executable, "-m", "pip_audit", *words, "--progress-spinner", "off"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.stdout, done.stderr

    return run


def main() -> int:
    """Audit the file that is named."""
    if importlib.util.find_spec("pip_audit") is None:
        status, said = 0, not_audited("pip-audit is not installed, and could not be.")
    else:
        status, said = audit(pip_audit(sys.argv[1]))
    print(said, flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
