"""The handshake: what a client may ask for, and what an upstream may answer."""

from __future__ import annotations

from typing import Any

import pytest
from multidict import CIMultiDict

from gateway.errors import GatewayError, UpstreamInvalidResponse
from gateway.websocket.handshake import Handshake, read_answer, read_handshake

KEY, ACCEPT = "dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
"""RFC 6455 section 1.3."""
ASKED = {
    "Host": "llm.test",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": KEY,
}


def shake(*more: tuple[str, str], origins: tuple[str, ...] = (), **changed: Any) -> Handshake:
    headers = CIMultiDict({**ASKED, **changed})
    for name, value in more:
        headers.add(name, value)
    return read_handshake(headers, origins=origins, deflate=True)


def answer(handshake: Handshake, *fields: tuple[bytes, bytes]) -> CIMultiDict[str]:
    own = Handshake(ACCEPT, handshake.protocols, handshake.deflate, KEY)
    return read_answer(own, [(b"Sec-WebSocket-Accept", ACCEPT.encode()), *fields])


def test_the_example_of_the_rfc() -> None:
    handshake = shake()
    assert handshake.accept == ACCEPT
    said = answer(handshake)
    assert said["sec-websocket-accept"] == ACCEPT
    assert said["upgrade"] == "websocket"
    assert b"\r\nSec-WebSocket-Key: " in handshake.lines


def test_every_session_has_a_key_of_its_own() -> None:
    assert len({shake().key for _ in range(20)}) == 20


def test_subprotocols_go_on_but_for_a_credential() -> None:
    handshake = shake(
        ("Sec-WebSocket-Protocol", "realtime, openai-insecure-api-key.sk-1"),
        ("Sec-WebSocket-Protocol", "beta"),
    )
    assert handshake.protocols == ("realtime", "beta")
    assert b"Sec-WebSocket-Protocol: realtime, beta\r\n" in handshake.lines
    assert b"sk-1" not in handshake.lines
    assert answer(handshake, (b"sec-websocket-protocol", b"beta"))["Sec-WebSocket-Protocol"] == (
        "beta"
    )
    with pytest.raises(UpstreamInvalidResponse):
        answer(handshake, (b"sec-websocket-protocol", b"other"))


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ((("Sec-WebSocket-Key", KEY),), "invalid_handshake"),
        ((("Sec-WebSocket-Protocol", "a b"),), "invalid_handshake"),
        ((("Sec-WebSocket-Protocol", "a,,b"),), "invalid_handshake"),
        ((("Sec-WebSocket-Protocol", "a\r\nX: y"),), "invalid_handshake"),
        ((("Sec-WebSocket-Protocol", ",".join("x" * 40)),), "invalid_handshake"),
        ((("Origin", "http://llm.test"), ("Origin", "http://evil.test")), "origin_not_allowed"),
    ],
)
def test_what_makes_no_handshake_is_refused(more: tuple[tuple[str, str], ...], code: str) -> None:
    with pytest.raises(GatewayError) as refused:
        shake(*more)
    assert refused.value.code == code


def test_compression_is_answered_by_us_whatever_the_upstream_does() -> None:
    handshake = shake(("Sec-WebSocket-Extensions", "permessage-deflate"))
    assert answer(handshake)["Sec-WebSocket-Extensions"].startswith("permessage-deflate")
    assert "Extensions" not in handshake.lines.decode()
    with pytest.raises(UpstreamInvalidResponse):
        answer(handshake, (b"Sec-WebSocket-Extensions", b"permessage-deflate"))
