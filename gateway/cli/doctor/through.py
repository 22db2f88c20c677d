"""Check of the public URL: its name, its certificate, and whether something buffers in front."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator

from gateway.cli.doctor.connecting import reached
from gateway.cli.doctor.finding import CheckResult, Finding, Remedies
from gateway.cli.doctor.streaming import asked, streamed

_REMEDIES = Remedies(
    refused="give --model and --token that this address accepts",
    unreachable="start the gateway, or correct the URL",
    untrusted="set SSL_CERT_FILE to the certificate of its authority",
    buffered="something in front collects the stream: turn buffering and compression off there "
    "(nginx: `proxy_buffering off` or keep X-Accel-Buffering; see docs/nginx.md)",
)


async def through(url: str, token: str | None, model: str) -> AsyncIterator[Finding]:
    """Request a short generation of `model` at `url` by OpenAI's API, and judge its events."""
    address = url.rstrip("/").removesuffix("/v1")
    subject = f"through {address}"
    context = ssl.create_default_context() if address.startswith("https:") else None
    for finding in await reached(address, context, subject, _REMEDIES):
        yield finding
        if finding.verdict is CheckResult.FAILED:
            return
    path, body = asked("openai", model)
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    yield await streamed(subject, address + path, body, "openai", _REMEDIES, headers=headers)
