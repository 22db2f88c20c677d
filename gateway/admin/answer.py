"""JSON responses of the admin API."""

from __future__ import annotations

from typing import Any

import orjson
from aiohttp import web

SERVER = "gateway"
"""`Server` header of every response. aiohttp's own tells its version."""


def answer(document: Any, status: int = 200) -> web.Response:
    """Return a response with a document as one line of JSON."""
    return web.Response(
        status=status,
        body=orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE),
        content_type="application/json",
    )
