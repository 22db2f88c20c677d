"""Issuer at which people sign in at once, and whose answers a test bends."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from tests.support.issuer import Issuer

CLIENT_ID = "gateway"
CLIENT_SECRET = "secret-of-gateway: 7f3a%"


class SignInIssuer(Issuer):
    """OpenID Connect issuer with authorization, token and userinfo endpoints.

    Whoever is sent to it is signed in as `person` and sent back.
    """

    def __init__(self) -> None:
        super().__init__()
        self.person: dict[str, Any] = {"sub": "ann", "email": "ann@example.com", "groups": ["ops"]}
        """Claims of the ID token."""
        self.userinfo: dict[str, Any] = {}
        """Claims of the userinfo endpoint; the subject is that of `person`."""
        self.answer: Callable[[dict[str, str]], dict[str, str]] = lambda answer: answer
        """Changes the parameters with which a browser is sent back."""
        self.make_token: Callable[[dict[str, Any]], str] = lambda claims: self.token("k", **claims)
        """Signs the claims of an ID token."""
        self.public: dict[str, Any] = {}
        """Changes of the metadata."""
        self.token_status = 200
        """Status of the token endpoint."""
        self.asked: list[dict[str, str]] = []
        """Parameters of the authorization requests."""
        self.exchanged: list[dict[str, str]] = []
        """Forms at the token endpoint."""
        self._codes: dict[str, dict[str, str]] = {}
        self.add_key("k", "ES256")

    def add_routes(self, application: web.Application) -> None:
        application.router.add_get("/authorize", self._authorize)
        application.router.add_post("/token", self._token)
        application.router.add_get("/userinfo", self._userinfo)

    def metadata(self) -> dict[str, Any]:
        return {
            **super().metadata(),
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "userinfo_endpoint": f"{self.url}/userinfo",
            "end_session_endpoint": f"{self.url}/bye",
            "authorization_response_iss_parameter_supported": True,
            **self.public,
        }

    def sign_in(self, **options: Any) -> dict[str, Any]:
        """Return `admin.sign_in` with this issuer."""
        return {
            "issuer": self.url,
            "client_id": CLIENT_ID,
            "roles": {"viewer": ["readers"], "operator": ["ops"], "admin": ["owners"]},
            **options,
        }

    async def _authorize(self, request: web.Request) -> web.Response:
        asked = dict(request.query)
        self.asked.append(asked)
        code = secrets.token_urlsafe(8)
        self._codes[code] = asked
        answer = self.answer({"code": code, "state": asked["state"], "iss": self.url})
        return web.Response(
            status=302, headers={"Location": f"{asked['redirect_uri']}?{urlencode(answer)}"}
        )

    async def _token(self, request: web.Request) -> web.Response:
        form = {name: str(value) for name, value in (await request.post()).items()}
        form["authorization"] = request.headers.get("Authorization", "")
        self.exchanged.append(form)
        asked = self._codes.pop(form["code"], None)
        if self.token_status != 200:
            return web.json_response({"error": "invalid_client"}, status=self.token_status)
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if (
            asked is None
            or asked["code_challenge"] != challenge
            or asked["redirect_uri"] != form["redirect_uri"]
        ):
            return web.json_response({"error": "invalid_grant"}, status=400)
        now = int(self.claims()["exp"]) - 300
        claims = {"aud": CLIENT_ID, "iat": now, "nonce": asked["nonce"], **self.person}
        return web.json_response(
            {
                "id_token": self.make_token(claims),
                "access_token": "access-1",
                "token_type": "Bearer",
            }
        )

    async def _userinfo(self, request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == "Bearer access-1"
        return web.json_response({"sub": self.person["sub"], **self.userinfo})
