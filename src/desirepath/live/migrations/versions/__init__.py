# SPDX-License-Identifier: Apache-2.0
"""One file a revision, in the order of `down_revision`; a file that was released never changes."""
