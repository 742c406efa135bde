# SPDX-License-Identifier: Apache-2.0
"""Who people are: segments, and the portrait of one user or item."""
