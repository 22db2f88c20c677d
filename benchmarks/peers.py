"""Peers to compare: what forwards only, and what applies the same policies to every request.

Every peer serves with one process or thread, keeps connections to the backend open, and passes
streams on as they arrive.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

import yaml

from benchmarks.processes import ROOT, free_ports, program
from benchmarks.tokens import AUDIENCE, ISSUER, jwks, public_pem

INSTALLED = ROOT / ".venv/peers/bin"
"""Where `make peers` installs what PyPI has."""
JWT = {
    "type": "jwt",
    "algorithm": "RS256",
    "issuer": ISSUER,
    "audience": AUDIENCE,
    "public_key": {"file": "public.pem"},
}
"""Auth provider of a gateway whose folder has the public key."""
_ROOM = 20_000
"""Connections that every peer has room for."""
PLENTY = 1_000_000_000
"""Limit that no load reaches: what counts is the counting."""

_NGINX = """\
daemon off; worker_processes {workers}; pid {folder}/nginx.pid; error_log stderr warn;
events {{ worker_connections 50000; }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  keepalive_requests 1000000000; client_max_body_size 16m; client_body_buffer_size 2m;
  upstream backend {{
    server 127.0.0.1:{upstream}; keepalive 512; keepalive_requests 1000000000;
  }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_buffering off;
    }}
  }}
}}
"""
# `http-no-delay`: without it, HAProxy holds small pieces of a stream back for a while.
_HAPROXY = """\
global
  nbthread 1
  maxconn 9800
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  option http-keep-alive
  option http-no-delay
  http-reuse always
frontend callers
  bind 127.0.0.1:{port} backlog 4096
  default_backend mock
backend mock
  server mock 127.0.0.1:{upstream} pool-max-conn 1000
"""


class Family(StrEnum):
    """Peers that do the same, so that they are compared with each other. The text is the title."""

    BARE = "Forwarding only"
    WHOLE = "The same policies"
    TRANSLATING = "Translation"


@dataclass(frozen=True, slots=True)
class Place:
    """Private folder of a peer, and the ports that it uses and that it serves."""

    folder: Path
    backend: int
    port: int
    admin: int
    redis: int

    @classmethod
    def pick(cls, folder: Path, backend: int) -> Self:
        """Return a place with free ports, in a folder that this creates."""
        folder.mkdir(exist_ok=True)
        folder.chmod(0o711)  # nginx's workers run as another user
        return cls(folder, backend, *free_ports(3))


@dataclass(frozen=True, slots=True)
class Peer:
    """Program to compare: its start command, and whether callers need a token."""

    name: str
    command: Callable[[Place], list[str]]
    """Function that writes a configuration and returns the command. Raises CannotRun if the program
    is not installed.
    """
    family: Family = Family.BARE
    loads: frozenset[str] | None = None
    """Workloads that it takes part in; None for all that do not need translation."""
    rewrites: bool = False
    """Whether it writes answers anew or adds to them, so that they differ in bytes."""
    redis: bool = False
    """Whether it needs a Redis."""
    root: Path | None = None
    """Checkout of the gateway that it runs; None if it is no gateway."""
    workers: int = 1

    @property
    def token(self) -> bool:
        """Whether it applies the policies, and so requires a token."""
        return self.family is Family.WHOLE


def of_checkout(peer: Peer, name: str, root: Path) -> Peer:
    """Return the same configuration, served by the gateway of another checkout."""
    return replace(peer, name=name, root=root)


def changed(peer: Peer, name: str, change: Callable[[dict[str, Any]], None]) -> Peer:
    """Return a gateway under another name, whose configuration is changed."""

    def command(place: Place) -> list[str]:
        started = peer.command(place)
        file = place.folder / "config.yaml"
        config = yaml.safe_load(file.read_text())
        change(config)
        file.write_text(yaml.safe_dump(config))
        return started

    return replace(peer, name=name, command=command)


def nginx(place: Place, workers: int = 1) -> list[str]:
    """Write nginx's configuration. Return the command that serves it. Raise CannotRun."""
    file = place.folder / "nginx.conf"
    text = _NGINX.format(
        folder=place.folder, port=place.port, upstream=place.backend, workers=workers
    )
    file.write_text(text)
    return [program("nginx", "/usr/sbin/nginx"), "-e", "stderr", "-c", str(file)]


def _haproxy(place: Place) -> list[str]:
    file = place.folder / "haproxy.cfg"
    file.write_text(_HAPROXY.format(port=place.port, upstream=place.backend))
    return [program("haproxy", "/usr/sbin/haproxy"), "-db", "-f", str(file)]


def _plain(place: Place) -> list[str]:
    return [sys.executable, "-m", "benchmarks.plain_proxy", str(place.port), str(place.backend)]


def _router(name: str, *subcommand: str) -> Callable[[Place], list[str]]:
    """Return the command of a router: one worker, no choice to make, no log of requests."""

    def command(place: Place) -> list[str]:
        where = ["--worker-urls", f"http://127.0.0.1:{place.backend}", "--host", "127.0.0.1"]
        where += ["--port", str(place.port), "--prometheus-port", str(place.admin)]
        how = ["--policy", "round_robin", "--log-level", "error"]
        return [program(str(INSTALLED / name)), *subcommand, *where, *how]

    return command


def _litellm(provider: str) -> Callable[[Place], list[str]]:
    """Return the command of LiteLLM's proxy, one worker without a database."""

    def command(place: Place) -> list[str]:
        url = f"http://127.0.0.1:{place.backend}/v1"
        parameters = {"model": f"{provider}/*", "api_key": "none", "api_base": url}
        config = {
            "model_list": [{"model_name": "*", "litellm_params": parameters}],
            "litellm_settings": {"num_retries": 0},
            # It refuses to serve anybody who asks otherwise.
            "general_settings": {"dangerously_permit_weak_or_unset_master_key": True},
        }
        file = place.folder / "litellm.yaml"
        file.write_text(json.dumps(config))
        # It has an environment of its own: its dependencies do not go with those of the others. At
        # each start, it looks for its price list on the internet.
        offline = ["env", "LITELLM_LOCAL_MODEL_COST_MAP=True"]
        binary = program(str(INSTALLED.parent / "litellm/bin/litellm"))
        where = ["--host", "127.0.0.1", "--port", str(place.port)]
        return [*offline, binary, "--config", str(file), *where]

    return command


def envoy(place: Place, workers: int = 1) -> list[str]:
    """Write the configuration of Envoy that forwards only. Return the command that serves it. Raise
    CannotRun.
    """
    return _run_envoy(place, [], {}, workers)


def _envoy_whole(place: Place) -> list[str]:
    """Return Envoy with the gateway's policies: RS256 JWT with a cache of verified tokens, a token
    bucket, a request id, and a JSON access log. Its counters are always on. It traces nothing,
    since it has nowhere to keep traces but a collector.
    """
    provider = {
        "issuer": ISSUER,
        "audiences": [AUDIENCE],
        "local_jwks": {"inline_string": jwks()},
        "jwt_cache_config": {"jwt_cache_size": 1000},
    }
    always = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
    bucket = {"max_tokens": PLENTY, "tokens_per_fill": PLENTY, "fill_interval": "1s"}
    filters = [
        _envoy_part(
            "filters.http.jwt_authn.v3.JwtAuthentication",
            providers={"bench": provider},
            rules=[{"match": {"prefix": "/"}, "requires": {"provider_name": "bench"}}],
        ),
        _envoy_part(
            "filters.http.local_ratelimit.v3.LocalRateLimit",
            stat_prefix="bucket",
            token_bucket=bucket,
            filter_enabled={"runtime_key": "enabled", **always},
            filter_enforced={"runtime_key": "enforced", **always},
        ),
    ]
    log = _envoy_part(
        "access_loggers.file.v3.FileAccessLog",
        path=str(place.folder / "requests.log"),
        log_format={"json_format": _ENVOY_LOG},
    )
    return _run_envoy(place, filters, {"generate_request_id": True, "access_log": [log]})


# As many fields as the gateway's access log has for the same request.
_ENVOY_LOG = {
    "time": "%START_TIME%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "status": "%RESPONSE_CODE%",
    "flags": "%RESPONSE_FLAGS%",
    "bytes_in": "%BYTES_RECEIVED%",
    "bytes_out": "%BYTES_SENT%",
    "duration": "%DURATION%",
    "upstream": "%UPSTREAM_HOST%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "user_agent": "%REQ(USER-AGENT)%",
    "cluster": "%UPSTREAM_CLUSTER%",
    "first_byte": "%RESPONSE_DURATION%",
    "route": "%ROUTE_NAME%",
    "client": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
}


def _envoy_part(kind: str, **fields: Any) -> dict[str, Any]:
    """Return an extension with its configuration, as Envoy's API v3 has it."""
    url = f"type.googleapis.com/envoy.extensions.{kind}"
    return {"name": kind, "typed_config": {"@type": url, **fields}}


def _run_envoy(
    place: Place,
    filters: list[dict[str, Any]],
    connections: Mapping[str, Any],
    workers: int = 1,
) -> list[str]:
    def at(number: int) -> dict[str, Any]:
        return {"address": {"socket_address": {"address": "127.0.0.1", "port_value": number}}}

    route = {"match": {"prefix": "/"}, "route": {"cluster": "mock", "timeout": "0s"}}
    manager = _envoy_part(
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="callers",
        route_config={"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        http_filters=[*filters, _envoy_part("filters.http.router.v3.Router")],
        **connections,
    )
    caps = {"max_connections": _ROOM, "max_requests": _ROOM, "max_pending_requests": _ROOM}
    cluster = {
        "name": "mock",
        "type": "STATIC",
        "connect_timeout": "5s",
        "circuit_breakers": {"thresholds": [caps]},
        "load_assignment": {
            "cluster_name": "mock",
            "endpoints": [{"lb_endpoints": [{"endpoint": at(place.backend)}]}],
        },
    }
    listener = {"name": "callers", **at(place.port), "filter_chains": [{"filters": [manager]}]}
    file = place.folder / "envoy.json"
    file.write_text(
        json.dumps({"static_resources": {"listeners": [listener], "clusters": [cluster]}})
    )
    binary = program(str(INSTALLED / "envoy"))
    threads = ["--concurrency", str(workers)]
    return [binary, "-c", str(file), *threads, "-l", "error", "--use-dynamic-base-id"]


def _bare(place: Place) -> list[str]:
    silent = {"log": {"access": False}, "metrics": None, "traces": None}
    return _gateway(place, telemetry=silent)


def _whole(place: Place) -> list[str]:
    return _policies(place, {"requests": {"requests": f"{PLENTY}/minute"}})


def _limited(place: Place) -> list[str]:
    return _policies(place, _THREE_LIMITS)


def _redis(place: Place) -> list[str]:
    store = {"url": f"redis://127.0.0.1:{place.redis}/0"}
    return _policies(place, {"requests": {"requests": f"{PLENTY}/minute"}}, store=store)


def _resume(place: Place) -> list[str]:
    limits = {"requests": {"requests": f"{PLENTY}/minute"}}
    return _policies(place, limits, route={"resume": {"ttl": "2s"}})


_THREE_LIMITS: dict[str, dict[str, Any]] = {
    "requests": {"requests": f"{PLENTY}/minute"},
    "tokens": {"tokens": f"{PLENTY}/minute"},
    "open": {"concurrency": 100_000},
}


def _policies(
    place: Place,
    limits: Mapping[str, dict[str, Any]],
    *,
    route: Mapping[str, Any] | None = None,
    **sections: Mapping[str, Any],
) -> list[str]:
    (place.folder / "public.pem").write_bytes(public_pem())
    return _gateway(
        place,
        route={"auth": ["bench"], "limits": list(limits), **(route or {})},
        auth={"bench": JWT},
        limits={name: {"key": "subject", **limit} for name, limit in limits.items()},
        telemetry={"log": {"access": True, "format": "json"}, "traces": {"sample": 0.1}},
        **sections,
    )


def _gateway(
    place: Place, *, mock: Mapping[str, Any] | None = None, **sections: Mapping[str, Any]
) -> list[str]:
    return gateway(
        place.folder,
        place.port,
        place.backend,
        admin={"listen": f"127.0.0.1:{place.admin}"},
        server={"max_connections": _ROOM, "max_requests": _ROOM},
        mock={"max_connections": _ROOM, "max_requests": _ROOM, **(mock or {})},
        **sections,
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


def _translating(place: Place) -> list[str]:
    models = ["mock-20-0", "mock-100-0", "mock-10-50000"]
    silent = {"log": {"access": False}, "metrics": None, "traces": None}
    return _gateway(
        place,
        telemetry=silent,
        route={"dialect": "anthropic", "upstream": None, "models": models},
        mock={"dialect": "openai"},
        models={name: {"upstream": "mock"} for name in models},
    )


_SMALL = frozenset({"unary64", "unary1", "flood"})
"""Workloads of a peer that takes ten milliseconds for a request."""
_TRANSLATED = frozenset({"translated64", "translated1", "translated-flood"})

PEERS = {
    peer.name: peer
    for peer in (
        Peer("nginx", nginx),
        Peer("haproxy", _haproxy),
        Peer("envoy", envoy),
        Peer("vllm-router", _router("vllm-router")),
        Peer("sglang-router", _router("sglang-router", "launch")),
        Peer("litellm", _litellm("openai"), rewrites=True, loads=_SMALL),
        Peer("aiohttp", _plain),
        Peer("gateway", _bare, root=ROOT),
        Peer("envoy-whole", _envoy_whole, Family.WHOLE),
        Peer("gateway-whole", _whole, Family.WHOLE, root=ROOT),
        Peer("gateway-limits", _limited, Family.WHOLE, root=ROOT),
        Peer("gateway-redis", _redis, Family.WHOLE, redis=True, root=ROOT),
        Peer("gateway-resume", _resume, Family.WHOLE, rewrites=True, root=ROOT),
        # Of its providers with OpenAI's chats, the one whose Anthropic callers get no Responses.
        Peer(
            "litellm-translating",
            _litellm("hosted_vllm"),
            Family.TRANSLATING,
            _TRANSLATED,
            rewrites=True,
        ),
        Peer(
            "gateway-translating",
            _translating,
            Family.TRANSLATING,
            _TRANSLATED,
            rewrites=True,
            root=ROOT,
        ),
    )
}
"""Peers by name. `gateway` has one anonymous route; `gateway-whole` adds a JWT, a limit, the
access log, metrics and traces; the next three are the same with three limits, with limits in Redis,
and with streams kept for resuming. The last two have Anthropic's callers and OpenAI's backend.
"""
