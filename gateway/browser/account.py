"""Page of the self-service: a caller sees own keys, limits, budgets and usage, and makes keys.

The page holds no secret and has no rights: each request that it sends carries the credential that
its user has entered, and is answered like any other at `me`.
"""

from __future__ import annotations

from pathlib import Path

from aiohttp import web

from gateway.browser.playground import HEADERS
from gateway.request import Request

PLACE = "page/"
"""Path of the page below that of the self-service."""
_FOLDER = Path(__file__).with_name("pages")
_FILES = {
    "": ("account.html", "text/html"),
    "account.css": ("account.css", "text/css"),
    "account.js": ("account.js", "text/javascript"),
}


class AccountPage:
    """Handler of the page and its files, which are read once."""

    def __init__(self, path: str) -> None:
        """`path` is that of the page, with a slash at its end."""
        self._path = path
        self._files = {
            name: (kind, (_FOLDER / file).read_bytes()) for name, (file, kind) in _FILES.items()
        }

    def __call__(self, request: Request) -> web.StreamResponse:
        """Return a file; 404 for other paths."""
        kind, body = self._files.get(request.exchange.path.removeprefix(self._path), ("", b""))
        if not kind:
            return web.Response(status=404, text="There is no such page.\n", headers=HEADERS)
        return web.Response(body=body, content_type=kind, charset="utf-8", headers=HEADERS)
