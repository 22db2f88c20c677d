"""Gate of the admin listener: checks the role of each request, and audits its action."""

from __future__ import annotations

import secrets

from aiohttp import web
from aiohttp.typedefs import Handler

from gateway.admin.answer import answer
from gateway.admin.audit import NOTES, REQUEST_ID, note
from gateway.admin.audit_log import AuditLog
from gateway.admin.auth import SAFE, AccessRefused, AdminAuth
from gateway.admin.operator import OPERATOR, Operator
from gateway.admin.roles import least_role
from gateway.admin.views import VIEWS

CALLBACK = "/sign-in/callback"
"""Path to which the issuer redirects a browser."""
_HEALTH = ("/livez", "/readyz")
_DOCUMENTS = (*VIEWS, "/sign-in", CALLBACK)
"""Paths that a page of another origin may link to, or send a browser to."""
_UNAUDITED = "/play/"
"""Path prefixes of requests by a caller of the gateway. They are no actions of an operator."""


class AdminGate:
    """Middleware of the admin listener."""

    def __init__(self, auth: AdminAuth, audit: AuditLog) -> None:
        self._auth = auth
        self._audit = audit

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer a request, or refuse it."""
        request[NOTES], request[REQUEST_ID] = [], secrets.token_hex(8)
        path = _path_of(request)
        try:
            return await self._answered(request, path, handler)
        finally:  # actions are written even if the handler fails afterwards
            await self._audit.write(request[NOTES])

    async def _answered(
        self, request: web.Request, path: str, handler: Handler
    ) -> web.StreamResponse:
        try:
            await self._authorize(request, path)
        except AccessRefused as exc:
            if exc.status == 401 and "Authorization" in request.headers:
                await self._auth.delay_answer(request)
            return self._refusal(request, path, exc)
        response = await self._handled(request, handler)
        if request.method not in SAFE and not request[NOTES]:
            self._note_unnoted(request, path, response)
        return response

    async def _handled(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPException as exc:
            return answer({"error": exc.reason}, exc.status)
        except web.RequestPayloadError:
            return answer({"error": "the body is not what its headers say"}, 400)
        except ConnectionResetError:
            if request.transport is not None and not request.transport.is_closing():
                raise
            # The client left before it sent the whole body, or before the response began. Nothing
            # needs to be logged. aiohttp tries to send this response, and notices that the client
            # is gone.
            return web.Response()

    async def _authorize(self, request: web.Request, path: str) -> None:
        """Find out who sent the request, and check the role. Raise AccessRefused."""
        request[OPERATOR] = Operator("", "none", None, self._auth.address(request))
        if path in _HEALTH or path.startswith("/static/"):
            return
        if found := self._auth.refused_origin(request, is_document=path in _DOCUMENTS):
            raise AccessRefused(*found)
        least = least_role(request.method, path)
        if least is None:
            return
        operator = request[OPERATOR] = await self._auth.identify(request)
        is_known = path != ""  # an unknown path is 404 for every role
        if operator.role is None or (is_known and operator.role < least):
            raise AccessRefused(403, f"this needs the role {least.word}")

    def _refusal(self, request: web.Request, path: str, exc: AccessRefused) -> web.Response:
        operator, document = request[OPERATOR], {"error": exc.reason}
        least = least_role(request.method, path)
        if operator.role is not None and least is not None:
            document |= {"needs": least.word, "role": operator.role.word}
        if exc.status == 403:
            action, name = "request_refused", f"{request.method} {path}"
            note(request, action, result="refused", reason=exc.reason, name=name)
        refused = answer(document, exc.status)
        if exc.status == 401:
            refused.headers["WWW-Authenticate"] = "Bearer"
        return refused

    @staticmethod
    def _note_unnoted(request: web.Request, path: str, response: web.StreamResponse) -> None:
        """Note an action that its handler has not noted, because it failed or changed nothing."""
        is_open = least_role(request.method, path) is None
        if is_open or not path or path.startswith(_UNAUDITED):
            return
        name, status = f"{request.method} {path}", response.status
        for part, value in request.match_info.items():
            name = name.replace(f"{{{part}}}", value)
        if status < 400:
            note(request, "request_done", name=name)
        else:
            note(request, "request_failed", result="failed", reason=f"status {status}", name=name)


def _path_of(request: web.Request) -> str:
    """Return the path of a route with its parameters in braces, as in `Operation.path`; an empty
    text if there is no such route.
    """
    resource = request.match_info.route.resource
    return "" if resource is None else resource.canonical
