"""Admin API for sessions: that of a browser, and those of all operators."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import orjson
from aiohttp import web

from gateway import __version__
from gateway.admin import documents, operator_documents
from gateway.admin.answer import answer
from gateway.admin.audit import note
from gateway.admin.auth import AccessRefused, AdminAuth
from gateway.admin.operation import Operation, Parameter
from gateway.admin.operator import OPERATOR, Operator
from gateway.admin.sign_in import SignIn
from gateway.config import Config
from gateway.store.records import StoreUnavailable

_AWAY = {503: "The store does not answer."}
_NO_STORE = "the store does not answer, which keeps sessions"


@dataclass(frozen=True, slots=True)
class SessionApi:
    """Handlers for sessions."""

    auth: AdminAuth
    sign_in: SignIn
    config: Callable[[], Config]
    """Returns the configuration that is served."""
    public: str = ""
    """URL of the public listener."""

    @Operation(
        "GET",
        "/api/session",
        "State of a browser's session.",
        returns=operator_documents.Session,
        is_open=True,
    )
    async def _session(self, request: web.Request) -> web.Response:
        access = self.auth.access
        document: dict[str, Any] = {
            "needs_token": access.is_restricted,
            "admitted": False,
            "reason": None,
            "tokens": bool(access.tokens),
            "issuer": access.sign_in and urlsplit(access.sign_in.issuer).hostname,
        }
        try:
            operator = await self.auth.identify(request)
        except AccessRefused as exc:
            return answer({**document, "reason": exc.reason})
        admin = self.config().admin
        return answer(
            {
                **document,
                "admitted": True,
                "name": operator.name,
                "how": operator.how,
                "role": operator.role and operator.role.word,
                "version": __version__,
                "links": dict(admin.links) if admin else {},
                "public": self.public,
            }
        )

    @Operation(
        "POST",
        "/api/session",
        "Begin a session: sets a cookie that stands for the token.",
        returns=documents.Empty,
        body=operator_documents.TokenSignIn,
        errors={
            400: "The body has no token.",
            403: "The token is wrong.",
            503: "The store does not answer.",
        },
        is_open=True,
    )
    async def _sign_in(self, request: web.Request) -> web.Response:
        try:
            token = str(orjson.loads(await request.read())["token"])
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return answer({"error": 'send {"token": ...}'}, 400)
        response = answer({})
        try:
            operator = await self.auth.sign_in(request, token, response)
        except StoreUnavailable:
            return answer({"error": _NO_STORE}, 503)
        if operator is not None:
            self.sign_in.count("token", "ok")
            request[OPERATOR] = operator
            note(request, "signed_in", object="session", method="token")
            return response
        self.sign_in.count("token", "refused")
        await self.auth.delay_answer(request)
        return answer({"error": "that is not the admin token"}, 403)

    @Operation(
        "DELETE",
        "/api/session",
        "End the session.",
        returns=operator_documents.SignedOut,
        errors={503: "The store does not answer."},
        is_open=True,
    )
    async def _sign_out(self, request: web.Request) -> web.Response:
        try:
            session = await self.auth.session(request, uses=False)
            url = None
            if session is not None and session.subject is not None:
                url = await self.sign_in.end_session_url(request, session.id_token)
            response = answer({"end_session_url": url})
            await self.auth.sign_out(request, response)
        except (StoreUnavailable, AccessRefused):
            return answer({"error": _NO_STORE}, 503)
        if session is not None:
            role, address = self.auth.access.role(session), self.auth.address(request)
            request[OPERATOR] = Operator(session.name, "session", role, address, session.subject)
            note(request, "signed_out", object="session")
        return response

    @Operation(
        "GET",
        "/api/sessions",
        "Sessions of all operators, the newest first.",
        returns=operator_documents.Sessions,
        errors=_AWAY,
    )
    async def _list(self, request: web.Request) -> web.Response:
        try:
            found = await self.auth.sessions.all()
        except StoreUnavailable:
            return answer({"error": _NO_STORE}, 503)
        rows = []
        for one in found:
            role = self.auth.access.role(one)
            if role is None:
                continue  # what it is for is no longer configured
            rows.append(
                {
                    "id": one.id,
                    "name": one.name,
                    "subject": one.subject,
                    "role": role.word,
                    "address": one.address,
                    "began_at": one.began_at,
                    "ends_at": one.ends_at,
                    "is_own": one.id == request[OPERATOR].session,
                }
            )
        return answer({"sessions": rows})

    @Operation(
        "DELETE",
        "/api/sessions/{id}",
        "End a session of any operator, within a second.",
        returns=documents.Empty,
        parameters=(Parameter("id", "Id of the session."),),
        errors={**_AWAY, 404: "There is no such session."},
    )
    async def _end(self, request: web.Request) -> web.Response:
        key = request.match_info["id"]
        try:
            named = [one.name for one in await self.auth.sessions.all() if one.id == key]
            if not named or not await self.auth.sessions.end(key):
                return answer({"error": "there is no such session"}, 404)
        except StoreUnavailable:
            return answer({"error": _NO_STORE}, 503)
        note(request, "session_ended", name=named[0])
        return answer({})
