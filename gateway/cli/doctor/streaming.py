"""Stream of a short generation, and a judgement of the times at which its events arrive."""

from __future__ import annotations

import ssl
import time
from collections.abc import Mapping, Sequence
from typing import Any

import aiohttp

from gateway.cli.doctor.finding import Finding, Remedies, failed, ok, skipped
from gateway.cli.failures import why_unreachable
from gateway.config.types import Dialect
from gateway.dialects import DIALECTS
from gateway.dialects.translation.options import TranslationOptions
from gateway.sse import EventTooLarge

_TIMEOUT_S = 60.0
_LEAST_EVENTS = 4
_LEAST_SPREAD_S = 0.02
_SHARE = 0.2
"""If all events arrive within this share of the total time, something in between buffers them."""


def asked(dialect: Dialect, model: str) -> tuple[str, dict[str, Any]]:
    """Return path and body of a request for a short streamed generation. The path begins with the
    base of the dialect's API, such as /v1.
    """
    read = DIALECTS["openai"].chats["/chat/completions"].read
    conversation = read(
        {
            "model": model,
            "stream": True,
            "max_tokens": 32,
            "messages": [{"role": "user", "content": "Count from one to thirty."}],
        }
    )
    described = DIALECTS[dialect]
    options = TranslationOptions(max_tokens_field="max_tokens")
    backend = described.chat_backend
    return described.paths.base + backend.path, backend.write(conversation, options)


async def streamed(
    subject: str,
    url: str,
    body: dict[str, Any],
    dialect: Dialect,
    remedies: Remedies,
    *,
    headers: Mapping[str, str],
    context: ssl.SSLContext | None = None,
    connector: aiohttp.BaseConnector | None = None,
) -> Finding:
    """Post the body to the URL, and judge the events of the answer. The generation is a real one,
    which limits and budgets count. `connector` leads to the URL, through a proxy for example.
    """
    begun = time.perf_counter()
    arrivals: list[float] = []
    try:
        async with (
            aiohttp.ClientSession(
                connector=connector, timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S)
            ) as session,
            session.post(
                url,
                json=body,
                headers=headers,
                allow_redirects=False,
                ssl=True if context is None else context,
            ) as response,
        ):
            if response.status != 200:
                return failed(subject, f"status {response.status}", remedies.refused)
            splitter = DIALECTS[dialect].splitter()
            async for piece in response.content.iter_any():
                now = time.perf_counter() - begun
                arrivals += [now] * sum(event.data is not None for event in splitter.feed(piece))
    except (aiohttp.ClientConnectorCertificateError, ssl.SSLError) as exc:
        return failed(subject, f"its TLS certificate is not trusted: {exc}", remedies.untrusted)
    except aiohttp.ClientConnectorError as exc:
        text = f"cannot be reached: {why_unreachable(exc)}"
        return failed(subject, text, remedies.unreachable)
    except (aiohttp.ClientError, OSError, TimeoutError, EventTooLarge) as exc:
        why = str(exc) or "no answer in time"
        return failed(subject, f"the stream is not complete: {why}", "look at the server's log")
    return judged(subject, arrivals, remedies.buffered)


def judged(subject: str, arrivals: Sequence[float], remedy: str) -> Finding:
    """Return the finding for the arrival times of events, in seconds since the request."""
    if len(arrivals) < _LEAST_EVENTS:
        return skipped(
            subject, f"{len(arrivals)} events are too few to judge: ask for a longer answer"
        )
    spread = arrivals[-1] - arrivals[0]
    text = (
        f"{len(arrivals)} events, the first after {arrivals[0] * 1e3:.0f} ms, "
        f"the last {spread * 1e3:.0f} ms later"
    )
    if spread < max(_LEAST_SPREAD_S, _SHARE * arrivals[-1]):
        return failed(subject, f"{text}: they arrive all at once", remedy)
    return ok(subject, f"{text}: unbuffered")
