"""One generation: tokens at a fixed pace, counted, with the requested fault."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from aiohttp import web

from gateway.demo import faults
from gateway.demo.faults import DemoFault, FaultKind
from gateway.demo.text import count_tokens, tokens_of

_SLOWER = 10
_RETRY_AFTER_S = 2


@dataclass(slots=True)
class Stats:
    """Counts since the backend started."""

    requests: int = 0
    active: int = 0
    finished: int = 0
    aborted: int = 0
    """Generations whose client left, or that failed on purpose."""


STATS = web.AppKey("stats", Stats)
PACE_S = web.AppKey("pace_s", float)


class DemoError(Exception):
    """The demo backend rejects a request with an error in the format of its dialect."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = {"Retry-After": str(_RETRY_AFTER_S)} if status == 429 else {}


class DemoGeneration:
    """Response to one prompt."""

    def __init__(
        self,
        request: web.Request,
        model: str,
        prompt: str,
        max_tokens: int | None,
        *,
        tokens: list[str] | None = None,
    ) -> None:
        """Create a generation. `tokens` is the text to send; None derives it from the prompt."""
        self._request = request
        self._pace_s = request.app[PACE_S]
        self.fault: DemoFault | None = faults.choose(request, model)
        tokens = tokens_of(prompt) if tokens is None else tokens
        self.cut = max_tokens is not None and max_tokens < len(tokens)
        """True if `max_tokens` shortened the text."""
        self.tokens = tokens[:max_tokens] if max_tokens is not None else tokens
        self.prompt_tokens = count_tokens(prompt)

    @property
    def text(self) -> str:
        """Complete text."""
        return "".join(self.tokens)

    async def begin(self) -> None:
        """Fail before the response head if that fault was requested. Raise Refusal."""
        stats = self._request.app[STATS]
        stats.requests += 1
        kind = self.fault.kind if self.fault else None
        if kind in (FaultKind.ERROR, FaultKind.OVERLOADED):
            stats.aborted += 1
        if kind is FaultKind.ERROR:
            raise DemoError(500, "The demo backend failed on purpose.")
        if kind is FaultKind.OVERLOADED:
            raise DemoError(429, "The demo backend is overloaded on purpose.")
        if kind is FaultKind.REFUSE:
            faults.reset(self._request)
        elif kind is FaultKind.GARBAGE and self._request.transport is not None:
            self._request.transport.write(b"SSH-2.0-demo\r\n")
            self._request.transport.close()
        if kind in (FaultKind.REFUSE, FaultKind.GARBAGE, FaultKind.HANG):
            stats.aborted += 1
            await _until_cancelled()

    async def stream(self) -> AsyncIterator[str]:
        """Yield the tokens at the backend's pace. Count how the generation ended."""
        stats = self._request.app[STATS]
        fault = self.fault
        pace_s = self._pace_s
        stats.active += 1
        finished = False
        try:
            if fault and fault.kind is FaultKind.SLOW:
                pace_s *= _SLOWER
                await asyncio.sleep(pace_s * _SLOWER)
            for index, token in enumerate(self.tokens):
                if fault and index == fault.after:
                    await self._fail(fault.kind)
                await asyncio.sleep(pace_s)
                yield token
            if fault and fault.after == len(self.tokens):
                await self._fail(fault.kind)
            finished = True
        finally:
            stats.active -= 1
            if finished:
                stats.finished += 1
            else:
                stats.aborted += 1

    async def whole(self) -> str:
        """Return all tokens after the time they take."""
        return "".join([token async for token in self.stream()])

    async def _fail(self, kind: FaultKind) -> None:
        transport = self._request.transport
        if kind is FaultKind.RESET:
            faults.reset(self._request)
        elif kind is FaultKind.TRUNCATE and transport is not None:
            transport.close()
        if kind in (FaultKind.RESET, FaultKind.TRUNCATE, FaultKind.STALL):
            await _until_cancelled()


async def _until_cancelled() -> None:
    """Wait until the connection is lost, which cancels the handler."""
    await asyncio.Event().wait()
