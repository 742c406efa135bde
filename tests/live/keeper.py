# SPDX-License-Identifier: Apache-2.0
"""A process that keeps events for others and may be killed: started by `crashes.Keeper`.

It loads what it needs once and forks for each life, so that many lives can be lived in a minute; only the
forked process opens the store. Each line sent to it is an array of events; it answers once they are kept.
"""

from __future__ import annotations

import json
import os
import socketserver
import sys
from collections import Counter

from desirepath.live.store import LiveStore


def live(url: str, port: int) -> None:
    """Serve until killed."""
    counted: Counter[str] = Counter()

    def count(rows: list[dict[str, object]]) -> None:
        counted.update(str(row["user_id"]) for row in rows)

    store = LiveStore(url, on_kept=count)
    seq = 0
    while rows := store.events_after(seq):  # what a server does when it starts
        count(rows)
        seq = rows[-1]["seq"]

    class Asked(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            for line in self.rfile:
                rows = json.loads(line)
                if rows == "counts":
                    reply: object = counted
                else:
                    kept = store.keep(rows).result()
                    reply = {"fresh": len(kept.fresh), "known": len(kept.known)}
                self.wfile.write(json.dumps(reply).encode() + b"\n")

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        request_queue_size = 64

    with Server(("127.0.0.1", port), Asked) as server:
        server.serve_forever(0.01)


def main() -> None:
    """Begin a life for each line of the input; says the number of its process."""
    url, port = sys.argv[1], int(sys.argv[2])
    for _ in sys.stdin:
        pid = os.fork()
        if pid == 0:
            live(url, port)
        print(pid, flush=True)
        os.waitpid(pid, 0)
        print("dead", flush=True)


if __name__ == "__main__":
    main()
