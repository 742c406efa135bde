# SPDX-License-Identifier: Apache-2.0
"""How fast a Gorse dump is read, beside the protobuf package parsing the same records one by one.

The dump is made up: feedback of random users and items, about 50 bytes each. Run it with a number of rows,
2,000,000 without.
"""

from __future__ import annotations

import resource
import struct
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests" / "events"), str(ROOT / "benchmarks")]

from gorse_dump import MESSAGES  # noqa: E402

from desirepath.events.foreign import read_foreign  # noqa: E402
from record import record  # noqa: E402

PEER_ROWS = 200_000
AT_ONCE = 500_000


def digits(numbers, width):
    return (numbers[:, None] // 10 ** np.arange(width - 1, -1, -1) % 10 + 48).astype(np.uint8)


def write(path: Path, n: int) -> None:
    """A dump of n feedback rows, all of one length."""
    rng = np.random.default_rng(0)
    with path.open("wb") as file:
        file.write(struct.pack("<q", -3))
        for first in range(0, n, AT_ONCE):
            m = min(AT_ONCE, n - first)
            moment = 1_600_000_000 + rng.integers(0, 10**8, m)
            varint = [(moment >> (7 * k)) & 127 | (128 if k < 4 else 0) for k in range(5)]
            parts = [
                b"\x12\x04read\x1a\x08u",
                digits(rng.integers(0, max(n // 20, 1), m), 7),
                b"\x22\x07i",
                digits((rng.random(m) ** 3 * 100_000).astype(np.int64), 6),
                b"\x29" + struct.pack("<d", 1.0) + b"\x32\x06\x08",
                np.stack(varint, 1).astype(np.uint8),
            ]
            size = sum(len(p) if isinstance(p, bytes) else p.shape[1] for p in parts)
            rows = [
                np.broadcast_to(np.frombuffer(p, np.uint8), (m, len(p))) if isinstance(p, bytes) else p
                for p in (struct.pack("<q", size), *parts)
            ]
            file.write(np.concatenate(rows, 1).tobytes())
        file.write(bytes(8))


def peer_rows_per_s(path: Path) -> float:
    """The protobuf package, with the fields of each record taken into lists."""
    body, at, kept = path.read_bytes()[: 8 + 200 * PEER_ROWS], 8, []
    feedback = MESSAGES["Feedback"]
    began = time.perf_counter()
    while len(kept) < PEER_ROWS and (size := struct.unpack_from("<q", body, at)[0]) > 0:
        one = feedback.FromString(body[at + 8 : at + 8 + size])
        kept.append(
            (one.feedback_type, one.user_id, one.item_id, one.value, one.timestamp.seconds, one.comment)
        )
        at += 8 + size
    return len(kept) / (time.perf_counter() - began)


def main() -> None:
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 2_000_000
    with tempfile.TemporaryDirectory() as folder:
        small, path = Path(folder, "small.bin"), Path(folder, "dump.bin")
        write(small, 1000)
        read_foreign([small])  # compiles
        write(path, n)
        began = time.perf_counter()
        found = read_foreign([path])
        seconds = time.perf_counter() - began
        assert found.log is not None
        rows = found.log.understanding.files[0].rows
        assert rows == n
        figures = {
            "rows": n,
            "bytes": path.stat().st_size,
            "rows_per_s": n / seconds,
            "protobuf_rows_per_s": peer_rows_per_s(path),
            "memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10,
        }
    figures["times_protobuf"] = figures["rows_per_s"] / figures["protobuf_rows_per_s"]
    for name, value in figures.items():
        print(f"{name:>22} {value:,.1f}")
    record("importing", figures)


if __name__ == "__main__":
    main()
