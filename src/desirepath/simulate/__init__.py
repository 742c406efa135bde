# SPDX-License-Identifier: Apache-2.0
"""A simulated marketplace whose patterns, causes and effects are known.

It writes logs of any size as a shop would have left them, and beside them the truth that was
planted, so that whatever reads the log can be checked against it.
"""

from desirepath.simulate.market import Marketplace, simulate, write
from desirepath.simulate.settings import MarketplaceConfig, bench, demo, tiny
from desirepath.simulate.truth import Truth, marketplace_summary, read_truth

__all__ = [
    "Marketplace",
    "MarketplaceConfig",
    "Truth",
    "bench",
    "demo",
    "marketplace_summary",
    "read_truth",
    "simulate",
    "tiny",
    "write",
]
