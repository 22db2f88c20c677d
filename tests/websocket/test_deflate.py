"""permessage-deflate: what is agreed on, and that both sides keep to it."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode

from gateway.websocket.codes import Code, Violation
from gateway.websocket.deflate import Deflate, Deflater, Inflater, agree

MIB = 1024 * 1024


def agreed(offer: str) -> Deflate:
    found = agree(offer)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("offer", "answer"),
    [
        ("permessage-deflate", "permessage-deflate; server_max_window_bits=12"),
        (
            "permessage-deflate; client_max_window_bits",
            "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12",
        ),
        (
            'permessage-deflate; client_max_window_bits="10"; server_max_window_bits=9',
            "permessage-deflate; server_max_window_bits=9; client_max_window_bits=10",
        ),
        (
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover; "
            "server_max_window_bits=12",
        ),
        (
            "x-other, permessage-deflate; server_max_window_bits=8, permessage-deflate",
            "permessage-deflate; server_max_window_bits=12",
        ),
    ],
)
def test_an_offer_that_can_be_kept_is_taken(offer: str, answer: str) -> None:
    assert agreed(offer).answer == answer


@pytest.mark.parametrize(
    "offer",
    [
        "",
        "x-webkit-deflate-frame",
        "permessage-deflate; unknown",
        "permessage-deflate; server_no_context_takeover=1",
        "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; server_max_window_bits=7",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; client_max_window_bits=08",
    ],
)
def test_another_offer_is_passed_over(offer: str) -> None:
    assert agree(offer) is None


@given(
    st.lists(st.binary(max_size=2000) | st.integers(0, 60_000).map(bytes), max_size=6),
    st.sampled_from(["", "; server_no_context_takeover; client_no_context_takeover"]),
    st.data(),
)
def test_another_library_and_ours_understand_each_other(
    messages: list[bytes], more: str, data: st.DataObject
) -> None:
    terms = agreed(f"permessage-deflate; client_max_window_bits{more}")
    forgets = bool(more)
    theirs = PerMessageDeflate(forgets, forgets, 12, 12)
    packing, unpacking = Deflater(terms), Inflater(terms)
    for message in messages:
        cut = data.draw(st.integers(0, len(message)))
        packed = packing.feed(message[:cut], final=False) + packing.feed(message[cut:], final=True)
        got = theirs.decode(Frame(Opcode.BINARY, packed, rsv1=True))
        assert got.data == message
        said = bytes(theirs.encode(Frame(Opcode.BINARY, message)).data)
        cut = data.draw(st.integers(0, len(said)))
        pieces = [
            unpacking.feed(said[:cut], final=False, cap_bytes=MIB),
            unpacking.feed(said[cut:], final=True, cap_bytes=MIB),
        ]
        assert None not in pieces
        assert b"".join(piece or b"" for piece in pieces) == message


def test_no_more_is_unpacked_than_may_be() -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = packer.compress(bytes(64 * MIB)) + packer.flush(zlib.Z_SYNC_FLUSH)
    terms = agreed("permessage-deflate")
    assert Inflater(terms).feed(bomb[:-4], final=True, cap_bytes=64 * MIB) == bytes(64 * MIB)
    assert Inflater(terms).feed(bomb[:-4], final=True, cap_bytes=64 * MIB - 1) is None
    assert Inflater(terms).feed(bomb[:-4], final=True, cap_bytes=0) is None


def test_what_is_not_compressed_or_in_too_many_streams_is_refused() -> None:
    terms = agreed("permessage-deflate")
    with pytest.raises(Violation) as garbage:
        Inflater(terms).feed(b"\xff\xff\xff", final=True, cap_bytes=MIB)
    assert garbage.value.closing.code == Code.INVALID_TEXT
    with pytest.raises(Violation) as many:
        Inflater(terms).feed(b"\x03\x00" * 100, final=True, cap_bytes=MIB)
    assert many.value.closing.code == Code.POLICY


def test_a_stream_that_ends_within_a_message_is_read_on() -> None:
    def packed(data: bytes) -> bytes:
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        return packer.compress(data) + packer.flush()

    unpacking = Inflater(agreed("permessage-deflate"))
    message = packed(b"one ") + packed(b"two") + b"\x00"
    for _ in range(2):
        assert unpacking.feed(message, final=True, cap_bytes=MIB) == b"one two"
