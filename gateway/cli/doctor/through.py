"""Check for buffering in front of the gateway: request a stream through the public URL, and look at
the arrival times of its events.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import AsyncIterator, Sequence

import aiohttp

from gateway.cli.doctor.finding import Finding, failed, ok, skipped
from gateway.cli.failures import why_unreachable
from gateway.sse import EventSplitter, EventTooLarge

_TIMEOUT_S = 60.0
_LEAST_EVENTS = 4
_LEAST_SPREAD_S = 0.02
_SHARE = 0.2
"""If all events arrive within this share of the total time, something in between buffers them."""


async def through(url: str, token: str | None, model: str) -> AsyncIterator[Finding]:
    """Request a short generation of `model` at `url` by OpenAI's API, and judge its events. The
    generation is a real one, which limits and budgets count.
    """
    address = url.rstrip("/").removesuffix("/v1")
    subject = f"through {address}"
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    body = {
        "model": model,
        "stream": True,
        "max_tokens": 32,
        "messages": [{"role": "user", "content": "Count from one to thirty."}],
    }
    begun = time.perf_counter()
    arrivals: list[float] = []
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S)) as session,
            session.post(
                f"{address}/v1/chat/completions", json=body, headers=headers, allow_redirects=False
            ) as response,
        ):
            if response.status != 200:
                yield failed(
                    subject,
                    f"status {response.status}",
                    "give --model and --token that this address accepts",
                )
                return
            splitter = EventSplitter()
            async for piece in response.content.iter_any():
                now = time.perf_counter() - begun
                arrivals += [now] * sum(event.data is not None for event in splitter.feed(piece))
    except (aiohttp.ClientConnectorCertificateError, ssl.SSLError) as exc:
        yield failed(
            subject,
            f"its TLS certificate is not trusted: {exc}",
            "set SSL_CERT_FILE to the certificate of its authority",
        )
        return
    except aiohttp.ClientConnectorError as exc:
        yield failed(
            subject,
            f"cannot be reached: {why_unreachable(exc)}",
            "start the gateway, or correct the URL",
        )
        return
    except (aiohttp.ClientError, OSError, TimeoutError, EventTooLarge) as exc:
        why = str(exc) or "no answer in time"
        yield failed(subject, f"the stream is not complete: {why}", "look at the gateway's log")
        return
    yield judged(subject, arrivals)


def judged(subject: str, arrivals: Sequence[float]) -> Finding:
    """Return the finding for the arrival times of events, in seconds since the request."""
    if len(arrivals) < _LEAST_EVENTS:
        return skipped(
            subject, f"{len(arrivals)} events are too few to judge: name another --model"
        )
    spread = arrivals[-1] - arrivals[0]
    text = (
        f"{len(arrivals)} events, the first after {arrivals[0] * 1e3:.0f} ms, "
        f"the last {spread * 1e3:.0f} ms later"
    )
    if spread < max(_LEAST_SPREAD_S, _SHARE * arrivals[-1]):
        return failed(
            subject,
            f"{text}: they arrive all at once",
            "something in front collects the stream: turn buffering and compression off there "
            "(nginx: `proxy_buffering off` or keep X-Accel-Buffering; see docs/nginx.md)",
        )
    return ok(subject, f"{text}: unbuffered")
