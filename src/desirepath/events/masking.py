# SPDX-License-Identifier: Apache-2.0
"""The shapes of values and the words for none: what may be shown of a log, and what means nothing in it."""

from __future__ import annotations

import re

NULLS = (
    "",
    "NA",
    "N/A",
    "n/a",
    "NaN",
    "nan",
    "null",
    "NULL",
    "None",
    "none",
    r"\N",
    "-",
    "?",
    "NaT",
    "nil",
    "#N/A",
)
"""Texts that stand for no value; they are never applied to ids."""


def mask(value: str, width: int = 24) -> str:
    """The shape of a value: letters become a or A, digits 9, anything beyond `width` an ellipsis.

    >>> mask("Anna-42 北京")
    'Aaaa-99 字字'
    """
    text = re.sub(r"[0-9]", "9", value[: width + 1])
    text = re.sub(r"[^\x00-\x7f]", lambda m: "字" if m[0].isalnum() else "·", text)
    text = re.sub(r"[a-z]", "a", re.sub(r"[B-Z]", "A", text))
    text = re.sub(r"[\x00-\x1f\x7f]", " ", text)
    return text if len(value) <= width else text[:width] + "…"
