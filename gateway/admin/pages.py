"""Pages of the admin listener: only files of this project, and nothing from other servers.

Files are read once. Their URLs contain a digest of all files, so a browser may cache them forever
and still sees an upgrade at once. The document that refers to them is revalidated each time.
"""

from __future__ import annotations

import gzip
import hashlib
import html
from collections.abc import Callable, Mapping
from pathlib import Path

from aiohttp import web

from gateway import __version__
from gateway.admin.views import VIEWS
from gateway.browser import script

FOLDER = Path(__file__).with_name("static")
_TYPES = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_SAFE = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

_IMMUTABLE = "public, max-age=31536000, immutable"
_AGAIN = '<a class="button" href="{href}">Sign in again</a>'
_PRELOAD = '<link rel="modulepreload" href="{{base}}/{}">'


class Pages:
    """Document of the pages, and the files that it refers to."""

    def __init__(self, prefix: Callable[[web.Request], str] = lambda _: "") -> None:
        """`prefix` returns the path below which a proxy serves this listener to the browser that
        sent a request, as HTML text without a slash at its end.
        """
        self._prefix = prefix
        files = {
            path.relative_to(FOLDER).as_posix(): path.read_bytes()
            for path in sorted(FOLDER.rglob("*"))
            if path.suffix in _TYPES
        }
        files["client.js"] = script.read()
        digest = _digest(files)
        self._base = f"/static/{digest}"
        self._files = files
        self._gzipped: dict[str, bytes] = {}  # when first asked for: all of them take 50 ms
        document = (FOLDER / "index.html").read_text(encoding="utf-8")
        for name, value in (
            # Modules import one another; with these links, a browser fetches all in one round trip.
            ("modules", "\n".join(_PRELOAD.format(name) for name in files if _is_module(name))),
            ("base", f"{{prefix}}{self._base}"),
            ("version", __version__),
        ):
            document = document.replace(f"{{{name}}}", value)
        self._document = document
        self._message = (FOLDER / "message.html").read_text(encoding="utf-8")
        self._digest = digest

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of the pages and files."""
        return [
            *(web.get(path, self._view) for path in VIEWS),
            web.get("/favicon.ico", self._icon),
            web.get(self._base + "/{name:.+}", self._file),
        ]

    def message(
        self, title: str, text: str, status: int, *, prefix: str, again: str | None
    ) -> web.Response:
        """Return a page with a message, which needs no script. `again` is the path that the link
        for another attempt leads to; None: no such link.
        """
        link = "" if again is None else _AGAIN.format(href=f"{prefix}{again}")
        document = self._message
        for name, value in (
            ("base", f"{prefix}{self._base}"),
            ("prefix", prefix),
            ("again", link),
            ("title", html.escape(title)),
            ("text", html.escape(text)),
        ):
            document = document.replace(f"{{{name}}}", value)
        headers = {**_SAFE, "Cache-Control": "no-store"}
        return web.Response(text=document, status=status, content_type="text/html", headers=headers)

    async def _view(self, request: web.Request) -> web.Response:
        prefix = self._prefix(request)
        etag = f'"{hashlib.sha256(prefix.encode()).hexdigest()[:8]}-{self._digest}"'
        headers = {**_SAFE, "Cache-Control": "no-cache", "ETag": etag}
        if request.headers.get("If-None-Match") == etag:
            return web.Response(status=304, headers=headers)
        document = self._document.replace("{prefix}", prefix)
        return web.Response(text=document, content_type="text/html", headers=headers)

    async def _file(self, request: web.Request) -> web.Response:
        return self._respond(request, request.match_info["name"])

    async def _icon(self, request: web.Request) -> web.Response:
        return self._respond(request, "icon.svg")

    def _respond(self, request: web.Request, name: str) -> web.Response:
        body = self._files.get(name)
        if body is None:
            raise web.HTTPNotFound
        headers = {**_SAFE, "Cache-Control": _IMMUTABLE, "Vary": "Accept-Encoding"}
        if "gzip" in request.headers.get("Accept-Encoding", ""):
            if name not in self._gzipped:
                self._gzipped[name] = gzip.compress(body, mtime=0)
            body, headers["Content-Encoding"] = self._gzipped[name], "gzip"
        return web.Response(
            body=body, content_type=_TYPES[Path(name).suffix], charset="utf-8", headers=headers
        )


def _is_module(name: str) -> bool:
    return name.endswith(".js") and name != "theme.js" and not name.startswith("vendor/")


def _digest(files: Mapping[str, bytes]) -> str:
    digest = hashlib.sha256(__version__.encode())
    for name, body in files.items():
        digest.update(f"\0{name}\0{len(body)}\0".encode())
        digest.update(body)
    return digest.hexdigest()[:16]
