"""Check of a public key in PEM form: its kind and size must fit the algorithm (RFC 7518)."""

from __future__ import annotations

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

_MIN_RSA_BITS = 2048  # RFC 7518 section 3.3
_KINDS: dict[str, type | tuple[type, ...]] = {
    "RS": RSAPublicKey,
    "PS": RSAPublicKey,
    "ES": EllipticCurvePublicKey,
    "Ed": (Ed25519PublicKey, Ed448PublicKey),
}
_CURVES = {"ES256": "secp256r1", "ES384": "secp384r1", "ES512": "secp521r1"}


def key_fault(algorithm: str, value: bytes) -> str | None:
    """Return what is wrong with the key of an algorithm, or None."""
    try:
        key = load_pem_public_key(value)
    except (ValueError, UnsupportedAlgorithm):
        return "is not a public key in PEM form"
    kind, curve = _KINDS[algorithm[:2]], _CURVES.get(algorithm)
    if not isinstance(key, kind):
        return f"is not of the kind {algorithm} needs"
    if isinstance(key, RSAPublicKey) and key.key_size < _MIN_RSA_BITS:
        return f"is shorter than {_MIN_RSA_BITS} bits"
    if isinstance(key, EllipticCurvePublicKey) and key.curve.name != curve:
        return f"is on another curve than {algorithm} needs"
    return None
