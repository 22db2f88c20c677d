"""Which of an issuer's keys may verify what."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from gateway.auth.jwk import UnusableKeySet, parse_key_set

_RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
_CURVES = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}


def rsa_jwk(**fields: Any) -> dict[str, Any]:
    return {**json.loads(RSAAlgorithm.to_jwk(_RSA.public_key())), "kid": "r", **fields}


def weak_jwk() -> dict[str, Any]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505
    return {**json.loads(RSAAlgorithm.to_jwk(key.public_key())), "kid": "weak"}


def ec_jwk(curve: str, **fields: Any) -> dict[str, Any]:
    key = ec.generate_private_key(_CURVES[curve]).public_key()
    return {**json.loads(ECAlgorithm.to_jwk(key)), "kid": curve, **fields}


def ed_jwk(**fields: Any) -> dict[str, Any]:
    key = ed25519.Ed25519PrivateKey.generate().public_key()
    return {**json.loads(OKPAlgorithm.to_jwk(key)), "kid": "ed", **fields}


def pinned(*keys: dict[str, Any], **options: Any) -> list[tuple[str | None, str]]:
    found, _ = parse_key_set({"keys": list(keys)}, **options)
    return [(key.kid, key.algorithm) for key in found]


def skipped(key: object) -> str:
    _, reasons = parse_key_set({"keys": [ed_jwk(), key]})
    (reason,) = reasons
    return reason


def test_a_key_is_pinned_to_what_it_says() -> None:
    assert pinned(rsa_jwk(alg="PS384")) == [("r", "PS384")]


def test_a_key_that_says_nothing_is_pinned_by_its_type() -> None:
    assert pinned(rsa_jwk(), ec_jwk("P-256"), ec_jwk("P-384"), ec_jwk("P-521"), ed_jwk()) == [
        ("r", "RS256"),
        ("P-256", "ES256"),
        ("P-384", "ES384"),
        ("P-521", "ES512"),
        ("ed", "EdDSA"),
    ]


def test_the_first_accepted_algorithm_that_fits_is_pinned() -> None:
    assert pinned(rsa_jwk(), algorithms=("ES256", "PS512", "RS256")) == [("r", "PS512")]


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ({"kty": "oct", "k": "c2VjcmV0", "kid": "o", "alg": "HS256"}, "neither RSA, EC nor OKP"),
        (rsa_jwk(alg="HS256"), "algorithm is not accepted"),
        (rsa_jwk(alg="none"), "algorithm is not accepted"),
        (rsa_jwk(use="enc"), "not for signatures"),
        (rsa_jwk(key_ops=["encrypt"]), "not for signatures"),
        (rsa_jwk(d="AQAB"), "a private key was published"),
        (weak_jwk(), "shorter than 2048 bits"),
        (rsa_jwk(n="!"), ""),
        (ec_jwk("P-256", alg="ES384"), "algorithm is not accepted"),
        (ec_jwk("P-256", crv="P-999"), "algorithm is not accepted"),
        (ec_jwk("P-256", x="AAAA"), ""),
        (rsa_jwk(kid=7), "kid is not a string"),
        ("key", "not an object"),
    ],
)
def test_a_key_that_cannot_be_used_safely_does_not_spoil_the_others(
    key: object, reason: str
) -> None:
    assert reason in skipped(key)


@pytest.mark.parametrize("document", [None, [], {}, {"keys": {}}, {"keys": []}, {"keys": [1]}])
def test_a_set_without_a_usable_key_is_refused(document: object) -> None:
    with pytest.raises(UnusableKeySet):
        parse_key_set(document)


@given(
    st.recursive(
        st.none() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    )
)
def test_any_document_is_keys_or_refused(document: object) -> None:
    with pytest.raises(UnusableKeySet):
        parse_key_set({"keys": [document]})
