# SPDX-License-Identifier: Apache-2.0
"""Sequences: the packed structure that everything above the event log reads."""

from desirepath.sequences.packed import Sequences
from desirepath.sequences.queries import Queries
from desirepath.sequences.vocabulary import Vocabulary

__all__ = ["Queries", "Sequences", "Vocabulary"]
