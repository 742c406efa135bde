# SPDX-License-Identifier: Apache-2.0
"""HTTP: the live side as a service, with errors that say what to do."""
