"""Connections through a proxy: HTTP CONNECT (RFC 9110 section 9.3.6) or SOCKS5 (RFC 1928).

The proxy looks up the names of hosts. So the address policy sees only addresses, not names.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from gateway.http.connect import open_tunnel

if TYPE_CHECKING:  # a configuration is checked without aiohttp, so that commands start soon
    import aiohttp

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
        if parts.scheme not in _PORTS:
            raise BadProxy("is neither http:// nor socks5://")
        if not parts.hostname:
            raise BadProxy("names no host")
        if username is None and parts.username is not None:
            username, password = unquote(parts.username), unquote(parts.password or "")
        if parts.scheme == "http" and ":" in (username or ""):
            raise BadProxy("has a colon in the user name, which HTTP does not allow")
        return cls(
            parts.scheme.removesuffix("h"),
            parts.hostname,
            port or _PORTS[parts.scheme],
            username,
            password,
            tuple(one.strip().lower() for one in direct if one.strip()),
        )

    def prepare(self) -> None:
        """Import what connections need: otherwise the first one holds the event loop for 14 ms."""
        import python_socks.async_.asyncio  # noqa: F401

        import gateway.http.tunnel_connector  # noqa: F401

    def serves(self, host: str) -> bool:
        """Tell whether this host is reached through the proxy."""
        host = host.lower().rstrip(".")
        return not any(_matches(host, one) for one in self.direct)

    async def open(self, host: str, port: int) -> socket.socket:
        """Return a socket that is connected to the host. Raise OSError."""
        if self.scheme == "http":
            return await open_tunnel((self.host, self.port), host, port, self._credential)
        from python_socks import ProxyType
        from python_socks.async_.asyncio import Proxy as Tunnel

        tunnel = Tunnel(
            ProxyType.SOCKS5, self.host, self.port, self.username, self.password, rdns=True
        )
        with self._failing():
            return await tunnel.connect(host, port)

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """Raise OSError if the proxy refuses or does not answer."""
        import python_socks

        try:
            yield
        except python_socks.ProxyTimeoutError as exc:
            raise OSError(f"proxy {self.host}:{self.port} does not answer") from exc
        except python_socks.ProxyError as exc:
            raise OSError(f"proxy {self.host}:{self.port} refuses: {exc}") from exc
        except ValueError:  # RFC 1929 section 2; the error may hold the password
            raise OSError("SOCKS5 takes 1 to 255 ASCII characters as credential") from None

    def connector(
        self, *, limit: int = 100, context: ssl.SSLContext | None = None
    ) -> aiohttp.BaseConnector:
        """Return a connector of aiohttp's client that uses the proxy for up to `limit` connections
        at once. `context` is for TLS with the hosts.
        """
        from gateway.http.tunnel_connector import TunnelConnector

        return TunnelConnector(self.open, limit, context)

    @property
    def _credential(self) -> tuple[str, str] | None:
        return None if self.username is None else (self.username, self.password or "")


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
    try:
        address, network = ipaddress.ip_address(host), ipaddress.ip_network(exception.strip("[]"))
    except ValueError:
        return host.endswith(f".{exception.lstrip('*.')}")
    return address in network
