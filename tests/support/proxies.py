"""Real proxies: tinyproxy for HTTP CONNECT, microsocks for SOCKS5."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.ports import free_port
from tests.support.waiting import asked_until

OUTGOING = "127.0.0.2"
"""Address from which the proxies connect, so that a server knows them."""
USER, PASSWORD = "gateway", "pr0xy-pass"
_TINYPROXY = """\
Port {port}
Listen 127.0.0.1
Bind {outgoing}
Timeout 60
Allow 127.0.0.1
BasicAuth {user} {password}
LogLevel Critical
"""


@asynccontextmanager
async def http_proxy(folder: Path) -> AsyncIterator[str]:
    """Run tinyproxy, which asks for the credential. Yield its URL, without the credential."""
    port = free_port()
    file = folder / "tinyproxy.conf"
    file.write_text(_TINYPROXY.format(port=port, outgoing=OUTGOING, user=USER, password=PASSWORD))
    async with _running(port, "tinyproxy", "-d", "-c", str(file)):
        yield f"http://127.0.0.1:{port}"


@asynccontextmanager
async def socks_proxy() -> AsyncIterator[str]:
    """Run microsocks, which asks for the credential. Yield its URL, without the credential."""
    port = free_port()
    words = ("-i", "127.0.0.1", "-p", str(port), "-b", OUTGOING, "-u", USER, "-P", PASSWORD)
    async with _running(port, "microsocks", *words):
        yield f"socks5://127.0.0.1:{port}"


@asynccontextmanager
async def _running(port: int, program: str, *words: str) -> AsyncIterator[None]:
    binary = shutil.which(program) or f"/usr/bin/{program}"
    process = await asyncio.create_subprocess_exec(
        binary, *words, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        await asked_until(lambda: _listens(port), bool)
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True
