# SPDX-License-Identifier: Apache-2.0
"""What people do, exactly: frequent and contrasting sequences, rules, paths."""
