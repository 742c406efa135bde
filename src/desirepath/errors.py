# SPDX-License-Identifier: Apache-2.0
"""The exceptions of Desirepath.

A message says what must hold, what came and where, and what to do.

    DesirepathError
    ├── ConfigError        an option or configuration key is wrong
    ├── DataError          the data cannot be read or breaks a rule
    │   └── TooLittleData  the data is well formed but cannot support an answer
    ├── WorkspaceError     a workspace is missing, newer, damaged or in use
    ├── ShapeError         an array does not have the shape that was asked for
    ├── NotFittedError     a model was asked before it was fitted
    └── LeakError          something looked into the future
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class DesirepathError(Exception):
    """The root of all errors raised on purpose; `exit_code` is what the command line returns."""

    exit_code = 1


class ConfigError(DesirepathError):
    """An option or configuration key is wrong; the caller can mend it."""

    exit_code = 2


class DataError(DesirepathError):
    """The data cannot be read, or breaks a rule that the step needs."""


class TooLittleData(DataError):
    """The data is well formed but cannot support the answer asked for."""

    exit_code = 3


class WorkspaceError(DesirepathError):
    """A workspace is missing, damaged, in use, or written by a newer version."""


class ShapeError(DesirepathError):
    """An array does not have the shape that the function needs."""


class NotFittedError(DesirepathError):
    """A model was asked for an answer before it was fitted."""


class LeakError(DesirepathError):
    """Training data holds something from the future of what is to be predicted."""


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint naming the known word closest to `name`, or the first twelve when none is close.

    >>> nearest("tiem", ["time", "user"])
    "Did you mean 'time'?"
    """
    words = list(known)
    close = difflib.get_close_matches(name, words, n=1)
    if close:
        return f"Did you mean '{close[0]}'?"
    return f"Known: {', '.join(words[:12])}{', ...' if len(words) > 12 else '.'}"
