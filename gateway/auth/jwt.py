"""Provider for JSON Web Tokens (RFC 7519), verified with PyJWT. Each key has exactly one algorithm.

A verification costs 40 to 70 µs, so a valid token is cached by its digest until it expires. Before
that, only four things can make it invalid: the withdrawal of its key, which clears the cache, and
the age of the keys, the revocation of the token and a change of a team or user, which are checked
each time.
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import jwt
from jwt.utils import base64url_decode, base64url_encode

from gateway.auth.claims import ClaimMap, principal_of
from gateway.auth.jwk import VerificationKey
from gateway.auth.key_sets import KeySet
from gateway.auth.membership import TokenTeams
from gateway.auth.principal import Principal
from gateway.auth.provider import Rejected
from gateway.errors import AuthUnavailable
from gateway.store.record_watcher import RecordWatcher
from gateway.store.records import StoreUnavailable

REVOKED = "revoked"
"""Kind of the records that revoke a token before it expires. The record's key is the `jti`."""
_CACHED_TOKENS = 10_000
_CACHED_CHARACTERS = 16 * 1024 * 1024
"""Characters of all cached tokens together. The memory of their claims is proportional to it."""
_SHOWN_CHARACTERS = 200
"""Longest claim value that the log shows, in characters."""
_KID_CAP_CHARACTERS = 256
_FETCHES = 3
"""Fetches for one token, which may need keys, a user and teams."""
_NOT_JOINED = -1
_TIMES = ("exp", "nbf", "iat")
_TOLD: dict[type[jwt.PyJWTError], str] = {
    jwt.ExpiredSignatureError: "The token expired",
    jwt.ImmatureSignatureError: "The token is not valid yet",
    jwt.InvalidAudienceError: "The token is for another audience",
    jwt.InvalidSignatureError: "The token's signature does not match",
    jwt.InvalidAlgorithmError: "The token's algorithm is not accepted",
    jwt.MissingRequiredClaimError: "The token lacks one of the claims exp, iss and aud",
}
_MALFORMED = "The token is malformed"
_FARTHEST_EXPIRY = 253_402_300_800  # the year 10000


def _is_canonical(token: str) -> bool:
    """Tell whether a token has three parts in canonical base64url (RFC 7515 section 2)."""
    parts = token.split(".")
    if len(parts) != 3:
        return False
    try:
        return all(base64url_encode(base64url_decode(part)).decode() == part for part in parts)
    except ValueError:
        return False


class JwtProvider:
    """Provider for the bearer tokens of one issuer, for given audiences."""

    header: str | None = None

    def __init__(
        self,
        name: str,
        *,
        keys: KeySet,
        issuer: str,
        audience: tuple[str, ...],
        leeway_s: float,
        claims: ClaimMap,
        revoked: RecordWatcher,
        teams: TokenTeams | None = None,
    ) -> None:
        """Create the provider. `revoked` follows the `REVOKED` records, by a token's `jti`. `teams`
        are those of the tokens' callers; None: they have none.
        """
        self.name = name
        self.sent_headers = frozenset(header.lower().encode() for header in claims.headers)
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._leeway_s = leeway_s
        self._claims = claims
        self._revoked = revoked
        self._teams = teams
        self._verifier = jwt.PyJWT()
        self._verified: OrderedDict[bytes, tuple[float, Principal, int, int]] = OrderedDict()
        """Expiry, principal and number of characters of each cached token, and the version of the
        teams and users that the principal has its team from, by the token's digest.
        """
        self._verified_characters = 0
        self.epoch: object = object()
        """Changes when tokens that were verified have to be verified again; see `recall`."""
        self._teams_version = _NOT_JOINED
        """Version of the teams and users that the epoch is of."""
        keys.changed = self.forget

    @property
    def remembered(self) -> int:
        """Number of verified tokens that are remembered."""
        return len(self._verified)

    @property
    def remembered_characters(self) -> int:
        """Characters of these tokens."""
        return self._verified_characters

    def verify_now(self, credential: str) -> Principal | None:
        digest = _digest(credential)
        known = self._verified.get(digest)
        if known is not None and self._keys.current():
            principal = known[1]
            if time.time() < known[0] and principal.token_id not in self._revoked.found:
                if self._teams is None or known[3] == self._teams.version:
                    return principal
                return self._joined(self._teams, digest, principal)
            self._verified_characters -= self._verified.pop(digest)[2]
        keys = self._keys.find_now(*self._header(credential))
        if keys is None:
            return None
        principal = self._verify(credential, digest, keys)
        return principal if self._teams is None else self._joined(self._teams, digest, principal)

    def recall(self, principal: Principal, epoch: object) -> bool:
        """Tell whether `verify_now` would return this principal again, without the token. `epoch`
        is that of the time when it did.
        """
        if self._teams is not None and self._teams.version != self._teams_version:
            self._teams_version = self._teams.version
            self.epoch = object()
        return (
            epoch is self.epoch
            and self._keys.current()
            and time.time() < (principal.expires_at or 0.0)
            and principal.token_id not in self._revoked.found
        )

    async def verify(self, credential: str) -> Principal:
        for _ in range(_FETCHES):
            principal = self.verify_now(credential)
            if principal is not None:
                return principal
            keys = await self._keys.find(*self._header(credential))
            digest = _digest(credential)
            principal = self._verify(credential, digest, keys)
            if self._teams is None:
                return principal
            joined = self._joined(self._teams, digest, principal)
            if joined is not None:
                return joined
            try:
                await self._teams.fetch(principal)
            except StoreUnavailable as exc:
                raise AuthUnavailable(f"the team cannot be read: {exc}") from exc
        raise AuthUnavailable("teams change faster than they can be read")

    def _joined(self, teams: TokenTeams, digest: bytes, principal: Principal) -> Principal | None:
        """Return the principal of a verified token with its team, and cache it. Return None if a
        record has to be fetched. Raise Rejected or AuthUnavailable.
        """
        version = teams.version
        joined = teams.joined(principal)
        if joined is None:
            return None
        if joined == principal:
            joined = principal  # what is cached for it stays valid
        known = self._verified.get(digest)
        if known is not None:
            self._verified[digest] = (known[0], joined, known[2], version)
        return joined

    def _verify(self, token: str, digest: bytes, keys: Sequence[VerificationKey]) -> Principal:
        """Verify a token with these keys, and cache its principal. Raise Rejected."""
        claims = self._claims_by(keys, token)
        # PyJWT accepts a number in a string; RFC 7519 section 2 does not.
        if not all(isinstance(claims.get(name, 0), int | float) for name in _TIMES):
            raise Rejected("exp, nbf or iat is not a number", _MALFORMED)
        if not 0 < claims["exp"] < _FARTHEST_EXPIRY:
            raise Rejected("exp is not a plausible time", _MALFORMED)
        expires_at = float(claims["exp"]) + self._leeway_s
        principal = principal_of(claims, self._claims, self.name, expires_at)
        if principal.token_id in self._revoked.found:
            raise Rejected("revoked", "The token was revoked")
        self._remember(digest, expires_at, principal, len(token))
        return principal

    def _remember(self, digest: bytes, expires_at: float, principal: Principal, size: int) -> None:
        verified = self._verified
        if (old := verified.pop(digest, None)) is not None:  # cached by a concurrent request
            self._verified_characters -= old[2]
        verified[digest] = (expires_at, principal, size, _NOT_JOINED)
        self._verified_characters += size
        while len(verified) > _CACHED_TOKENS or self._verified_characters > _CACHED_CHARACTERS:
            self._verified_characters -= verified.popitem(last=False)[1][2]

    def is_valid(self, principal: Principal) -> bool:
        if principal.token_id in self._revoked.found:
            return False
        if time.time() >= (principal.expires_at or 0.0):
            return False
        return self._teams is None or self._teams.is_valid(principal)

    @property
    def keys(self) -> KeySet:
        """Keys that tokens are verified with."""
        return self._keys

    def forget(self) -> None:
        """Clear the cache, so that every token is verified again."""
        self._verified.clear()
        self._verified_characters = 0
        self.epoch = object()

    def not_ready(self) -> str | None:
        return None if self._keys.ready else "its keys could not be fetched yet"

    def start(self) -> None:
        self._keys.start()
        if self._teams is not None:
            self._teams.start()

    def close(self) -> None:
        self._keys.close()

    def _header(self, token: str) -> tuple[str | None, str]:
        """Return `kid` and `alg` of a well-formed token of this issuer. Raise Rejected."""
        if not _is_canonical(token):
            raise Rejected("not a JWT")
        try:
            said = self._verifier.decode_complete(token, options={"verify_signature": False})
        except jwt.PyJWTError as exc:
            raise Rejected(type(exc).__name__, _MALFORMED, is_ours=False) from exc
        issuer = said["payload"].get("iss")
        if issuer != self._issuer:
            # Do not look for the key of another issuer's token: if keys cannot be fetched, the
            # request would wait for nothing.
            raise Rejected(
                f"not of this issuer: iss is {_shown(issuer)}, expected {_shown(self._issuer)}",
                "The token is of another issuer",
                is_ours=False,
            )
        kid, algorithm = said["header"].get("kid"), said["header"].get("alg")
        if not isinstance(algorithm, str):
            raise Rejected("alg is not a string", _MALFORMED)
        if kid is not None and not (isinstance(kid, str) and len(kid) <= _KID_CAP_CHARACTERS):
            raise Rejected("kid is not a short string", _MALFORMED)
        return kid, algorithm

    def _claims_by(self, keys: Sequence[VerificationKey], token: str) -> Mapping[str, Any]:
        """Return the claims, verified with the first key that matches. Raise Rejected."""
        for key in keys:
            try:
                claims: Mapping[str, Any] = self._verifier.decode(
                    token,
                    key.key,
                    algorithms=[key.algorithm],
                    audience=self._audience,
                    issuer=self._issuer,
                    leeway=self._leeway_s,
                    options={"require": ["exp", "iss", "aud"], "enforce_minimum_key_length": True},
                )
            except jwt.InvalidSignatureError as exc:
                if key is keys[-1]:
                    raise self._rejected(exc, token) from exc
            except jwt.PyJWTError as exc:
                raise self._rejected(exc, token) from exc
            else:
                return claims
        raise Rejected("no key for this token", "The token's key is not known")

    def _rejected(self, exc: jwt.PyJWTError, token: str) -> Rejected:
        """Return the rejection for an error of PyJWT, with the claim that is at fault."""
        reason = type(exc).__name__
        if isinstance(exc, jwt.ExpiredSignatureError):
            expiry = self._verifier.decode(token, options={"verify_signature": False}).get("exp")
            reason += f": exp is {_shown(expiry)}"
        if isinstance(exc, jwt.InvalidAudienceError):
            found = self._verifier.decode(token, options={"verify_signature": False}).get("aud")
            reason += f": aud is {_shown(found)}, expected one of {_shown(list(self._audience))}"
        return Rejected(reason, _TOLD.get(type(exc), _MALFORMED))


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def _shown(value: object) -> str:
    """Return a claim's value for the log."""
    return ascii(value)[:_SHOWN_CHARACTERS]
