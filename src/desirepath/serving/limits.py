# SPDX-License-Identifier: Apache-2.0
"""How much one caller may ask, and how long a request may take: sizes, times, rates.

Sizes and times are this process's own; rates are those of all processes that share a Redis server. Limits on
what a body means stand with the shapes.
"""

from __future__ import annotations

import asyncio
import contextlib

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from desirepath.serving.buckets import Buckets, SharedBuckets, TokenBuckets, connect
from desirepath.serving.options import LimitsConfig
from desirepath.serving.problems import ProblemError, problem_bytes

LINGER_S = 1.0
REFUSED_PER_S = 2.0
REFUSED_BURST = 20.0
"""Requests without a valid key that one address may make, before it is not even listened to."""


class Rates:
    """The rates of all callers of one application, or of all processes of it."""

    def __init__(self, config: LimitsConfig, redis: str = "", application: str = "") -> None:
        """Count from now on.

        Args:
            config: how much is allowed.
            redis: URL of a server that the application's processes share; each counts alone when empty.
            application: tells it from others on that server.

        Raises:
            ConfigError: the URL is none of a Redis server.
        """

        def buckets(kind: str, rate_per_s: float, burst: float) -> TokenBuckets:
            if not redis:
                return Buckets(rate_per_s, burst)
            return SharedBuckets(rate_per_s, burst, connect(redis), f"desirepath:{{{application}}}:{kind}:")

        self._asked = buckets("asked", config.rate_per_s, config.burst) if config.rate_per_s > 0 else None
        self._refused = buckets("refused", REFUSED_PER_S, REFUSED_BURST)
        if self._asked is not None:
            window_s = max(1, round(config.burst / config.rate_per_s))
            self._policy = f'"caller";q={round(config.burst)};w={window_s}'.encode()

    def take(self, name: str, scope: Scope) -> None:
        """Count a request, and say in the reply's headers what is left.

        Source: draft-ietf-httpapi-ratelimit-headers, sections 3 and 4.

        Raises:
            ProblemError: 429 where it is one too many.
        """
        if self._asked is None:
            return
        is_allowed, left, wait_s = self._asked.take(name)
        lines = scope.setdefault("reply_headers", [])
        lines.append((b"ratelimit-policy", self._policy))
        lines.append((b"ratelimit", b'"caller";r=%d;t=%d' % (int(left), _up(wait_s))))
        if not is_allowed:
            raise _too_many(wait_s)

    def take_refused(self, address: str) -> None:
        """Count a request that was refused for want of a valid key.

        Raises:
            ProblemError: 429 where there were too many: someone is guessing.
        """
        is_allowed, _, wait_s = self._refused.take(address)
        if not is_allowed:
            raise _too_many(wait_s)


def _too_many(wait_s: float) -> ProblemError:
    seconds = _up(wait_s)
    detail = f"Too many requests. Try again in {seconds} s."
    return ProblemError(429, detail, headers={"Retry-After": str(seconds)})


def _up(seconds: float) -> int:
    return max(1, -int(-seconds // 1))


class Limits:
    """ASGI middleware: long URLs, encoded, long or slow bodies, slow answers, too much at once."""

    def __init__(self, app: ASGIApp, config: LimitsConfig) -> None:
        """Stand before `app`."""
        self.app, self.config = app, config
        self.n_under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, or refuse."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        problem, is_read = self._problem(scope), False
        if problem is None:
            self.n_under_way += 1
            watch = _Watch(self.config, receive, send)
            try:
                async with watch.clock:
                    await self.app(scope, watch.receive, watch.send)
            except TimeoutError:
                problem = watch.too_slow()
            except _CutError:
                pass
            finally:
                self.n_under_way -= 1
            problem, is_read = watch.problem or problem, watch.is_read
            if watch.has_begun:
                return
        if problem is not None:
            status, lines, body = problem_bytes(scope, problem)
            lines = [*lines, (b"content-length", str(len(body)).encode()), (b"connection", b"close")]
            await send({"type": "http.response.start", "status": status, "headers": lines})
            await send({"type": "http.response.body", "body": body, "more_body": True})
            if not is_read:
                await _pour_away(receive)
            await send({"type": "http.response.body", "body": b""})

    def _problem(self, scope: Scope) -> ProblemError | None:
        config = self.config
        if self.n_under_way >= config.most_at_once:
            detail = f"{self.n_under_way} requests are under way, as many as are allowed. Try again."
            return ProblemError(503, detail, headers={"Retry-After": "1"})
        if len(scope["path"]) + len(scope["query_string"]) > config.url_bytes:
            return ProblemError(
                414, f"A URL must have at most {config.url_bytes} bytes. Send a body instead."
            )
        size = 0
        for name, value in scope["headers"]:
            size += len(name) + len(value)
            if name == b"content-encoding" and value.lower() != b"identity":
                return ProblemError(415, "A body must be sent as it is, without Content-Encoding.")
            if name == b"content-length":
                if not value.isdigit():
                    return ProblemError(400, "Content-Length must be a number.")
                if len(value) > 18 or int(value) > config.body_bytes:
                    return _too_long(config)
        if size > config.header_bytes:
            return ProblemError(431, f"Headers must have at most {config.header_bytes} bytes together.")
        return None


async def _pour_away(receive: Receive) -> None:
    """Read on for a moment: hanging up on who still sends would take the answer from him too."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LINGER_S):
            while (await receive()).get("more_body", False):
                pass


class _CutError(Exception):
    """The body was cut off; the application learns no more than that."""


class _Watch:
    """One request: counts what comes in, times it, and lets nothing out once it has been refused.

    One clock runs, for the body while that is waited for, then for the answer: a second one would cost as
    much as the rest of this.
    """

    def __init__(self, config: LimitsConfig, receive: Receive, send: Send) -> None:
        self._config, self._receive, self._send = config, receive, send
        self._loop = asyncio.get_running_loop()
        self.clock = asyncio.timeout(config.request_s)
        self.problem: ProblemError | None = None
        self.is_read = self.has_begun = False
        self._ends_s: float | None = None
        self._size = 0
        self._waits = False

    async def receive(self) -> Message:
        if self.is_read:
            return await self._receive()
        if self._ends_s is None:
            self._ends_s = self._loop.time() + self._config.body_s
            self.clock.reschedule(self._ends_s)
        self._waits = True
        message = await self._receive()
        self._waits = False
        if message["type"] == "http.request":
            self._size += len(message.get("body", b""))
            self.is_read = not message.get("more_body", False)
            if self._size > self._config.body_bytes:
                self.problem = _too_long(self._config)
                raise _CutError
        if self.is_read and not self.has_begun:
            self.clock.reschedule(self._loop.time() + self._config.request_s)
        return message

    async def send(self, message: Message) -> None:
        if self.problem is not None:
            return
        if message["type"] == "http.response.start":
            self.has_begun = True
            self.clock.reschedule(None)  # long downloads are no slow answers
        await self._send(message)

    def too_slow(self) -> ProblemError:
        """What to say when the clock has run out."""
        if self._waits:
            return ProblemError(408, f"A body must arrive within {self._config.body_s:g} s.")
        detail = f"The answer took longer than {self._config.request_s:g} s. Ask for less, or try again."
        return ProblemError(503, detail, headers={"Retry-After": "1"})


def _too_long(config: LimitsConfig) -> ProblemError:
    return ProblemError(413, f"A body must have at most {config.body_bytes} bytes. Send it in parts.")
