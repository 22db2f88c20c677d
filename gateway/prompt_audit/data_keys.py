"""Keys of sealed files. Each file has a data key of its own, which is wrapped by keys of the
configuration: by a shared secret, or by a public key whose private key the gateway does not have.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES = 32
_NONCE_BYTES = 12
_PURPOSE = b"llm-gateway prompt audit: data key"
_LEAST_RSA_BITS = 2048
_OAEP = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), _PURPOSE)
_BY_SECRET, _BY_X25519, _BY_RSA = "A256GCM", "X25519-HKDF-SHA256-A256GCM", "RSA-OAEP-SHA256"

Wrapped = dict[str, str]
"""A data key as one configured key wrapped it: `key`, the id of that key, `wrap`, the method, and
values in base64.
"""


class BadKey(ValueError):
    """Key that cannot be used. The message says why, and does not repeat the key."""


class NoKey(Exception):
    """No given key opens a file. The message names the keys that would."""


class WrappingKey(Protocol):
    """Key that data keys are wrapped with."""

    @property
    def id(self) -> str:
        """Name of the key in the configuration."""

    def wrap(self, data_key: bytes) -> Wrapped:
        """Return the data key, wrapped."""


class OpeningKey(Protocol):
    """Key that opens what it, or its public key, wrapped."""

    def unwrap(self, wrapped: Mapping[str, str]) -> bytes | None:
        """Return the data key; None if this key did not wrap it. Raise NoKey if its value differs
        from the one that wrapped it.
        """


@dataclass(frozen=True, slots=True)
class SecretKey:
    """Shared secret of 32 bytes: it wraps and opens."""

    id: str
    secret: bytes = field(repr=False)

    @classmethod
    def parse(cls, key_id: str, text: bytes) -> SecretKey:
        """Return the key that is given as 64 hexadecimal digits or in base64. Raise BadKey."""
        text = text.strip()
        try:
            if len(text) == 2 * KEY_BYTES:
                return cls(key_id, binascii.unhexlify(text))
            padded = text.rstrip(b"=").translate(bytes.maketrans(b"-_", b"+/"))
            secret = base64.b64decode(padded + b"=" * (-len(padded) % 4), validate=True)
        except (binascii.Error, ValueError):
            secret = b""
        if len(secret) != KEY_BYTES:
            raise BadKey("is not 32 bytes in base64 or hexadecimal: see `openssl rand -hex 32`")
        return cls(key_id, secret)

    def wrap(self, data_key: bytes) -> Wrapped:
        nonce = os.urandom(_NONCE_BYTES)
        sealed = AESGCM(self.secret).encrypt(nonce, data_key, _PURPOSE)
        return {"key": self.id, "wrap": _BY_SECRET, "data": _text(nonce + sealed)}

    def unwrap(self, wrapped: Mapping[str, str]) -> bytes | None:
        if wrapped["key"] != self.id or wrapped["wrap"] != _BY_SECRET:
            return None
        data = _bytes(wrapped["data"])
        return _opened(self.secret, data[:_NONCE_BYTES], data[_NONCE_BYTES:], self.id)


@dataclass(frozen=True, slots=True)
class PublicKey:
    """Public key, X25519 or RSA: it wraps, and cannot open."""

    id: str
    key: X25519PublicKey | rsa.RSAPublicKey

    @classmethod
    def parse(cls, key_id: str, pem: bytes) -> PublicKey:
        """Return the key of a PEM file. Raise BadKey."""
        try:
            key = serialization.load_pem_public_key(pem)
        except Exception as exc:  # the library raises several kinds
            raise BadKey("is no public key in PEM form") from exc
        if isinstance(key, rsa.RSAPublicKey):
            if key.key_size < _LEAST_RSA_BITS:
                raise BadKey(f"is an RSA key of less than {_LEAST_RSA_BITS} bits")
        elif not isinstance(key, X25519PublicKey):
            raise BadKey("is neither an X25519 nor an RSA key")
        return cls(key_id, key)

    def wrap(self, data_key: bytes) -> Wrapped:
        if isinstance(self.key, rsa.RSAPublicKey):
            sealed = self.key.encrypt(data_key, _OAEP)
            return {"key": self.id, "wrap": _BY_RSA, "data": _text(sealed)}
        own = X25519PrivateKey.generate()
        public = own.public_key().public_bytes_raw()
        secret = _agreed(own.exchange(self.key), public, self.key.public_bytes_raw())
        # The secret is new for each file, so a constant nonce is used once with it.
        sealed = AESGCM(secret).encrypt(bytes(_NONCE_BYTES), data_key, _PURPOSE)
        return {
            "key": self.id,
            "wrap": _BY_X25519,
            "ephemeral": _text(public),
            "data": _text(sealed),
        }


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """Private key. It tries every data key that was wrapped by its method, whatever the id."""

    key: X25519PrivateKey | rsa.RSAPrivateKey

    @classmethod
    def parse(cls, pem: bytes, password: bytes | None = None) -> PrivateKey:
        """Return the key of a PEM file. Raise BadKey."""
        try:
            key = serialization.load_pem_private_key(pem, password)
        except Exception as exc:  # the library raises several kinds
            raise BadKey("is no private key in PEM form, or its password is wrong") from exc
        if not isinstance(key, X25519PrivateKey | rsa.RSAPrivateKey):
            raise BadKey("is neither an X25519 nor an RSA key")
        return cls(key)

    def unwrap(self, wrapped: Mapping[str, str]) -> bytes | None:
        key = self.key
        try:
            if isinstance(key, rsa.RSAPrivateKey):
                return (
                    key.decrypt(_bytes(wrapped["data"]), _OAEP) if _is(wrapped, _BY_RSA) else None
                )
            if not _is(wrapped, _BY_X25519):
                return None
            public = _bytes(wrapped["ephemeral"])
            agreed = key.exchange(X25519PublicKey.from_public_bytes(public))
            secret = _agreed(agreed, public, key.public_key().public_bytes_raw())
            return AESGCM(secret).decrypt(bytes(_NONCE_BYTES), _bytes(wrapped["data"]), _PURPOSE)
        except (InvalidTag, ValueError):
            return None  # it was wrapped by another key


def wrap_for(keys: Iterable[WrappingKey], data_key: bytes) -> list[Wrapped]:
    """Return the data key, wrapped by each of the keys: any of them opens the file."""
    return [key.wrap(data_key) for key in keys]


def unwrap_by(keys: Sequence[OpeningKey], wrapped: Sequence[Mapping[str, Any]]) -> bytes:
    """Return the data key of a file. Raise NoKey."""
    names = ", ".join(str(one["key"]) for one in wrapped)
    failure = NoKey(f"needs one of the keys: {names}")
    for one in wrapped:
        for key in keys:
            try:
                data_key = key.unwrap(one)
            except NoKey as exc:
                failure = exc
                continue
            if data_key is not None:
                return data_key
    raise failure


def _is(wrapped: Mapping[str, str], method: str) -> bool:
    return wrapped["wrap"] == method


def _agreed(shared: bytes, ephemeral: bytes, recipient: bytes) -> bytes:
    """Return the key of one wrapping (RFC 5869), bound to both public keys."""
    derive = HKDF(hashes.SHA256(), KEY_BYTES, salt=ephemeral + recipient, info=_PURPOSE)
    return derive.derive(shared)


def _opened(secret: bytes, nonce: bytes, sealed: bytes, key_id: str) -> bytes:
    try:
        return AESGCM(secret).decrypt(nonce, sealed, _PURPOSE)
    except (InvalidTag, ValueError):
        raise NoKey(f"was sealed by another key with the id '{key_id}'") from None


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
