"""Opening handshake (RFC 6455 section 4) with the client and with the upstream. No I/O.

Only version 13 is supported. The gateway makes its own handshake with the upstream: it passes on
the client's subprotocols, but not its key, extensions and Origin.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
from collections.abc import Collection
from dataclasses import dataclass

from multidict import CIMultiDict, MultiMapping

from gateway.errors import (
    OriginNotAllowed,
    RequestError,
    UpstreamInvalidResponse,
    WebSocketVersion,
)
from gateway.http.request_target import is_origin_of
from gateway.session import SessionState
from gateway.upstream.head import RawHeader
from gateway.websocket.deflate import Deflate, agree

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_KEY_IN_PROTOCOL = "openai-insecure-api-key."
"""Prefix of a subprotocol that holds a credential of OpenAI's browser SDK. Never passed on."""
_PROTOCOLS_CAP = 32
_OURS = (b"sec-websocket-", b"content-", b"date")
"""Header prefixes that belong to the upstream's handshake only and are not passed on."""
_ANY = "*"


@dataclass(frozen=True, slots=True)
class Handshake:
    """Validated handshake of a client, and the gateway's own handshake with the upstream."""

    accept: str
    """Value of Sec-WebSocket-Accept for the client."""
    protocols: tuple[str, ...]
    """Subprotocols that the client offers and that are passed on."""
    deflate: Deflate | None
    """Compression between client and gateway; None for no compression."""
    key: str
    """Value of Sec-WebSocket-Key for the upstream."""

    @property
    def lines(self) -> bytes:
        """Header lines that make the request to the upstream a handshake."""
        fields = (
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {self.key}\r\n"
        )
        if self.protocols:
            fields += f"Sec-WebSocket-Protocol: {', '.join(self.protocols)}\r\n"
        return fields.encode()


def handshake_of(session: SessionState | None) -> Handshake:
    """Return the handshake of a WebSocket request, which `read_handshake` has read."""
    assert session is not None
    assert isinstance(session.opening, Handshake)
    return session.opening


def read_handshake(
    headers: MultiMapping[str], *, origins: Collection[str], deflate: bool
) -> Handshake:
    """Validate a client's upgrade request. Raise RequestError.

    `origins` are the web origins allowed to connect from a browser. If it is empty, only pages of
    the requested host may connect. `deflate`: accept compression.
    """
    if headers.get("Upgrade", "").strip().lower() != "websocket":
        raise RequestError("Only upgrades to websocket are served.", code="upgrade_refused")
    if headers.get("Sec-WebSocket-Version", "").strip() != "13":
        raise WebSocketVersion
    keys = headers.getall("Sec-WebSocket-Key", [])
    if len(keys) != 1 or not _is_key(keys[0].strip()):
        raise RequestError(
            "Sec-WebSocket-Key has to be 16 bytes in base64.", code="invalid_handshake"
        )
    for origin in headers.getall("Origin", []):
        if not _may_call(origin, headers["Host"], origins):
            raise OriginNotAllowed
    offers = ", ".join(headers.getall("Sec-WebSocket-Extensions", []))
    return Handshake(
        _accept(keys[0].strip()),
        _protocols(", ".join(headers.getall("Sec-WebSocket-Protocol", []))),
        agree(offers) if deflate else None,
        base64.b64encode(os.urandom(16)).decode(),
    )


def read_answer(handshake: Handshake, fields: list[RawHeader]) -> CIMultiDict[str]:
    """Return the response headers for the client, once the upstream has switched protocols.

    `fields` are the upstream's headers. Raise UpstreamInvalidResponse if they do not match the
    gateway's handshake.
    """
    said = CIMultiDict((name.decode("latin-1"), value.decode("latin-1")) for name, value in fields)
    if said.getall("Sec-WebSocket-Accept", []) != [_accept(handshake.key)]:
        raise UpstreamInvalidResponse("Sec-WebSocket-Accept is not that of our key")
    if "Sec-WebSocket-Extensions" in said:
        raise UpstreamInvalidResponse("an extension nobody offered")
    protocols = said.getall("Sec-WebSocket-Protocol", [])
    if len(protocols) > 1 or not set(protocols) <= set(handshake.protocols):
        raise UpstreamInvalidResponse("a subprotocol nobody offered")
    answer = answer_of_ours(handshake, protocols[0] if protocols else None)
    answer.extend(
        (name, value) for name, value in said.items() if not name.lower().encode().startswith(_OURS)
    )
    return answer


def answer_of_ours(handshake: Handshake, protocol: str | None = None) -> CIMultiDict[str]:
    """Return the response headers for the client. `protocol` is a subprotocol that it offers."""
    answer = CIMultiDict(
        {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Accept": handshake.accept,
        }
    )
    if protocol is not None:
        answer["Sec-WebSocket-Protocol"] = protocol
    if handshake.deflate is not None:
        answer["Sec-WebSocket-Extensions"] = handshake.deflate.answer
    return answer


def _may_call(origin: str, host: str, origins: Collection[str]) -> bool:
    if origins:
        return _ANY in origins or origin in origins
    return is_origin_of(origin, host)


def _protocols(text: str) -> tuple[str, ...]:
    if not text:
        return ()
    names = [name.strip() for name in text.split(",")]
    if len(names) > _PROTOCOLS_CAP or not all(_TOKEN.fullmatch(name) for name in names):
        raise RequestError(
            "Sec-WebSocket-Protocol holds no list of names.", code="invalid_handshake"
        )
    return tuple(name for name in names if not name.startswith(_KEY_IN_PROTOCOL))


def _is_key(key: str) -> bool:
    try:
        return len(base64.b64decode(key, validate=True)) == 16
    except (binascii.Error, ValueError):
        return False


def _accept(key: str) -> str:
    return base64.b64encode(hashlib.sha1(key.encode() + _GUID).digest()).decode()  # noqa: S324
