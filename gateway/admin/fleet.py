"""Client of all workers: sends a request to each over its Unix socket, concurrently."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson
from yarl import URL

_TIMEOUT_S = 1.0
"""Timeout of a request. A worker whose loop is blocked for longer counts as not answering."""
_BUILD_S = 30.0


@dataclass(frozen=True, slots=True)
class WorkerReply:
    """Reply of one worker. `status` is 0 and `document` None if it did not answer in time."""

    worker: int
    status: int
    document: Any
    absent: bool = False
    """True if the worker has died and was not restarted yet."""

    @property
    def ok(self) -> bool:
        """True if the worker has fulfilled the request."""
        return self.status == 200


class Fleet:
    """Workers of one gateway, reached by the paths of their sockets."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._sessions = [
            aiohttp.ClientSession(
                connector=aiohttp.UnixConnector(path), cookie_jar=aiohttp.DummyCookieJar()
            )
            for path in paths
        ]

    async def ask(
        self, method: str, path: str, document: Any = None, *, timeout_s: float = _TIMEOUT_S
    ) -> list[WorkerReply]:
        """Send the same request to every worker. Return the replies in the order of the workers.

        `path` is sent unchanged: the caller must escape foreign text in it.
        """
        return await asyncio.gather(
            *(
                self._ask(number, method, path, document, timeout_s)
                for number in range(len(self._sessions))
            )
        )

    async def build(self, document: Any) -> list[WorkerReply]:
        """Let every worker prepare a configuration, for at most `_BUILD_S` seconds."""
        return await self.ask("POST", "/prepare", document, timeout_s=_BUILD_S)

    async def close(self) -> None:
        """Close the connections to the workers."""
        for session in self._sessions:
            await session.close()

    async def _ask(
        self, number: int, method: str, path: str, document: Any, timeout_s: float
    ) -> WorkerReply:
        session = self._sessions[number]
        if session.closed:
            return WorkerReply(number, 0, None)  # this process ends, and a task still asks
        try:
            async with session.request(
                method,
                URL(f"http://worker{path}", encoded=True),
                data=None if document is None else orjson.dumps(document),
                timeout=aiohttp.ClientTimeout(total=timeout_s),
            ) as response:
                body = await response.read()
                # aiohttp answers an unknown path with plain text.
                is_json = response.content_type == "application/json"
                return WorkerReply(number, response.status, orjson.loads(body) if is_json else None)
        except aiohttp.ClientConnectorError:
            return WorkerReply(number, 0, None, absent=True)
        except (aiohttp.ClientError, TimeoutError, OSError):
            return WorkerReply(number, 0, None)
