# SPDX-License-Identifier: Apache-2.0
"""`python -m desirepath` is the command line."""

from desirepath.cli import main

main()
