"""Inspection of a response body: what is seen in its pieces, and that they pass unchanged."""

from __future__ import annotations

import pytest

from gateway.dialects import DIALECTS
from gateway.dialects.usage_chunk import UsageFilter
from gateway.dialects.usage_tap import UsageTap
from gateway.exchange import Exchange
from gateway.outcome import Failure
from gateway.proxy.response_body import ResponseBody
from gateway.upstream.head import ResponseHead
from gateway.upstream.response import UpstreamResponse
from gateway.usage import Usage

SSE, NDJSON, JSON = (
    b"text/event-stream; charset=utf-8",
    b"application/x-ndjson",
    b"application/json",
)
ROLE = b'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}\n\n'
WORD = b'data: {"choices":[{"delta":{"content":"hi"}}],"usage":null}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":5}}\n\n'
DONE = b"data: [DONE]\n\n"
ERROR = b'data: {"error":{"message":"out of memory"}}\n\n'


class Idle:
    """Connection that sends nothing by itself."""

    silent_s: float | None = None

    def pause(self) -> None:
        pass

    def resume(self) -> None:
        pass

    def abort(self) -> None:
        pass

    def fail(self, error: object) -> None:
        pass


def answered(
    kind: bytes,
    *,
    status: int = 200,
    length: int | None = None,
    counted: bool = False,
    filtered: bool = False,
    encoded: bool = False,
    dialect: str = "openai",
) -> tuple[Exchange, ResponseBody]:
    """Exchange whose response has begun, and its body."""
    fields = [(b"Content-Type", kind)]
    if length is None:
        fields.append((b"Transfer-Encoding", b"chunked"))
    else:
        fields.append((b"Content-Length", b"%d" % length))
    if encoded:
        fields.append((b"Content-Encoding", b"gzip"))
    exchange = Exchange("POST", "127.0.0.1", trusted_peer=False)
    exchange.path = "/v1/chat/completions"
    exchange.tap = UsageTap() if counted else None
    exchange.filter = UsageFilter() if filtered else None
    head = ResponseHead(status, b"OK", fields, "1.1")
    return exchange, ResponseBody(UpstreamResponse(head, Idle()), exchange, DIALECTS[dialect])


@pytest.mark.parametrize(("kind", "length"), [(JSON, 2), (JSON, None), (b"", None), (SSE, 2)])
def test_a_body_that_nothing_inspects_is_not_looked_at(kind: bytes, length: int | None) -> None:
    exchange, body = answered(kind, length=length)
    assert body.look is None
    assert not exchange.streamed


@pytest.mark.parametrize(
    ("kind", "dialect"), [(SSE, "openai"), (NDJSON, "ollama"), (b"Text/Event-Stream", "anthropic")]
)
def test_a_stream_is_recognized_by_its_content_type(kind: bytes, dialect: str) -> None:
    exchange, body = answered(kind, dialect=dialect)
    assert exchange.streamed
    assert body.look is not None


def test_pieces_pass_uncopied_and_the_first_token_gets_its_time_once() -> None:
    exchange, body = answered(SSE, counted=True)
    look = body.look
    assert look is not None
    times = []
    for piece in (ROLE, WORD, WORD):
        assert look(piece) is piece
        times.append(exchange.first_token_at)
    assert times[0] is None
    assert times[1] is not None
    assert times[1] == times[2]


def test_the_tap_hears_the_usage_that_the_filter_removes() -> None:
    exchange, body = answered(SSE, counted=True, filtered=True)
    look = body.look
    assert look is not None
    sent = b"".join(map(look, (ROLE, WORD, USAGE, DONE))) + body.rest()
    assert sent == ROLE + WORD + DONE
    assert exchange.tap is not None
    assert exchange.tap.usage(exchange) == Usage(7, 5)


def test_a_compressed_stream_is_not_read() -> None:
    exchange, body = answered(SSE, counted=True, filtered=True, encoded=True)
    look = body.look
    assert look is not None
    assert b"".join(map(look, (WORD, USAGE, ERROR))) + body.rest() == WORD + USAGE + ERROR
    assert (exchange.first_token_at, exchange.failure) == (None, None)


@pytest.mark.parametrize("counted", [False, True])
@pytest.mark.parametrize("pieces", [(WORD, ERROR), (WORD, ERROR, DONE), (WORD * 100 + ERROR,)])
def test_an_error_at_the_end_of_a_stream_is_recorded(
    pieces: tuple[bytes, ...], counted: bool
) -> None:
    exchange, body = answered(SSE, counted=counted)
    look = body.look
    assert look is not None
    for piece in pieces:
        look(piece)
    body.upstream.ending = b"".join(pieces[-2:])
    body.rest()
    assert exchange.failure == Failure("backend_error", "out of memory")


@pytest.mark.parametrize("counted", [False, True])
def test_the_writer_learns_when_nothing_inspects_the_rest(counted: bool) -> None:
    _, body = answered(SSE, counted=counted)
    seen: list[bytes] = []
    body.on_seen = lambda: seen.append(WORD)
    look = body.look
    assert look is not None
    for piece in (ROLE, WORD, WORD):
        look(piece)
    assert seen == ([] if counted else [WORD])


def test_the_message_of_an_error_response_becomes_the_reason() -> None:
    exchange, body = answered(JSON, status=500, length=35)
    look = body.look
    assert look is not None
    error = b'{"error":{"message":"out of memory"}}'
    assert [look(error[:9]), look(error[9:])] == [error[:9], error[9:]]
    exchange.unwind(0)
    assert exchange.failure == Failure(None, "out of memory")
