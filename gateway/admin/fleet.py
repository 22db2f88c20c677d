"""All workers, asked at once over their Unix sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson
from yarl import URL

_TIMEOUT_S = 1.0
"""A worker whose loop is blocked for longer does not answer, and is said not to."""
_BUILD_S = 30.0


@dataclass(frozen=True, slots=True)
class Said:
    """What one worker answered; `status` 0 and no document: nothing, in time."""

    worker: int
    status: int
    document: Any
    absent: bool = False
    """There is none at the moment: it has died, and was not started again yet."""

    @property
    def ok(self) -> bool:
        """Whether it did what it was asked."""
        return self.status == 200


class Fleet:
    """The workers of one gateway, by the paths of their sockets."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._sessions = [
            aiohttp.ClientSession(
                connector=aiohttp.UnixConnector(path), cookie_jar=aiohttp.DummyCookieJar()
            )
            for path in paths
        ]

    async def ask(
        self, method: str, path: str, document: Any = None, *, timeout_s: float = _TIMEOUT_S
    ) -> list[Said]:
        """The same of everybody; answers in the order of the workers.

        `path` is sent as it is: whoever puts another's text into it escapes that.
        """
        return await asyncio.gather(
            *(
                self._ask(number, method, path, document, timeout_s)
                for number in range(len(self._sessions))
            )
        )

    async def build(self, document: Any) -> list[Said]:
        """Have everybody prepare a configuration, which may take a while."""
        return await self.ask("POST", "/prepare", document, timeout_s=_BUILD_S)

    async def close(self) -> None:
        """Let go of the connections."""
        for session in self._sessions:
            await session.close()

    async def _ask(
        self, number: int, method: str, path: str, document: Any, timeout_s: float
    ) -> Said:
        try:
            async with self._sessions[number].request(
                method,
                URL(f"http://worker{path}", encoded=True),
                data=None if document is None else orjson.dumps(document),
                timeout=aiohttp.ClientTimeout(total=timeout_s),
            ) as response:
                body = await response.read()
                # A refusal by aiohttp, of a path that does not exist there, is plain text.
                is_json = response.content_type == "application/json"
                return Said(number, response.status, orjson.loads(body) if is_json else None)
        except aiohttp.ClientConnectorError:
            return Said(number, 0, None, absent=True)
        except (aiohttp.ClientError, TimeoutError, OSError):
            return Said(number, 0, None)
