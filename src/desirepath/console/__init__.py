# SPDX-License-Identifier: Apache-2.0
"""The pages that people look at, on the server that answers."""

from desirepath.console.mounting import mount
from desirepath.console.views import Console, Views

__all__ = ["Console", "Views", "mount"]
