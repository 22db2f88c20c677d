"""Requests to the admin listener of a gateway process."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.support.client import Response, ask
from tests.support.gateway import GatewayProcess
from tests.support.waiting import PATIENCE_S, asked_until

_ANSWER_PATIENCE_S = 30.0
"""Seconds to wait for a response. A reload waits for a worker that is being replaced."""


async def admin(
    gateway: GatewayProcess, method: str, path: str, body: Any = None, *lines: str
) -> Response:
    """Send a request to the admin listener. Return the response."""
    data = b"" if body is None else json.dumps(body).encode()
    host = () if any(line.lower().startswith("host:") for line in lines) else ("Host: localhost",)
    head = [f"{method} {path} HTTP/1.1", *host, "Connection: close", *lines]
    raw = "\r\n".join([*head, f"Content-Length: {len(data)}", "", ""]).encode() + data
    return await ask(gateway.admin_port, raw, method, patience_s=_ANSWER_PATIENCE_S)


async def told(gateway: GatewayProcess, path: str) -> Any:
    """Return the document at a path."""
    response = await admin(gateway, "GET", path)
    assert response.status == 200, response.body
    return response.json()


async def until(gateway: GatewayProcess, path: str, wanted: Callable[[Any], bool]) -> Any:
    """Poll the document at a path until `wanted` accepts it. Return it. An error, as while workers
    are busy, is no document. Raise TimeoutError.
    """
    answer = await asked_until(
        lambda: admin(gateway, "GET", path),
        lambda answer: answer.status == 200 and wanted(answer.json()),
        patience_s=PATIENCE_S,
        pause_s=0.02,
    )
    return answer.json()
