"""Public listening sockets: one for each worker, owned by the master and inherited.

Each socket has SO_REUSEPORT, so that the kernel spreads connections over the workers by a hash. One
shared socket was measured to be worse: of a burst of 20 connections, one of two workers got 19. The
master also keeps the sockets open, so connections that wait in their queues survive the death of a
worker, and the replacement of the master.
"""

from __future__ import annotations

import errno
import os
import socket
import sys

from gateway.load.overload import BACKLOG
from gateway.server.cannot_start import CannotStart

_SPREADS = sys.platform == "linux"


def bind(address: str, count: int, setting: str = "server.listen") -> list[socket.socket]:
    """Return `count` listening sockets on one address; only one if the kernel does not spread
    connections over several.

    Port 0 lets the kernel choose a port. Raise CannotStart.
    """
    host, port = split_address(address)
    sockets: list[socket.socket] = []
    try:
        if _SPREADS and port:
            # SO_REUSEPORT would let in a second gateway of the same user, which would take some of
            # the connections. A socket without it fails if the address is in use.
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
    """Return why the address cannot be listened on, and what to do, in our own words."""
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
    """Return a listening socket. `shared`: other sockets of this gateway may have its address."""
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
    """Return family and address to bind to, and True if that is every address of both families."""
    if host is None:
        dual = socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if dual else socket.AF_INET
        return family, ("::" if dual else "", port), dual
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, place = found[0]
    return family, (str(place[0]), int(place[1])), False


def url_of(one: socket.socket) -> str:
    """Return the URL of a socket as seen from this machine, without a slash at the end."""
    host, port = one.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "127.0.0.1"}.get(host, host)  # noqa: S104
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def beside(one: socket.socket, count: int) -> list[socket.socket]:
    """Return more sockets on the address of one; none if the kernel does not spread connections."""
    if not _SPREADS:
        return []
    host, port = one.getsockname()[:2]
    return [_bound(host, port, shared=True) for _ in range(count)]


def split_address(address: str) -> tuple[str | None, int]:
    """Return host and port of `HOST:PORT`. An empty host means every interface and becomes None."""
    host, _, port = address.rpartition(":")
    return host.strip("[]") or None, int(port)


def listens_on(one: socket.socket, address: str) -> bool:
    """Tell whether a socket is bound to this address. Port 0 matches any port."""
    host, port = split_address(address)
    try:
        family, place, _ = _place(host, port)
    except OSError:
        return False
    name = one.getsockname()
    return one.family == family and name[0] == place[0] and port in (0, name[1])
