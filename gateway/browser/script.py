"""`/client.js` of the public listener: the client for event streams that reconnects."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

from aiohttp import web

from gateway.request import Request

FILE = Path(__file__).with_name("client.js")
PATH = "/client.js"
NAME = "client.js"
"""Name of its route in logs and metrics."""
_HEADERS = {
    # Pages of any origin may import it: it is public, and holds nothing of its caller.
    "Access-Control-Allow-Origin": "*",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "Cache-Control": "public, max-age=3600",
    "Vary": "Accept-Encoding",
    "X-Content-Type-Options": "nosniff",
}


def read() -> bytes:
    """Return the script."""
    return FILE.read_bytes()


class Script:
    """Handler of the script. The file is read once."""

    def __init__(self) -> None:
        self._body = read()
        self._gzipped = gzip.compress(self._body, mtime=0)
        self._headers = {
            **_HEADERS,
            # Weak: one tag for both codings (RFC 9110 section 8.8.1).
            "ETag": f'W/"{hashlib.sha256(self._body).hexdigest()[:16]}"',
        }

    def __call__(self, request: Request) -> web.StreamResponse:
        """Return the script, or 304 if the client has this version."""
        headers = dict(self._headers)
        if request.headers.get("If-None-Match") == headers["ETag"]:
            return web.Response(status=304, headers=headers)
        body = self._body
        if "gzip" in request.headers.get("Accept-Encoding", ""):
            body, headers["Content-Encoding"] = self._gzipped, "gzip"
        return web.Response(
            body=body, content_type="text/javascript", charset="utf-8", headers=headers
        )
