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
        most = data.draw(st.sampled_from([7, 1000, MIB]))
        begun = unpacked(unpacking, said[:cut], most=most, final=False)
        assert begun + unpacked(unpacking, said[cut:], most=most) == message


def unpacked(inflater: Inflater, packed: bytes, *, most: int = MIB, final: bool = True) -> bytes:
    """All that a piece holds, taken in bits that are not larger than asked for."""
    inflater.take(packed, final=final)
    data, given = b"", False
    while not given:
        more, given = inflater.give(most)
        assert len(more) <= most
        data += more
    return data


def test_a_bomb_is_unpacked_no_further_than_is_asked_for() -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = packer.compress(bytes(8 * MIB)) + packer.flush(zlib.Z_SYNC_FLUSH)
    inflater = Inflater(agreed("permessage-deflate"))
    inflater.take(bomb[:-4], final=True)
    assert inflater.give(1000) == (bytes(1000), False)
    assert unpacked(Inflater(agreed("permessage-deflate")), bomb[:-4]) == bytes(8 * MIB)


def test_what_is_not_compressed_or_in_too_many_streams_is_refused() -> None:
    terms = agreed("permessage-deflate")
    with pytest.raises(Violation) as garbage:
        unpacked(Inflater(terms), b"\xff\xff\xff")
    assert garbage.value.closing.code == Code.INVALID_TEXT
    with pytest.raises(Violation) as many:
        unpacked(Inflater(terms), b"\x03\x00" * 100)
    assert many.value.closing.code == Code.POLICY


def test_a_stream_that_ends_within_a_message_is_read_on() -> None:
    def packed(data: bytes) -> bytes:
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        return packer.compress(data) + packer.flush()

    unpacking = Inflater(agreed("permessage-deflate"))
    message = packed(b"one ") + packed(b"two") + b"\x00"
    for _ in range(2):
        assert unpacked(unpacking, message) == b"one two"
