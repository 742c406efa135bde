# SPDX-License-Identifier: Apache-2.0
"""Raw files in, a clean ordered event log out: read, understand, clean, keep."""

from desirepath.events.raw import (
    ColumnChoice,
    ColumnUnderstanding,
    FileUnderstanding,
    RawLog,
    TimeUnderstanding,
    Understanding,
    canonical_log,
)
from desirepath.events.reading import read_events

__all__ = [
    "ColumnChoice",
    "ColumnUnderstanding",
    "FileUnderstanding",
    "RawLog",
    "TimeUnderstanding",
    "Understanding",
    "canonical_log",
    "read_events",
]
