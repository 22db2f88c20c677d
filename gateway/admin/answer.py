"""What the admin API answers with: JSON, a line of it."""

from __future__ import annotations

from typing import Any

import orjson
from aiohttp import web


def answer(document: Any, status: int = 200) -> web.Response:
    """A response that says `document`."""
    return web.Response(
        status=status,
        body=orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE),
        content_type="application/json",
    )
