"""JSON Web Keys (RFC 7517) as they come from an issuer: which of them may verify what.

The algorithm is pinned to the key, never taken from a token's header (RFC 8725 section 3.1).
Keys that cannot be used safely are left out, with the reason, and do not spoil the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jwt

ASYMMETRIC = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA"),
)
_CURVES = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}
_FAMILIES = {"RSA": ("RS", "PS"), "EC": ("ES",), "OKP": ("EdDSA",)}
_MIN_RSA_BITS = 2048  # RFC 7518 section 3.3
_KEY_CAP = 100


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A public key, or a shared secret, with the one algorithm it is used with."""

    kid: str | None
    algorithm: str
    key: Any


class UnusableKeySet(Exception):
    """What the issuer sent is not a set of keys, or none of them can be used."""


def parse_key_set(
    document: object, algorithms: Sequence[str] = ASYMMETRIC
) -> tuple[list[VerificationKey], list[str]]:
    """The usable keys of a JWK Set, and why each of the others is not.

    `algorithms` are those accepted; the first that fits a key without `alg` is pinned to it.
    Raise UnusableKeySet.
    """
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise UnusableKeySet("not a JWK Set: it has no list of keys")
    keys: list[VerificationKey] = []
    skipped: list[str] = []
    for item in listed[:_KEY_CAP]:
        try:
            keys.append(_parse_key(item, algorithms))
        except (ValueError, TypeError, KeyError, jwt.PyJWTError) as exc:
            skipped.append(str(exc))
    if not keys:
        raise UnusableKeySet(f"no usable key: {'; '.join(skipped) or 'the set is empty'}")
    return keys, skipped


def _parse_key(item: Any, algorithms: Sequence[str]) -> VerificationKey:
    if not isinstance(item, dict):
        raise ValueError("a key is not an object")
    kid = item.get("kid")
    if kid is not None and not isinstance(kid, str):
        raise ValueError("a kid is not a string")
    if item.get("use", "sig") != "sig" or "verify" not in item.get("key_ops", ("verify",)):
        raise ValueError("a key is not for signatures")
    if "d" in item:
        raise ValueError("a private key was published")
    algorithm = _pin(item, algorithms)
    key = jwt.PyJWK(item, algorithm).key
    if getattr(key, "key_size", _MIN_RSA_BITS) < _MIN_RSA_BITS and item["kty"] == "RSA":
        raise ValueError("an RSA key is shorter than 2048 bits")
    return VerificationKey(kid, algorithm, key)


def _pin(item: dict[str, Any], algorithms: Sequence[str]) -> str:
    """The algorithm of a key: what it says, or what its type and curve allow."""
    kind, said = item.get("kty"), item.get("alg")
    families = _FAMILIES.get(str(kind))
    if families is None:
        raise ValueError("a key is neither RSA, EC nor OKP")
    if kind == "EC":
        fitting = [_CURVES.get(str(item.get("crv")), "")]
    else:
        fitting = [name for name in algorithms if name.startswith(families)]
    if said is not None:
        fitting = [said] if said in fitting else []
    for name in fitting:
        if name in algorithms:
            return name
    raise ValueError("a key's algorithm is not accepted")
