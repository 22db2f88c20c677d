"""RS256 key of a benchmark run, as every peer wants it, and the caller's token."""

from __future__ import annotations

import json
import time
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

ISSUER = AUDIENCE = "bench"
_KEY_ID = "k1"
_LIFETIME_S = 12 * 3600


@cache
def _key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def public_pem() -> bytes:
    """Return the public key in PEM."""
    return (
        _key()
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def jwks() -> str:
    """Return the public key as a JSON Web Key Set (RFC 7517)."""
    key: dict[str, Any] = jwt.algorithms.RSAAlgorithm.to_jwk(_key().public_key(), as_dict=True)
    return json.dumps({"keys": [{**key, "kid": _KEY_ID, "alg": "RS256", "use": "sig"}]})


def bearer(**more: str) -> str:
    """Return a token that peers with policies accept. `more` are other claims."""
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "load", "exp": int(time.time()) + _LIFETIME_S}
    return jwt.encode({**claims, **more}, _key(), algorithm="RS256", headers={"kid": _KEY_ID})
