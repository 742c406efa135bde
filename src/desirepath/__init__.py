# SPDX-License-Identifier: Apache-2.0
"""Desirepath: from a raw log of user behaviour to understanding, prediction and recommendations."""

__version__ = "0.1.0"
