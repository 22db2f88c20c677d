"""Checks of upstreams: DNS, connection, certificate, dialect, models and streams of endpoints."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from gateway.cli.doctor.connecting import reached, reached_through
from gateway.cli.doctor.finding import (
    CheckResult,
    Finding,
    Remedies,
    failed,
    ok,
    skipped,
    warning,
    worst,
)
from gateway.cli.doctor.streaming import asked, streamed
from gateway.cli.probe import FoundBackend, ProbeError, probe
from gateway.config import Config, models
from gateway.dialects import DIALECTS
from gateway.upstream.tls import client_context
from gateway.wiring.egress import proxy_of

_SHOWN = 10
"""Number of listed models that a finding names."""
_REMEDIES = Remedies(
    refused="is it a chat model, and does the backend take its name? See the backend's log",
    unreachable="start the backend, or correct the URL; mind firewalls and network policies",
    untrusted="`tls.ca` names a private authority, `tls.server_name` another name",
    buffered="the backend, or a proxy in front of it, collects the stream: turn buffering and "
    "compression off there",
)


async def upstreams(config: Config, *, generate: bool = False) -> AsyncIterator[Finding]:
    """Check every endpoint of every upstream, and that it lists the configured models. `generate`
    also streams a short generation from each.
    """
    for name, options in config.upstreams.items():
        if options.discover is not None:
            yield skipped(
                f"upstreams.{name}", "its endpoints are discovered: see the dashboard's Upstreams"
            )
        for endpoint in options.endpoints:
            async for finding in endpoint_findings(config, name, endpoint, generate=generate):
                yield finding


async def endpoint_findings(
    config: Config, name: str, endpoint: models.EndpointSettings, *, generate: bool = False
) -> AsyncIterator[Finding]:
    """Check one endpoint of the upstream with this name."""
    options = config.upstreams[name]
    url, subject = endpoint.url, f"upstreams.{name} {endpoint.name or endpoint.url}"
    parts = urlsplit(url)
    context: ssl.SSLContext | None = None
    if parts.scheme == "https":
        ca = None if options.tls.ca is None else str(Path(options.tls.ca))
        own = None if options.tls.cert is None else (options.tls.cert, options.tls.key or "")
        context = client_context(ca, verify=options.tls.verify, own=own)
    is_demo = config.demo is not None and parts.netloc == config.demo.listen
    proxy = proxy_of(options.proxy, parts.scheme)
    if proxy is not None and not proxy.serves(parts.hostname or ""):
        proxy = None
    if proxy is None:
        connected = await reached(
            url, context, subject, _REMEDIES, server_name=options.tls.server_name
        )
    else:
        connected = [await reached_through(proxy, url, subject)]
    is_down = worst(connected) is CheckResult.FAILED
    if is_down and is_demo:
        yield skipped(subject, "the built-in demo backend starts with `gateway serve`")
        return
    for finding in connected:
        yield finding
    if is_down:
        return
    names = [
        one.model or public
        for public, model in config.models.items()
        for one in model.served_by
        if one.upstream == name
    ]
    # The demo backend serves models that it does not list.
    wanted = set() if is_demo else set(names)
    try:
        found = await probe(
            url,
            headers=_headers(options, endpoint),
            context=context,
            dialect=options.dialect,
            connector=None if proxy is None else proxy.connector(),
        )
    except (ProbeError, OSError) as exc:
        yield warning(
            subject,
            str(exc),
            "not every backend lists its models; if this one does, check the URL's base path and "
            "`credentials`",
        )
    else:
        for finding in _described(found, options, wanted, url, subject):
            yield finding
    if generate and names:
        path, body = asked(options.dialect, names[0])
        paths = DIALECTS[options.dialect].paths
        if paths.holds_base.search(url.rstrip("/")):
            path = path.removeprefix(paths.base)
        address = url.rstrip("/") + path
        yield await streamed(
            f"{subject} {names[0]}",
            address,
            body,
            options.dialect,
            _REMEDIES,
            headers=_headers(options, endpoint),
            context=context,
            connector=None if proxy is None else proxy.connector(),
        )


def _headers(options: models.UpstreamSettings, endpoint: models.EndpointSettings) -> dict[str, str]:
    """Return the headers that the gateway itself would send."""
    shown = endpoint.credentials or options.credentials
    return dict([*options.headers.items(), *([] if shown is None else [shown.field])])


def _described(
    found: FoundBackend, options: models.UpstreamSettings, wanted: set[str], url: str, subject: str
) -> Iterator[Finding]:
    # vLLM and others serve Anthropic's messages, and list their models as OpenAI does.
    if "ollama" in (found.dialect, options.dialect) and found.dialect != options.dialect:
        yield failed(
            subject,
            f"speaks {found.dialect}, `dialect` says {options.dialect}",
            f"write `dialect: {found.dialect}`",
        )
    elif found.versioned and found.endpoint != url.rstrip("/"):
        yield failed(
            subject,
            "the URL ends in /v1, which stands in the request's own path too: /v1/v1/...",
            "take /v1 off the URL",
        )
    else:
        yield ok(subject, f"{found.product}, {len(found.models)} model(s)")
    listed = {model.name for model in found.models}
    # Ollama lists the model `qwen3` as `qwen3:latest`.
    listed |= {name.removesuffix(":latest") for name in listed}
    if missing := sorted(wanted - listed):
        yield warning(
            subject,
            f"does not list {', '.join(missing)}",
            f"load the model there, or correct `models`; listed: "
            f"{', '.join(sorted(listed)[:_SHOWN]) or 'none'}",
        )
