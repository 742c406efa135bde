# SPDX-License-Identifier: Apache-2.0
"""The live side: events kept durably, what every user did until now, and answers that know it."""
