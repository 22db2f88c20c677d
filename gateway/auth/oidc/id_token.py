"""ID tokens (OpenID Connect Core 1.0 section 3.1.3.7): who signed in, for this client, just now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jwt

from gateway.auth.key_sets import KeySet

_SIZE_CAP = 256 * 1024
_KID_CAP = 256
_FARTHEST_EXPIRY = 253_402_300_800  # the year 10000


class BadIdToken(Exception):
    """The ID token is not accepted. The text is for the log."""


class IdTokenVerifier:
    """Verifier of the ID tokens of one issuer for one client."""

    def __init__(self, keys: KeySet, *, issuer: str, client_id: str, leeway_s: float) -> None:
        """Each of the keys has one algorithm. What the token's header says is never trusted."""
        self._keys = keys
        self._issuer = issuer
        self._client_id = client_id
        self._leeway_s = leeway_s
        self._jwt = jwt.PyJWT()

    async def verify(self, token: str, nonce: str) -> Mapping[str, Any]:
        """Return the claims of a token. Raise BadIdToken, or AuthUnavailable without keys."""
        if len(token) > _SIZE_CAP:
            raise BadIdToken("it is too long")
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError as exc:
            raise BadIdToken(f"it is malformed: {type(exc).__name__}") from exc
        kid, algorithm = header.get("kid"), header.get("alg")
        if not isinstance(algorithm, str) or not (
            kid is None or (isinstance(kid, str) and len(kid) <= _KID_CAP)
        ):
            raise BadIdToken("its header is malformed")
        keys = await self._keys.find(kid, algorithm)
        if not keys:
            raise BadIdToken("its key is not known")
        claims = self._decoded(token, [(one.key, one.algorithm) for one in keys])
        self._check(claims, nonce)
        return claims

    def _decoded(self, token: str, keys: list[tuple[Any, str]]) -> Mapping[str, Any]:
        for key, algorithm in keys:
            try:
                claims: Mapping[str, Any] = self._jwt.decode(
                    token,
                    key,
                    algorithms=[algorithm],
                    audience=self._client_id,
                    issuer=self._issuer,
                    leeway=self._leeway_s,
                    options={"require": ["exp", "iat", "iss", "aud", "sub"]},
                )
            except jwt.InvalidSignatureError:
                continue  # a kid need not be unique
            except (jwt.PyJWTError, ValueError, TypeError, OverflowError) as exc:
                raise BadIdToken(f"{type(exc).__name__}: {exc}"[:200]) from exc
            else:
                return claims
        raise BadIdToken("its signature does not match")

    def _check(self, claims: Mapping[str, Any], nonce: str) -> None:
        expiry, subject = claims["exp"], claims["sub"]
        if isinstance(expiry, bool) or not isinstance(expiry, int | float):
            raise BadIdToken("exp is not a number")
        if not 0 < expiry < _FARTHEST_EXPIRY:
            raise BadIdToken("exp is not a plausible time")
        if not isinstance(subject, str) or not 0 < len(subject) <= 255:
            raise BadIdToken("sub is not a text of 1 to 255 characters")
        if claims.get("nonce") != nonce:
            raise BadIdToken("nonce is not that of this sign-in")
        audience, party = claims["aud"], claims.get("azp")
        if isinstance(audience, list) and len(audience) > 1 and party is None:
            raise BadIdToken("it is for several audiences, and azp is missing")
        if party is not None and party != self._client_id:
            raise BadIdToken("azp is another client")
