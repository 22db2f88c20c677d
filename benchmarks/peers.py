"""Peers to compare: nginx, a plain aiohttp proxy, the bare gateway, and the gateway with its whole
chain.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
import yaml

from benchmarks.processes import program

SECRET = "a-secret-of-thirty-two-characters-or-more"

_NGINX = """\
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  keepalive_requests 1000000000;
  upstream backend {{
    server 127.0.0.1:{upstream}; keepalive 512; keepalive_requests 1000000000;
  }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_buffering off;
    }}
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class Peer:
    """Program to compare: its start command, and whether callers need a token."""

    name: str
    command: Callable[[Path, int, int], list[str]]
    """Function that returns the command for a private folder, the peer's port, and the backend's
    port.
    """
    token: bool = False


def bearer() -> str:
    """Return a token that the whole chain accepts."""
    claims = {"iss": "bench", "aud": "bench", "sub": "load", "exp": int(time.time()) + 3600}
    return jwt.encode(claims, SECRET, algorithm="HS256")


def _nginx(folder: Path, port: int, upstream: int) -> list[str]:
    file = folder / "nginx.conf"
    file.write_text(_NGINX.format(folder=folder, port=port, upstream=upstream))
    return [program("nginx", "/usr/sbin/nginx"), "-e", "stderr", "-c", str(file)]


def _plain(_: Path, port: int, upstream: int) -> list[str]:
    return [sys.executable, "-m", "benchmarks.plain_proxy", str(port), str(upstream)]


def _bare(folder: Path, port: int, upstream: int) -> list[str]:
    silent = {"log": {"access": False}, "metrics": None, "traces": None}
    return gateway(folder, port, upstream, telemetry=silent)


def _whole(folder: Path, port: int, upstream: int) -> list[str]:
    (folder / "secret").write_text(SECRET)
    provider = {"type": "jwt", "algorithm": "HS256", "issuer": "bench", "audience": "bench"}
    return gateway(
        folder,
        port,
        upstream,
        route={"auth": ["bench"], "limits": ["all"]},
        telemetry={"log": {"access": True, "format": "json"}},
        auth={"bench": {**provider, "secret": {"file": "secret"}}},
        limits={"all": {"key": "subject", "requests": "1000000000/minute"}},
    )


def gateway(
    folder: Path,
    port: int,
    upstream: int,
    *,
    server: Mapping[str, Any] | None = None,
    mock: Mapping[str, Any] | None = None,
    route: Mapping[str, Any] | None = None,
    **sections: Mapping[str, Any] | None,
) -> list[str]:
    """Write a configuration with one route and the given additions. Return the command that serves
    it.
    """
    file = folder / "config.yaml"
    endpoint = {"url": f"http://127.0.0.1:{upstream}"}
    config: dict[str, Any] = {
        "server": {"listen": f"127.0.0.1:{port}", **(server or {})},
        "upstreams": {"mock": {"endpoints": [endpoint], **(mock or {})}},
        "routes": [
            {"name": "all", "path": "/", "auth": "anonymous", "upstream": "mock", **(route or {})}
        ],
        **sections,
    }
    file.write_text(yaml.safe_dump(config))
    return [sys.executable, "-m", "gateway", "serve", "--config", str(file)]


PEERS = {
    peer.name: peer
    for peer in (
        Peer("nginx", _nginx),
        Peer("aiohttp", _plain),
        Peer("gateway", _bare),
        Peer("gateway-whole", _whole, token=True),
    )
}
"""Peers by name. `gateway` has one anonymous route; `gateway-whole` adds JWT, a limit, the
access log, metrics and traces.
"""
