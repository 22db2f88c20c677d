"""Frames: whatever the cuts, what was said is read; and what is read is bounded."""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame as Reference
from websockets.frames import Opcode
from websockets.streams import StreamReader

from gateway.websocket.codes import Closing, Violation
from gateway.websocket.deflate import Deflater, Inflater, agree
from gateway.websocket.frames import (
    BINARY,
    CONTINUATION,
    PING,
    TEXT,
    TURN_WORK,
    FrameReader,
    frame,
    masked,
)

KIB = 1024


@dataclass
class Heard:
    """A sink that puts messages together again."""

    messages: list[tuple[int, bytes]] = field(default_factory=list)
    controls: list[tuple[int, bytes]] = field(default_factory=list)
    pieces: list[int] = field(default_factory=list)
    open: bytearray | None = None

    def piece(self, opcode: int, payload: bytes, first: bool, final: bool) -> None:
        assert first is (self.open is None)
        self.open = bytearray() if self.open is None else self.open
        self.open += payload
        self.pieces.append(len(payload))
        if final:
            self.messages.append((opcode, bytes(self.open)))
            self.open = None

    def control(self, opcode: int, payload: bytes) -> None:
        self.controls.append((opcode, payload))


def reader(sink: Heard, *, client: bool = True, cap: int = 1024 * KIB) -> FrameReader:
    return FrameReader(sink, masked=client, max_message_bytes=cap)


def read(reading: FrameReader, data: bytes) -> int:
    """Feed data, and go on until nothing is left; how many turns that takes."""
    reading.feed(data)
    turns = 1
    while reading.left and not reading.held:
        reading.feed(b"")
        turns += 1
    return turns


messages = st.lists(
    st.one_of(
        st.tuples(st.just(TEXT), st.text(max_size=200).map(str.encode)),
        st.tuples(st.just(BINARY), st.binary(max_size=300)),
        st.tuples(st.just(BINARY), st.integers(65000, 70000).map(bytes)),
    ),
    max_size=6,
)


@given(messages, st.booleans(), st.lists(st.integers(1, 90_000), max_size=12), st.data())
def test_messages_are_read_as_they_were_said_however_they_are_cut(
    said: list[tuple[int, bytes]], client: bool, cuts: list[int], data: st.DataObject
) -> None:
    wire = b""
    for opcode, payload in said:
        ends = sorted(data.draw(st.lists(st.integers(0, len(payload)), max_size=3)))
        bounds = [0, *ends, len(payload)]
        for number, (start, end) in enumerate(itertools.pairwise(bounds)):
            wire += frame(
                opcode if number == 0 else CONTINUATION,
                payload[start:end],
                fin=number == len(bounds) - 2,
                mask=client,
            )
            wire += frame(PING, b"between", mask=client)
    heard = Heard()
    reading = reader(heard, client=client)
    at = 0
    for cut in [*cuts, len(wire)]:
        read(reading, wire[at : at + cut])
        at += cut
    assert heard.messages == said
    assert all(control == (PING, b"between") for control in heard.controls)


@given(st.binary(max_size=70_000), st.booleans())
def test_what_is_framed_is_what_another_library_reads(payload: bytes, mask: bool) -> None:
    stream = StreamReader()
    stream.feed_data(frame(BINARY, payload, mask=mask))
    parsing = Reference.parse(stream.read_exact, mask=mask)
    with pytest.raises(StopIteration) as done:
        next(parsing)
    assert done.value.value == Reference(Opcode.BINARY, payload)


@given(st.binary(), st.binary(min_size=4, max_size=4))
def test_a_mask_taken_off_leaves_what_was_there(data: bytes, key: bytes) -> None:
    assert masked(masked(data, key), key) == data


@given(st.binary(max_size=400), st.booleans())
def test_whatever_comes_is_read_or_refused(data: bytes, client: bool) -> None:
    whole, bytewise = Heard(), Heard()
    outcomes: list[Closing | None] = []
    for heard, step in ((whole, len(data) or 1), (bytewise, 1)):
        reading = reader(heard, client=client, cap=64)
        try:
            for at in range(0, len(data), step):
                read(reading, data[at : at + step])
        except Violation as violation:
            outcomes.append(violation.closing)
        else:
            outcomes.append(None)
    assert outcomes[0] == outcomes[1]
    assert (whole.messages, whole.controls) == (bytewise.messages, bytewise.controls)


@pytest.mark.parametrize("segment", [1400, 30 * KIB, 100 * KIB])
def test_a_large_frame_is_handed_on_in_pieces_of_64_kib_whatever_the_segments(
    segment: int,
) -> None:
    for size, pieces in ((64 * KIB, 1), (64 * KIB + 1, 2), (700 * KIB, 11)):
        heard = Heard()
        reading = reader(heard)
        payload = os.urandom(size)
        wire = frame(BINARY, payload, mask=True)
        for at in range(0, len(wire), segment):
            read(reading, wire[at : at + segment])
        assert heard.messages == [(BINARY, payload)]
        assert len(heard.pieces) <= pieces
        assert min(heard.pieces[:-1], default=64 * KIB) >= 64 * KIB


def test_one_turn_reads_a_few_small_frames_and_leaves_the_rest() -> None:
    heard = Heard()
    reading = reader(heard)
    reading.feed(frame(TEXT, b"x", mask=True) * 1000)
    assert len(heard.messages) == TURN_WORK
    assert reading.left
    turns = 1 + read(reading, b"")
    assert turns == 1 + 1000 // TURN_WORK
    assert heard.messages == 1000 * [(TEXT, b"x")]


def test_one_turn_unpacks_a_few_pieces_of_compressed_messages() -> None:
    terms = agree("permessage-deflate")
    assert terms is not None
    heard = Heard()
    reading = FrameReader(
        heard, masked=True, max_message_bytes=1024 * KIB, inflater=Inflater(terms)
    )
    deflater = Deflater(terms)
    text = 1000 * KIB * b"x"
    for _ in range(3):
        reading.feed(frame(TEXT, deflater.feed(text, final=True), packed=True, mask=True))
        assert sum(heard.pieces) <= 64 * KIB
        read(reading, b"")
        assert heard.messages.pop() == (TEXT, text)
        heard.pieces.clear()


def test_what_is_held_is_read_later_and_nothing_is_lost() -> None:
    heard = Heard()
    reading = reader(heard)
    wire = b"".join(frame(TEXT, b"%d" % n, mask=True) for n in range(10))
    reading.held = True
    for at in range(0, len(wire), 7):
        read(reading, wire[at : at + 7])
    assert heard.messages == []
    reading.held = False
    read(reading, b"")
    assert heard.messages == [(TEXT, b"%d" % n) for n in range(10)]


def test_nothing_is_read_after_a_close_frame() -> None:
    heard = Heard()
    read(reader(heard), frame(8, b"", mask=True) + b"\xff\xff\xff")
    assert heard.controls == [(8, b"")]


def test_what_is_compressed_is_unpacked_while_it_is_taken() -> None:
    terms = agree("permessage-deflate")
    assert terms is not None
    heard = Heard()
    reading = FrameReader(
        heard, masked=True, max_message_bytes=1024 * KIB, inflater=Inflater(terms)
    )
    text = 300 * KIB * b"x"
    wire = frame(TEXT, Deflater(terms).feed(text, final=True), packed=True, mask=True)
    reading.held = True
    read(reading, wire + frame(TEXT, b"next", mask=True))
    assert heard.pieces == []
    reading.held = False
    read(reading, b"")
    assert heard.messages == [(TEXT, text), (TEXT, b"next")]
    assert max(heard.pieces) == 64 * KIB
    with pytest.raises(Violation):
        read(
            reading,
            frame(
                TEXT,
                Deflater(terms).feed(2 * 1024 * KIB * b"x", final=True),
                packed=True,
                mask=True,
            ),
        )
