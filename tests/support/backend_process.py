"""Model backend in a separate process, so that it can be killed."""

from __future__ import annotations

import asyncio
import sys

from tests.support.block import AsyncBlock

_PROGRAM = """
import asyncio, sys

async def serve(reader, writer):
    while head := await reader.readuntil(b"\\r\\n\\r\\n"):
        length = head.lower().partition(b"content-length:")[2].split(b"\\r\\n")[0]
        await reader.readexactly(int(length or 0))
        await asyncio.sleep(float(sys.argv[1]))
        writer.write(
            b"HTTP/1.1 200 OK\\r\\nContent-Type: text/event-stream\\r\\n"
            b"Transfer-Encoding: chunked\\r\\n\\r\\n"
            b'f\\r\\ndata: {"n":1}\\n\\n\\r\\n0\\r\\n\\r\\n'
        )

async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
"""


class BackendProcess(AsyncBlock):
    """Backend that answers every request with one event, after `first_byte_s` seconds."""

    def __init__(self, first_byte_s: float = 0.0) -> None:
        self._first_byte_s = first_byte_s
        self._port = 0

    @property
    def url(self) -> str:
        """URL for the configuration."""
        return f"http://127.0.0.1:{self._port}"

    async def kill(self) -> None:
        """Send SIGKILL, and wait until the process has ended."""
        self._process.kill()
        await self._process.wait()

    async def _enter(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-c", _PROGRAM, str(self._first_byte_s)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        assert self._process.stdout is not None
        self._port = int(await self._process.stdout.readline())

    async def _leave(self, error: BaseException | None) -> None:
        if self._process.returncode is None:
            await self.kill()
