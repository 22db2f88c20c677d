"""OpenID Connect issuer over HTTP: signs tokens, rotates keys, and fails on demand."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from email.utils import formatdate
from typing import Any

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from tests.support.block import AsyncBlock

_KINDS: dict[str, Any] = {
    "RS256": (lambda: rsa.generate_private_key(65537, 2048), RSAAlgorithm),
    "PS256": (lambda: rsa.generate_private_key(65537, 2048), RSAAlgorithm),
    "ES256": (lambda: ec.generate_private_key(ec.SECP256R1()), ECAlgorithm),
    "EdDSA": (ed25519.Ed25519PrivateKey.generate, OKPAlgorithm),
}

FAILURES = ("500", "hang", "garbage", "huge", "redirect")


class Issuer(AsyncBlock):
    """Running issuer, as an async context manager."""

    def __init__(self) -> None:
        self.url = ""
        self.mode = "ok"
        """Behaviour when its keys are requested: ok, or one of FAILURES."""
        self.ahead_s = 0.0
        """Seconds by which its clock is ahead of this machine's."""
        self.hits: Counter[str] = Counter()
        """Number of requests by path."""
        self._keys: dict[str, tuple[str, Any]] = {}
        self._runner: web.AppRunner | None = None
        self._released = asyncio.Event()

    async def _enter(self) -> None:
        application = web.Application()
        application.on_response_prepare.append(self._dated)
        application.router.add_get("/.well-known/openid-configuration", self._configuration)
        self.add_routes(application)
        application.router.add_get("/{path:.*}", self._key_set)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def _leave(self, error: BaseException | None) -> None:
        self._released.set()
        assert self._runner is not None
        await self._runner.cleanup()

    def add_routes(self, application: web.Application) -> None:
        """Add further endpoints."""

    def metadata(self) -> dict[str, Any]:
        """Return the OpenID configuration."""
        return {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}

    def add_key(self, kid: str, algorithm: str = "ES256") -> None:
        """Publish another key."""
        make, _ = _KINDS[algorithm]
        self._keys[kid] = (algorithm, make())

    def withdraw(self, kid: str) -> None:
        """Stop publishing a key."""
        del self._keys[kid]

    def public_key(self, kid: str) -> Any:
        """Return the public key that verifies the signatures of a key."""
        _, key = self._keys[kid]
        return key.public_key()

    def jwk(self, kid: str) -> dict[str, Any]:
        """Return the public key as it is published (JWK)."""
        algorithm, _ = self._keys[kid]
        _, shape = _KINDS[algorithm]
        public = json.loads(shape.to_jwk(self.public_key(kid)))
        return {**public, "kid": kid, "alg": algorithm, "use": "sig"}

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Return the claims of a token for `llm`, with these changes."""
        standard = {"iss": self.url, "aud": "llm", "sub": "ann", "exp": int(time.time()) + 300}
        return {**standard, **changes}

    def token(self, kid: str, *, header: dict[str, Any] | None = None, **claims: Any) -> str:
        """Return a token for `llm`, signed with this key."""
        algorithm, key = self._keys[kid]
        return jwt.encode(
            self.claims(**claims), key, algorithm, headers={"kid": kid, **(header or {})}
        )

    def sign(self, kid: str, data: bytes) -> bytes:
        """Return the signature of data by a key, in the form used in tokens (RFC 7518 section
        3).
        """
        algorithm, key = self._keys[kid]
        return jwt.get_algorithm_by_name(algorithm).sign(data, key)

    def provider(self, **options: Any) -> dict[str, Any]:
        """Return an `auth` section with this issuer as `corp`."""
        return {
            "corp": {
                "type": "jwt",
                "issuer": self.url,
                "audience": "llm",
                "jwks": "auto",
                **options,
            }
        }

    async def _dated(self, _: web.Request, response: web.StreamResponse) -> None:
        response.headers["Date"] = formatdate(time.time() + self.ahead_s, usegmt=True)

    async def _configuration(self, request: web.Request) -> web.Response:
        self.hits[request.path] += 1
        return web.json_response(self.metadata())

    async def _key_set(self, request: web.Request) -> web.StreamResponse:
        self.hits[request.path] += 1
        if self.mode == "500":
            return web.Response(status=500)
        if self.mode == "hang":
            await self._released.wait()
        if self.mode == "garbage":
            return web.Response(body=b"\xff{")
        if self.mode == "huge":
            return web.Response(body=b" " * 2**20)
        if self.mode == "redirect":
            return web.Response(status=302, headers={"Location": f"{self.url}/elsewhere"})
        return web.json_response({"keys": [self.jwk(kid) for kid in self._keys]})
