"""Keys that wrap the data keys of files."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from gateway.prompt_audit.data_keys import (
    BadKey,
    NoKey,
    PrivateKey,
    PublicKey,
    SecretKey,
    WrappingKey,
    unwrap_by,
    wrap_for,
)

DATA_KEY = bytes(range(32))
SECRET = bytes(range(200, 232))
_PEM = serialization.Encoding.PEM
_PLAIN = serialization.NoEncryption()


def pair(
    key: X25519PrivateKey | rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, password: bytes = b""
) -> tuple[bytes, bytes]:
    """Return the PEM of a private key, and of its public key."""
    sealing = serialization.BestAvailableEncryption(password) if password else _PLAIN
    private = key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, sealing)
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return private, key.public_key().public_bytes(_PEM, form)


def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@pytest.mark.parametrize(
    "text",
    [
        SECRET.hex().encode(),
        SECRET.hex().encode() + b"\n",
        base64.b64encode(SECRET),
        base64.urlsafe_b64encode(SECRET).rstrip(b"="),
    ],
)
def test_a_secret_is_given_in_hexadecimal_digits_or_base64(text: bytes) -> None:
    assert SecretKey.parse("k", text).secret == SECRET


@pytest.mark.parametrize("text", [b"", b"short", b"z" * 64, base64.b64encode(bytes(31)), b"\xff"])
def test_a_secret_of_another_length_is_told_and_not_repeated(text: bytes) -> None:
    with pytest.raises(BadKey, match="is not 32 bytes") as caught:
        SecretKey.parse("k", text)
    assert text.decode("latin-1") not in str(caught.value) or not text


@pytest.mark.parametrize(
    "make", [X25519PrivateKey.generate, lambda: rsa.generate_private_key(65537, 2048)]
)
def test_what_a_public_key_wraps_only_its_private_key_opens(make: object) -> None:
    assert callable(make)
    private, public = pair(make())
    wrapped = wrap_for([PublicKey.parse("p", public)], DATA_KEY)
    assert unwrap_by([PrivateKey.parse(private)], wrapped) == DATA_KEY
    stranger = PrivateKey.parse(pair(make())[0])
    with pytest.raises(NoKey, match="needs one of the keys: p"):
        unwrap_by([stranger, SecretKey("p", SECRET)], wrapped)


def test_any_of_several_keys_opens() -> None:
    x, r = pair(X25519PrivateKey.generate()), pair(rsa_key())
    secret = SecretKey("s", SECRET)
    keys: list[WrappingKey] = [PublicKey.parse("x", x[1]), PublicKey.parse("r", r[1]), secret]
    wrapped = wrap_for(keys, DATA_KEY)
    for key in (PrivateKey.parse(x[0]), PrivateKey.parse(r[0]), secret):
        assert unwrap_by([key], wrapped) == DATA_KEY


def test_an_id_whose_secret_was_exchanged_is_told() -> None:
    wrapped = wrap_for([SecretKey("k", SECRET)], DATA_KEY)
    with pytest.raises(NoKey, match="another key with the id 'k'"):
        unwrap_by([SecretKey("k", bytes(32))], wrapped)
    # The right one may be among the others.
    assert unwrap_by([SecretKey("k", bytes(32)), SecretKey("k", SECRET)], wrapped) == DATA_KEY


def test_a_private_key_may_have_a_password() -> None:
    private, public = pair(X25519PrivateKey.generate(), b"pass")
    wrapped = wrap_for([PublicKey.parse("p", public)], DATA_KEY)
    assert unwrap_by([PrivateKey.parse(private, b"pass")], wrapped) == DATA_KEY
    with pytest.raises(BadKey, match="or its password is wrong"):
        PrivateKey.parse(private, b"word")


def test_keys_of_other_kinds_are_refused() -> None:
    private, public = pair(ec.generate_private_key(ec.SECP256R1()))
    small = rsa.generate_private_key(65537, 1024)  # noqa: S505
    with pytest.raises(BadKey, match="neither an X25519 nor an RSA key"):
        PublicKey.parse("p", public)
    with pytest.raises(BadKey, match="neither an X25519 nor an RSA key"):
        PrivateKey.parse(private)
    with pytest.raises(BadKey, match="less than 2048 bits"):
        PublicKey.parse("p", pair(small)[1])
    with pytest.raises(BadKey, match="no public key in PEM form"):
        PublicKey.parse("p", b"nothing")


def test_secrets_are_not_shown() -> None:
    assert SECRET.hex() not in repr(SecretKey("k", SECRET))
    assert repr(SECRET) not in repr(SecretKey("k", SECRET))
