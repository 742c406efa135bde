# SPDX-License-Identifier: Apache-2.0
"""Evaluation: metrics, and models compared on the same queries with intervals."""
