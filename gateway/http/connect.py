"""Tunnel through an HTTP proxy: CONNECT (RFC 9110 section 9.3.6)."""

from __future__ import annotations

import asyncio
import re
import socket
from base64 import b64encode

_LONGEST_HEAD_BYTES = 16 * 1024
_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})(?: [^\r\n]*)?\r?\n")
_ENDS = b"\r\n\r\n", b"\n\n"


async def open_tunnel(
    proxy: tuple[str, int], host: str, port: int, credential: tuple[str, str] | None
) -> socket.socket:
    """Return a socket that an HTTP proxy has connected to `host`. `credential` is the user name
    and the password for the proxy. Raise OSError.
    """
    loop = asyncio.get_running_loop()
    where = f"proxy {proxy[0]}:{proxy[1]}"
    try:
        sock = await _connected(loop, *proxy)
    except OSError as exc:
        raise OSError(f"{where} cannot be reached: {exc}") from exc
    try:
        await loop.sock_sendall(sock, _request(host, port, credential))
        status = await _status(loop, sock)
        if not 200 <= status < 300:
            raise OSError(
                f"{where} refuses: status {status}" if status else f"{where} speaks no HTTP"
            )
    except BaseException:
        sock.close()
        raise
    return sock


async def _connected(loop: asyncio.AbstractEventLoop, host: str, port: int) -> socket.socket:
    """Return a socket that is connected to the first address that accepts. Raise OSError."""
    failure = OSError("its name has no address")
    for family, kind, protocol, _, address in await loop.getaddrinfo(
        host, port, type=socket.SOCK_STREAM
    ):
        sock = socket.socket(family, kind, protocol)
        sock.setblocking(False)
        try:
            await loop.sock_connect(sock, address)
        except OSError as exc:
            sock.close()
            failure = exc
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise failure


def _request(host: str, port: int, credential: tuple[str, str] | None) -> bytes:
    authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {authority} HTTP/1.1", f"Host: {authority}"]
    if credential is not None:
        told = b64encode(":".join(credential).encode()).decode()  # RFC 7617 section 2.1: UTF-8
        lines.append(f"Proxy-Authorization: Basic {told}")
    return "\r\n".join([*lines, "", ""]).encode("ascii")


async def _status(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> int:
    """Read the head of the proxy's answer, and no byte after it: that is the host's. Return the
    status, 0 if this is no HTTP. Raise OSError if the connection ends.
    """
    head = b""
    while not head.endswith(_ENDS):
        # As much as is missing at least, so that nothing after the head is read.
        more = await loop.sock_recv(sock, 1 if head.endswith((b"\n", b"\r")) else 2)
        if not more:
            raise OSError("the proxy has closed the connection")
        head += more
        if len(head) > _LONGEST_HEAD_BYTES or not b"HTTP/".startswith(head[:5]):
            return 0
    found = _STATUS.match(head)
    return int(found[1]) if found is not None else 0
