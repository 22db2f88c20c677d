"""JSON Web Tokens (RFC 7519), verified with PyJWT; one pinned algorithm, one key.

Verifying costs 40 to 70 µs, so a token that was good is remembered by its digest until it
expires: within that time nothing about it can change.
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import jwt

from gateway.auth.principal import Principal

TOKEN_CAP_CHARACTERS = 8192
_CACHED_TOKENS = 10_000


class Rejected(Exception):
    """The token is not acceptable. The text is for the log and holds nothing of the token."""


class JwtProvider:
    """Verifies bearer tokens of one issuer for one audience."""

    def __init__(
        self,
        name: str,
        *,
        algorithm: str,
        key: bytes,
        issuer: str,
        audience: str,
        leeway_s: float,
        claims: Mapping[str, str],
    ) -> None:
        self.name = name
        self._algorithm = algorithm
        self._key = jwt.get_algorithm_by_name(algorithm).prepare_key(key)
        self._issuer = issuer
        self._audience = audience
        self._leeway_s = leeway_s
        self._subject = claims.get("subject", "sub")
        self._tenant = claims.get("tenant")
        self._tier = claims.get("tier")
        self._verifier = jwt.PyJWT()
        self._verified: OrderedDict[bytes, tuple[float, Principal]] = OrderedDict()

    def verify(self, token: str) -> Principal:
        """The principal a token speaks for. Raise Rejected with the check that failed."""
        digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        known = self._verified.get(digest)
        if known is not None:
            if time.time() < known[0]:
                return known[1]
            del self._verified[digest]
        expires_at, principal = self._verify(token)
        while len(self._verified) >= _CACHED_TOKENS:
            self._verified.popitem(last=False)
        self._verified[digest] = (expires_at, principal)
        return principal

    def _verify(self, token: str) -> tuple[float, Principal]:
        if len(token) > TOKEN_CAP_CHARACTERS:
            raise Rejected("token too long")
        try:
            claims: dict[str, Any] = self._verifier.decode(
                token,
                self._key,
                algorithms=[self._algorithm],
                audience=self._audience,
                issuer=self._issuer,
                leeway=self._leeway_s,
                options={"require": ["exp", "iss", "aud"], "enforce_minimum_key_length": True},
            )
        except jwt.PyJWTError as exc:
            raise Rejected(type(exc).__name__) from exc
        subject = claims.get(self._subject)
        if not isinstance(subject, str) or not subject:
            raise Rejected(f"claim {self._subject} is missing or not a string")
        principal = Principal(
            subject,
            self.name,
            self._optional(claims, self._tenant),
            self._optional(claims, self._tier),
        )
        return float(claims["exp"]) + self._leeway_s, principal

    @staticmethod
    def _optional(claims: dict[str, Any], name: str | None) -> str | None:
        if name is None:
            return None
        value = claims.get(name)
        return value if isinstance(value, str) and value else None
