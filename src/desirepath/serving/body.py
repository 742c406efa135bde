# SPDX-License-Identifier: Apache-2.0
"""Reads a request's body without ever holding more than is allowed."""

from __future__ import annotations

from fastapi import Request

from desirepath.serving.problems import ProblemError

MOST_BYTES = 8 * 2**20


async def read_body(request: Request, most_bytes: int = MOST_BYTES) -> bytes:
    """The whole body.

    Raises:
        ProblemError: 413 where it is longer than `most_bytes`, whatever its header says.
    """
    refused = ProblemError(413, f"A body must have at most {most_bytes} bytes. Send it in parts.")
    stated = request.headers.get("content-length", "0")
    if stated.isdigit() and int(stated) > most_bytes:
        raise refused
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most_bytes:
            raise refused
        parts.append(part)
    return b"".join(parts)
