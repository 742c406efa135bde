# SPDX-License-Identifier: Apache-2.0
"""Raw files in, a clean ordered event log out: read, understand, clean, keep."""

from desirepath.events.attributes import read_table
from desirepath.events.display import render
from desirepath.events.inspection import Inspection, Quality, inspect, inspect_log
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
    "Inspection",
    "Quality",
    "RawLog",
    "TimeUnderstanding",
    "Understanding",
    "canonical_log",
    "inspect",
    "inspect_log",
    "read_events",
    "read_table",
    "render",
]
