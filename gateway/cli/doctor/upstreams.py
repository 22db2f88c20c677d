"""Checks of upstreams: DNS, connection, certificate, dialect and models of every endpoint."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from gateway.cli.doctor.finding import Finding, failed, ok, skipped, warning
from gateway.cli.failures import why_unreachable
from gateway.cli.probe import FoundBackend, ProbeError, probe
from gateway.config import Config, models
from gateway.upstream.tls import client_context

_TIMEOUT_S = 5.0
_EXPIRES_SOON_DAYS = 14
_SHOWN = 10
"""Number of listed models that a finding names."""


async def upstreams(config: Config) -> AsyncIterator[Finding]:
    """Check every endpoint of every upstream, and that it lists the configured models."""
    for name, options in config.upstreams.items():
        if options.discover is not None:
            yield skipped(
                f"upstreams.{name}", "its endpoints are discovered: see the dashboard's Upstreams"
            )
        for endpoint in options.endpoints:
            subject = f"upstreams.{name} {endpoint.url}"
            async for finding in _endpoint(config, name, options, endpoint.url, subject):
                yield finding


async def _endpoint(
    config: Config, name: str, options: models.UpstreamSettings, url: str, subject: str
) -> AsyncIterator[Finding]:
    parts = urlsplit(url)
    context: ssl.SSLContext | None = None
    if parts.scheme == "https":
        ca = None if options.tls.ca is None else str(Path(options.tls.ca))
        context = client_context(ca, verify=options.tls.verify)
    is_demo = config.demo is not None and parts.netloc == config.demo.listen
    reached = await _reached(parts, context, options.tls.server_name, subject)
    failing = any(one.remedy for one in reached if one.verdict == "failed")
    if failing and is_demo:
        yield skipped(subject, "the built-in demo backend starts with `gateway serve`")
        return
    for finding in reached:
        yield finding
    if failing:
        return
    wanted = {
        model.model or public for public, model in config.models.items() if model.upstream == name
    }
    if is_demo:
        wanted = set()  # the demo backend serves models that it does not list
    try:
        found = await probe(
            url, headers=_headers(options), context=context, dialect=options.dialect
        )
    except ProbeError as exc:
        yield warning(
            subject,
            str(exc),
            "not every backend lists its models; if this one does, check the URL's base path and "
            "`credentials`",
        )
        return
    for finding in _described(found, options, wanted, url, subject):
        yield finding


def _headers(options: models.UpstreamSettings) -> dict[str, str]:
    """Return the headers that the gateway itself would send."""
    headers = dict(options.headers)
    shown = options.credentials
    if shown is not None and shown.bearer is not None:
        headers["Authorization"] = f"Bearer {shown.bearer.reveal().decode()}"
    elif shown is not None and shown.header is not None and shown.value is not None:
        headers[shown.header] = shown.value.reveal().decode()
    return headers


async def _reached(
    parts: SplitResult, context: ssl.SSLContext | None, server_name: str | None, subject: str
) -> list[Finding]:
    """Check DNS, TCP and TLS, one after the other. Stop at the first failure."""
    host = parts.hostname or ""
    port = parts.port or (443 if context is not None else 80)
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            addresses = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError) as exc:
        text = f"the name {host} is not found: {exc}" if str(exc) else f"no DNS answer for {host}"
        return [failed(subject, text, "correct the URL, or the machine's resolver")]
    begun = time.perf_counter()
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            _, writer = await asyncio.open_connection(
                host,
                port,
                ssl=context,
                server_hostname=(server_name or host) if context is not None else None,
            )
    except ssl.SSLError as exc:
        return [
            failed(
                subject,
                f"its TLS certificate is not accepted: {exc.reason or exc}",
                "`tls.ca` names a private authority, `tls.server_name` another name",
            )
        ]
    except (OSError, TimeoutError) as exc:
        why = why_unreachable(exc) if str(exc) else f"no answer within {_TIMEOUT_S:.0f} s"
        remedy = "start the backend, or correct the URL; mind firewalls and network policies"
        return [failed(subject, f"cannot be reached: {why}", remedy)]
    took_ms = (time.perf_counter() - begun) * 1e3
    findings = [ok(subject, f"connects in {took_ms:.1f} ms, {len(addresses)} address(es)")]
    certificate = writer.get_extra_info("peercert")
    if certificate:
        findings.append(_certificate(certificate["notAfter"], subject))
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return findings


def _certificate(not_after: str, subject: str) -> Finding:
    days = (ssl.cert_time_to_seconds(not_after) - time.time()) / 86400
    text = f"its certificate expires in {days:.0f} days"
    if days < _EXPIRES_SOON_DAYS:
        return warning(subject, text, "renew it: the gateway refuses it from then on")
    return ok(subject, text)


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
    elif url.rstrip("/").endswith("/v1") and found.versioned:
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
