"""Every incremental parser does work in proportion to its input, however that is cut.

Each is fed the input that would be worst for it, in pieces of 64 bytes: a held beginning that is
copied or searched again for each piece makes the work quadratic.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable
from typing import Any, Literal, get_args

import pytest

from gateway.dialects.anthropic import answers as anthropic_answers
from gateway.dialects.first_token import FirstToken
from gateway.dialects.json_lines import LineSplitter
from gateway.dialects.ollama import answers as ollama_answers
from gateway.dialects.openai import answers as openai_answers
from gateway.dialects.openai.continuation import ChatAnswer
from gateway.dialects.usage import ReportedUsage
from gateway.dialects.usage_chunk import UsageFilter
from gateway.dialects.usage_scan import UsageScanner
from gateway.dialects.usage_tap import UsageTap
from gateway.http.decoding import decoder
from gateway.json_body import read
from gateway.proxy.compression import encoded, encoder
from gateway.request_body.multipart import find_model_field
from gateway.sse import EventSplitter
from gateway.websocket.frames import FrameReader, frame
from tests.support.growth import LINEAR_AT_MOST, growth

PIECE_BYTES = 64
SIZE_BYTES = 24 * 1024
DOCUMENT_BYTES = 96 * 1024
"""Size for parsers that store a document of up to 64 KiB, which takes no work until its end."""
Feed = Callable[[bytes], object]


def tap(kind: bytes) -> Feed:
    one = UsageTap()
    one.begin(200, kind, encoded=False)
    return one.feed


class Ignoring:
    """Takes what a frame reader finds."""

    def piece(self, *_: object) -> None:
        pass

    def control(self, *_: object) -> None:
        pass


def frames() -> Feed:
    return FrameReader(Ignoring(), masked=False, max_message_bytes=2**30).feed


PARSERS: dict[str, Callable[[], Feed]] = {
    "events": lambda: EventSplitter().feed,
    "usage filter": lambda: UsageFilter().feed,
    "usage of a stream": lambda: tap(b"text/event-stream"),
    "usage of lines": lambda: tap(b"application/x-ndjson"),
    "usage of an answer": lambda: tap(b"application/json"),
    "usage scanner": lambda: UsageScanner(ReportedUsage()).feed,
    "lines": lambda: LineSplitter().feed,
    "first token": lambda: FirstToken(False).feed,
    "first token of lines": lambda: FirstToken(True).feed,
    "openai answer": lambda: openai_answers.OpenAIStreamReader().feed,
    "anthropic answer": lambda: anthropic_answers.AnthropicStreamReader().feed,
    "ollama answer": lambda: ollama_answers.OllamaStreamReader().feed,
    "gzip": lambda: encoder("gzip").feed,
    "zstd": lambda: encoder("zstd").feed,
    "br": lambda: encoder("br").feed,
}
INPUTS: dict[str, bytes] = {
    "no end": b"x",
    "a string": b'{"a":"' + b"x" * 58,
    "half ends": b"data: \n\r",
    "comments": b": x\n\n",
    "returns": b"data: x\r\r",
    "usage": b'data: {"usage":{"prompt_tokens":1}}\n\n',
    "null usage": b'data: {"choices":[],"usage":null}\n\n',
    "lines": b'{"eval_count":1}\n',
    "open brackets": b'{"usage":[',
    "backslashes": b"\\",
    "quotes": b'"',
    "deltas": b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n',
    "arguments": b'data: {"choices":[{"delta":{"tool_calls":[{"index":0,"id":"a","function":'
    b'{"name":"f","arguments":"x"}}]}}]}\n\n',
}


ANSWERS = ("no end", "a string", "deltas", "arguments", "lines")
"""Inputs for what does more with an event than to look at it."""
CASES = [
    (parser, input_)
    for parser in PARSERS
    for input_ in (ANSWERS if parser.endswith(" answer") else INPUTS)
    if parser not in ("gzip", "zstd", "br") or input_ == "deltas"
]


@pytest.mark.parametrize(("parser", "input_"), CASES)
def test_an_incremental_parser_is_linear(parser: str, input_: str) -> None:
    def work(size: int) -> Callable[[], object]:
        data = (INPUTS[input_] * (size // len(INPUTS[input_]) + 1))[:size]
        pieces = [data[at : at + PIECE_BYTES] for at in range(0, size, PIECE_BYTES)]
        feed = PARSERS[parser]()
        return lambda: [feed(piece) for piece in pieces]

    size = DOCUMENT_BYTES if parser.startswith("usage of ") else SIZE_BYTES
    assert growth(work, size) < LINEAR_AT_MOST


@pytest.mark.parametrize("each", [frame(1, b"x" * 8, fin=True), frame(2, b"x" * 1_000_000)])
def test_frames_are_read_in_linear_work(each: bytes) -> None:
    def work(size: int) -> Callable[[], object]:
        data = (each * (size // len(each) + 1))[:size]
        pieces = [data[at : at + PIECE_BYTES] for at in range(0, size, PIECE_BYTES)]
        feed = frames()
        return lambda: [feed(piece) for piece in pieces]

    assert growth(work, SIZE_BYTES) < LINEAR_AT_MOST


FORGED = b'data: {"a":{"usage":{"prompt_tokens":1}}}\n\n'


@pytest.mark.parametrize("each", [INPUTS["usage"], INPUTS["null usage"], INPUTS["lines"], FORGED])
@pytest.mark.parametrize("kind", [b"text/event-stream", b"application/x-ndjson"])
def test_the_usage_of_many_events_in_one_piece_is_read_in_linear_work(
    each: bytes, kind: bytes
) -> None:
    def work(size: int) -> Callable[[], object]:
        feed = tap(kind)
        return on(each * (size // len(each)), feed)

    assert growth(work, 4 * SIZE_BYTES) < LINEAR_AT_MOST


Coding = Literal["gzip", "deflate", "zstd", "br"]


@pytest.mark.parametrize("coding", get_args(Coding))
@pytest.mark.parametrize("piece_bytes", [PIECE_BYTES, 64 * 1024])
def test_a_body_is_decoded_in_linear_work(coding: Coding, piece_bytes: int) -> None:
    def work(size: int) -> Callable[[], object]:
        plain = random.Random(1).randbytes(8 * size).hex().encode()
        data = zlib.compress(plain) if coding == "deflate" else encoded(plain, coding)
        pieces = [data[at : at + piece_bytes] for at in range(0, len(data), piece_bytes)]
        one = decoder(coding)
        assert one is not None
        feed = one.feed
        return lambda: [sum(map(len, feed(piece))) for piece in pieces]

    assert growth(work, SIZE_BYTES) < LINEAR_AT_MOST


def form(parts: int) -> bytes:
    part = b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\nv\r\n'
    return part * parts + part.replace(b'"x"', b'"model"') + b"--b--\r\n"


def chat(size: int) -> Any:
    answer = ChatAnswer()
    events = EventSplitter().feed(INPUTS["deltas"] * (size // 50))

    def hear() -> None:
        for one in events:
            answer.read(one)

    return hear


def models(size: int) -> bytes:
    """A body whose nested objects have the key, too."""
    nested = b'{"model":"x","b":' * 100 + b"1" + b"}" * 100
    return b'{"a":%b,"c":[%b1],"model":"m"}' % (nested, b'{"model":"x"},' * (size // 14))


def options(size: int) -> bytes:
    return b'{"stream":true,"a":"%b"}' % (b"stream_options" * (size // 14))


def nearly_ending(size: int) -> bytes:
    return form(1).replace(b"v", b"\r\n-" * (size // 3), 1)


def on(data: bytes, call: Callable[[bytes], object]) -> Callable[[], object]:
    return lambda: call(data)


def renamed(body: bytes) -> bytes:
    parsed = read(body)
    parsed.rename("n")
    return parsed.rendered()


def asked_for_usage(body: bytes) -> bytes:
    parsed = read(body)
    assert parsed.ask_for_usage()
    return parsed.rendered()


WHOLE: dict[str, Callable[[int], Callable[[], object]]] = {
    "a form": lambda size: on(form(size // 50), lambda body: find_model_field(body, b"b")),
    "a form that nearly ends": lambda size: on(
        nearly_ending(size), lambda body: find_model_field(body, b"b")
    ),
    "a model": lambda size: on(models(size), read),
    "a model's other name": lambda size: on(models(size), renamed),
    "an option": lambda size: on(options(size), asked_for_usage),
    "text that another backend goes on with": chat,
}


@pytest.mark.parametrize("parser", WHOLE)
def test_a_parser_of_whole_bodies_is_linear(parser: str) -> None:
    assert growth(WHOLE[parser], SIZE_BYTES) < LINEAR_AT_MOST
