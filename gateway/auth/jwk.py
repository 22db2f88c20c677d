"""Parser for an issuer's JSON Web Keys (RFC 7517): which keys may verify which signatures.

The algorithm is pinned to the key, and never taken from a token's header (RFC 8725 section 3.1).
Keys that cannot be used safely are skipped with a reason; the other keys remain usable.
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
    """Public key or shared secret, with the only algorithm that it may be used with."""

    kid: str | None
    algorithm: str
    key: Any


class UnusableKeySet(Exception):
    """The issuer's response is not a set of keys, or none of its keys can be used."""


def parse_key_set(
    document: object, algorithms: Sequence[str] = ASYMMETRIC
) -> tuple[list[VerificationKey], list[str]]:
    """Return the usable keys of a JWK Set, and the reason for each key that is skipped.

    `algorithms` are the accepted ones. A key without `alg` gets the first one that fits. Keys after
    the first 100 are ignored. Raise UnusableKeySet.
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
    """Return the algorithm of a key: its `alg`, or the first one that its type and curve allow.
    Raise ValueError if it is not accepted.
    """
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
