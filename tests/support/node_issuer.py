"""The OpenID provider `oidc-provider` from npm, as a process."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from tests.support.block import AsyncBlock

SECRET = "secret-of-the-gateway-at-the-provider"
"""Secret of the client `gateway`."""
_PROGRAM = Path(__file__).parents[1] / "node/issuer.mjs"
_PATIENCE_S = 60.0


class NodeIssuer(AsyncBlock):
    """Running provider, as an async context manager."""

    def __init__(self) -> None:
        self.url = ""
        self._process: asyncio.subprocess.Process | None = None

    async def serve(self, gateway: str) -> None:
        """Know the gateway at this URL, and answer from now on."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(f"{gateway}\n".encode())
        assert await self._line() == "ready"

    async def _enter(self) -> None:
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(
            *("node", str(_PROGRAM)),
            stdin=pipe,
            stdout=pipe,
            stderr=asyncio.subprocess.DEVNULL,
            env={**os.environ, "OIDC_SECRET": SECRET},
        )
        self.url = await self._line()

    async def _leave(self, error: BaseException | None) -> None:
        assert self._process is not None
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()

    async def _line(self) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        async with asyncio.timeout(_PATIENCE_S):
            line = (await self._process.stdout.readline()).decode().strip()
        assert line, f"{_PROGRAM} ended: run `npm ci` in tests/node"
        return line
