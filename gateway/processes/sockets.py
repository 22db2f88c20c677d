"""The public listening sockets: one for each worker, owned by the master and inherited.

Each has SO_REUSEPORT, so the kernel spreads connections by their hash: measured beside one shared
socket, which gave a burst of 20 connections to two workers as 19 and 1. As the master holds them
open too, what waits in their queues outlives a worker that dies, and a master that is replaced.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.server.serving import CannotStart

BACKLOG = 4096
INHERITED = "GATEWAY_SOCKETS"
"""Environment variable with the descriptors that an old master passes on."""
_SPREADS = sys.platform == "linux"


def bind(address: str, count: int, setting: str = "server.listen") -> list[socket.socket]:
    """So many sockets on one address; one, where the kernel would not spread connections.

    Port 0 asks the kernel for one. Raise CannotStart.
    """
    host, port = split_address(address)
    sockets: list[socket.socket] = []
    try:
        if _SPREADS and port:
            # Another gateway of the same user would be let in beside us, and take its share.
            _bound(host, port, shared=False).close()
        for _ in range(count if _SPREADS else 1):
            sockets.append(_bound(host, port, shared=_SPREADS))
            port = sockets[0].getsockname()[1]
    except OSError as exc:
        for each in sockets:
            each.close()
        raise CannotStart(cannot_listen(address, exc, setting)) from exc
    return sockets


def cannot_listen(address: str, exc: OSError, setting: str) -> str:
    """Why nobody can listen there, and what to do: in words of ours, for asyncio has its own."""
    unknown = isinstance(exc, socket.gaierror)
    why = exc.strerror if unknown or exc.errno is None else os.strerror(exc.errno)
    if exc.errno == errno.EADDRINUSE:
        hint = f"Is another process there? Change {setting}."
    elif exc.errno in (errno.EACCES, errno.EPERM):
        hint = f"Ports below 1024 are for privileged users. Change {setting}."
    else:
        hint = f"It has to be an address of this machine. Change {setting}."
    return f"cannot listen on {address}: {why}. {hint}"


def _bound(host: str | None, port: int, *, shared: bool) -> socket.socket:
    """`shared`: other sockets of ours may have the same address."""
    family, place, dual = _place(host, port)
    one = socket.socket(family, socket.SOCK_STREAM)
    try:
        if dual:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        one.bind(place)
        one.listen(BACKLOG)
        one.setblocking(False)
    except BaseException:
        one.close()
        raise
    return one


def _place(host: str | None, port: int) -> tuple[socket.AddressFamily, tuple[str, int], bool]:
    """Family and address to bind to, and whether it is every address of both families."""
    if host is None:
        dual = socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if dual else socket.AF_INET
        return family, ("::" if dual else "", port), dual
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, place = found[0]
    return family, (str(place[0]), int(place[1])), False


def url_of(one: socket.socket) -> str:
    """How to reach it from this machine, no slash at the end."""
    host, port = one.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "127.0.0.1"}.get(host, host)  # noqa: S104
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def beside(one: socket.socket, count: int) -> list[socket.socket]:
    """More sockets on the address of one; none where the kernel would not spread connections."""
    if not _SPREADS:
        return []
    host, port = one.getsockname()[:2]
    return [_bound(host, port, shared=True) for _ in range(count)]


def split_address(address: str) -> tuple[str | None, int]:
    """Host and port of `HOST:PORT`; an empty host is every interface."""
    host, _, port = address.rpartition(":")
    return host.strip("[]") or None, int(port)


def listens_on(one: socket.socket, address: str) -> bool:
    """Whether it is bound to this address; port 0 is any."""
    host, port = split_address(address)
    try:
        family, place, _ = _place(host, port)
    except OSError:
        return False
    name = one.getsockname()
    return one.family == family and name[0] == place[0] and port in (0, name[1])


@dataclass(frozen=True, slots=True)
class Inherited:
    """The sockets of the master before this one."""

    public: list[socket.socket]
    admin: socket.socket | None
    demo: socket.socket | None


def pass_on(
    public: Sequence[socket.socket], admin: socket.socket | None, demo: socket.socket | None
) -> str:
    """What a new master finds in `INHERITED`; the descriptors have to be passed to it."""
    groups = (public, [admin] if admin else [], [demo] if demo else [])
    return ";".join(",".join(str(one.fileno()) for one in group) for group in groups)


def inherited() -> Inherited | None:
    """What the master before this one passed on, if there was one."""
    text = os.environ.pop(INHERITED, None)
    if not text:
        return None
    public, admin, demo = (
        [socket.socket(fileno=int(number)) for number in group.split(",") if number]
        for group in f"{text};;".split(";")[:3]  # an older version passes fewer
    )
    return Inherited(public, admin[0] if admin else None, demo[0] if demo else None)
