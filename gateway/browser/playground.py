"""Playground of the public listener: a page for callers, behind a password of its own.

The page holds no secret and has no rights: each request that it sends carries the credential of the
person who uses it, and is limited, logged and counted like any other.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from html import escape
from pathlib import Path

from aiohttp import web

from gateway.browser import script
from gateway.request import Request

PATH = "/playground/"
NAME = "playground"
"""Name of its route in logs and metrics."""
FILES = {"playground.css": "text/css", "playground.js": "text/javascript"}
_FOLDER = Path(__file__).with_name("pages")
HEADERS = {
    # Scripts and calls of this origin only; nobody may frame it.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "private, no-cache",
}
"""Header fields of pages of the public listener."""
_ASKS = {"WWW-Authenticate": 'Basic realm="playground", charset="UTF-8"'}


class PlaygroundPage:
    """Handler of the page and its files, which are read once."""

    def __init__(self, api: str, password: bytes) -> None:
        """`api` is the path of the route that the page calls, such as /v1/."""
        document = (_FOLDER / "index.html").read_text("utf-8").replace("{api}", escape(api))
        self._files = {
            "": ("text/html", document.encode()),
            "client.js": ("text/javascript", script.read()),
            **{name: (kind, (_FOLDER / name).read_bytes()) for name, kind in FILES.items()},
        }
        self._digest = hashlib.sha256(password).digest()

    def __call__(self, request: Request) -> web.StreamResponse:
        """Return a file; 401 without the password, 404 for other paths."""
        if not self._admits(request.headers.get("Authorization", "")):
            return web.Response(status=401, text="A password is needed.\n", headers=_ASKS)
        name = request.exchange.path.removeprefix(PATH)
        kind, body = self._files.get(name, ("", b""))
        if not kind:
            return web.Response(status=404, text="There is no such page.\n", headers=HEADERS)
        return web.Response(body=body, content_type=kind, charset="utf-8", headers=HEADERS)

    def _admits(self, authorization: str) -> bool:
        """Check the password of HTTP Basic (RFC 7617) in constant time; any user name will do."""
        scheme, _, encoded = authorization.partition(" ")
        if scheme.lower() != "basic":
            return False
        try:
            _, _, password = base64.b64decode(encoded, validate=True).partition(b":")
        except ValueError:  # not base64, or not ASCII
            return False
        return hmac.compare_digest(hashlib.sha256(password).digest(), self._digest)
