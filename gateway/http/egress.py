"""Connections through a proxy: HTTP CONNECT (RFC 9110 section 9.3.6) or SOCKS5 (RFC 1928).

The proxy looks up the names of hosts. So the address policy sees only addresses, not names.
"""

from __future__ import annotations

import ipaddress
import socket
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

import aiohttp

_TYPES = {"http": "HTTP", "socks5": "SOCKS5", "socks5h": "SOCKS5"}
_PORTS = {"http": 3128, "socks5": 1080, "socks5h": 1080}


class BadProxy(ValueError):
    """The URL of a proxy cannot be used. The message does not repeat it: it may hold a password."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy, and the hosts that are reached without it."""

    scheme: str
    """`http` or `socks5`."""
    host: str
    port: int
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    direct: tuple[str, ...] = ()
    """Names, domains with a leading dot, addresses and networks; `*` stands for all hosts."""

    @classmethod
    def parse(
        cls,
        url: str,
        username: str | None = None,
        password: str | None = None,
        direct: Iterable[str] = (),
    ) -> Proxy:
        """Return the proxy at a URL, which may hold the credential. Raise BadProxy."""
        try:
            parts = urlsplit(url if "://" in url else f"http://{url}")
            port = parts.port
        except ValueError:
            raise BadProxy("is not a URL") from None
        if parts.scheme not in _TYPES:
            raise BadProxy("is neither http:// nor socks5://")
        if not parts.hostname:
            raise BadProxy("names no host")
        if username is None and parts.username is not None:
            username, password = unquote(parts.username), unquote(parts.password or "")
        return cls(
            parts.scheme.removesuffix("h"),
            parts.hostname,
            port or _PORTS[parts.scheme],
            username,
            password,
            tuple(one.strip().lower() for one in direct if one.strip()),
        )

    def serves(self, host: str) -> bool:
        """Tell whether this host is reached through the proxy."""
        host = host.lower().rstrip(".")
        return not any(_matches(host, one) for one in self.direct)

    async def open(self, host: str, port: int) -> socket.socket:
        """Return a socket that is connected to the host. Raise OSError."""
        from python_socks import ProxyType
        from python_socks.async_.asyncio import Proxy as Tunnel

        tunnel = Tunnel(
            ProxyType[_TYPES[self.scheme]],
            self.host,
            self.port,
            self.username,
            self.password,
            rdns=True,
        )
        with self.failing():
            return await tunnel.connect(host, port)

    @contextmanager
    def failing(self) -> Iterator[None]:
        """Raise OSError if the proxy refuses or does not answer."""
        import aiohttp_socks
        import python_socks

        try:
            yield
        except (python_socks.ProxyTimeoutError, aiohttp_socks.ProxyTimeoutError) as exc:
            raise OSError(f"proxy {self.host}:{self.port} does not answer") from exc
        except (python_socks.ProxyError, aiohttp_socks.ProxyError) as exc:
            raise OSError(f"proxy {self.host}:{self.port} refuses: {exc}") from exc

    def connector(self) -> aiohttp.BaseConnector:
        """Return a connector of aiohttp's client that uses the proxy. Use it in `failing`."""
        from aiohttp_socks import ProxyConnector, ProxyType

        return ProxyConnector(
            self.host,
            self.port,
            ProxyType[_TYPES[self.scheme]],
            self.username,
            self.password,
            rdns=True,
        )


def from_environment(scheme: str) -> Proxy | None:
    """Return the proxy that the environment names for URLs of a scheme, `http` or `https`: in
    HTTPS_PROXY, HTTP_PROXY or ALL_PROXY, with the exceptions in NO_PROXY. Raise BadProxy.
    """
    found = urllib.request.getproxies_environment()
    url = found.get(scheme) or found.get("all")
    return Proxy.parse(url, direct=found.get("no", "").split(",")) if url else None


def _matches(host: str, exception: str) -> bool:
    """Tell whether an exception covers a host."""
    if exception in ("*", host):
        return True
    if "/" in exception or exception[:1].isdigit():
        try:
            return ipaddress.ip_address(host) in ipaddress.ip_network(exception)
        except ValueError:
            return False
    return host.endswith(f".{exception.lstrip('.')}")
