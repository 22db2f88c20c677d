"""Check of a connection: DNS, TCP, and the certificate with its chain and its expiry."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import time
from urllib.parse import urlsplit

from gateway.cli.doctor.finding import Finding, Remedies, failed, ok, warning
from gateway.cli.failures import why_unreachable
from gateway.http.egress import Proxy

_TIMEOUT_S = 5.0
_EXPIRES_SOON_DAYS = 14


async def reached(
    url: str,
    context: ssl.SSLContext | None,
    subject: str,
    remedies: Remedies,
    *,
    server_name: str | None = None,
) -> list[Finding]:
    """Check DNS, TCP and TLS of a URL's host, one after the other. Stop at the first failure.

    `context` is None for plain HTTP.
    """
    parts = urlsplit(url)
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
                remedies.untrusted,
            )
        ]
    except (OSError, TimeoutError) as exc:
        why = why_unreachable(exc) if str(exc) else f"no answer within {_TIMEOUT_S:.0f} s"
        return [failed(subject, f"cannot be reached: {why}", remedies.unreachable)]
    took_ms = (time.perf_counter() - begun) * 1e3
    findings = [ok(subject, f"connects in {took_ms:.1f} ms, {len(addresses)} address(es)")]
    certificate = writer.get_extra_info("peercert")
    if certificate:
        findings.append(expiry(ssl.cert_time_to_seconds(certificate["notAfter"]), subject))
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return findings


def expiry(not_after: float, subject: str) -> Finding:
    """Return the finding for the end of a certificate's validity, a Unix time."""
    days = (not_after - time.time()) / 86400
    if days < 0:
        return failed(subject, f"its certificate expired {-days:.0f} days ago", "renew it")
    text = f"its certificate expires in {days:.0f} days"
    if days < _EXPIRES_SOON_DAYS:
        return warning(subject, text, "renew it: it is refused from then on")
    return ok(subject, text)


async def reached_through(proxy: Proxy, url: str, subject: str) -> Finding:
    """Check that a proxy opens a tunnel to a URL's host."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    place = f"{proxy.host}:{proxy.port}"
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            tunnel = await proxy.open(parts.hostname or "", port)
    except (OSError, TimeoutError) as exc:
        text = str(exc) or f"proxy {place} does not answer"
        return failed(subject, text, "check `proxy`: its address, its credential, what it allows")
    tunnel.close()
    return ok(subject, f"reached through the proxy {place}")
