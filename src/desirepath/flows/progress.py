# SPDX-License-Identifier: Apache-2.0
"""How a flow tells how far it is; the command line draws it, tests and libraries ignore it."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, float, str], None]
"""Called with the step's title, the share done (0 to 1), and a short note such as "loss 5.21"."""


def silent(step: str, share: float, note: str = "") -> None:
    """Report to no one."""
