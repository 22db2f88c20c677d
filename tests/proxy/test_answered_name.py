"""The model name in answers that pass as they are."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.proxy.answered_name import NameReplacer
from tests.dialects.translation.wire import NAMES, answer_of, stream_of
from tests.support.client import request
from tests.support.exchange import ask
from tests.support.gateway import StartGateway
from tests.support.growth import LINEAR_AT_MOST, growth
from tests.support.upstream import (
    LAST_CHUNK,
    STREAM_HEAD,
    ScriptedUpstream,
    chunk,
    raw_reply,
    reply,
)

PATH = "/models/llama-3.gguf"
STREAM = b"".join(
    b'data: {"choices":[{"delta":{"content":"%b"}}],"model":"/models/llama-3.gguf"}\n\n' % text
    for text in (b"Hi", b'\\"model\\":\\"/models/llama-3.gguf\\"', b'"}', b"there")
)
PATHS = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages", "ollama": "/v1/chat"}


def renamed(*pieces: bytes, name: str = "mine") -> bytes:
    names = NameReplacer(name)
    return b"".join([*map(names.feed, pieces), names.flush()])


def test_every_event_tells_the_name_that_was_asked_for_and_what_is_said_stays() -> None:
    assert renamed(STREAM) == STREAM.replace(b'"model":"/models/llama-3.gguf"', b'"model":"mine"')
    assert renamed(STREAM).count(b'\\"model\\":\\"/models/llama-3.gguf\\"') == 1


@given(cuts=st.lists(st.integers(0, len(STREAM)), max_size=8).map(sorted))
def test_how_a_stream_is_cut_makes_no_difference(cuts: list[int]) -> None:
    edges = [0, *cuts, len(STREAM)]
    pieces = [STREAM[a:b] for a, b in itertools.pairwise(edges)]
    assert renamed(*pieces) == renamed(STREAM)


def test_single_bytes_make_no_difference() -> None:
    assert renamed(*[STREAM[at : at + 1] for at in range(len(STREAM))]) == renamed(STREAM)


@pytest.mark.parametrize(
    "stream",
    [b"", b"data: [DONE]\n\n", b"x" * 200_000, b"x\n" * 100_000, b'{"model":5}', b'"model":"'],
)
def test_a_stream_without_a_name_passes_as_it_is(stream: bytes) -> None:
    assert renamed(stream) == stream
    assert renamed(*[stream[at : at + 1000] for at in range(0, len(stream), 1000)]) == stream


def test_whole_events_pass_at_once() -> None:
    names = NameReplacer("mine")
    first, *_ = STREAM.split(b"\n\n")
    assert names.feed(first + b"\n\n").endswith(b'"model":"mine"}\n\n')


def test_the_work_is_linear() -> None:
    def work(events: int) -> Callable[[], object]:
        stream = STREAM * events
        pieces = [stream[at : at + 16] for at in range(0, len(stream), 16)]
        return lambda: list(map(NameReplacer("mine").feed, pieces))

    assert growth(work, 50) < LINEAR_AT_MOST


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("dialect", NAMES)
async def test_answers_carry_the_asked_name_by_option_and_else_not_a_byte_is_touched(
    start_gateway: StartGateway, dialect: str, stream: bool
) -> None:
    answer = answer_of(dialect)
    own = answer["model"].encode()
    whole, events = json.dumps({**answer, "model": PATH}).encode(), stream_of(dialect)
    events = events.replace(own, PATH.encode())
    kind = b"application/x-ndjson" if dialect == "ollama" else b"text/event-stream"
    head = STREAM_HEAD.replace(b"text/event-stream", kind)
    answered = (
        head + chunk(events[:300]) + chunk(events[300:]) + LAST_CHUNK if stream else reply(whole)
    )
    body = json.dumps({"model": "m", "messages": [], "max_tokens": 5}).encode()
    lines = ["Content-Type: application/json", "Accept-Encoding: gzip"]
    raw = request("POST", PATHS[dialect], headers=lines, body=body)
    async with ScriptedUpstream(raw_reply(answered)) as upstream:
        for option in (None, "backend", "asked"):
            main = {"dialect": dialect, "endpoints": [{"url": upstream.url}]}
            document = {
                "upstreams": {"main": main | ({"model_name": option} if option else {})},
                "models": {"m": {"upstream": "main"}},
                "routes": [
                    {
                        "name": "r",
                        "path": "/v1/",
                        "auth": "anonymous",
                        "dialect": dialect,
                        "models": ["m"],
                    }
                ],
            }
            gateway = await start_gateway(document)
            response = await ask(gateway.port, raw)
            assert response.clean_end
            sent = events if stream else whole
            if option == "asked":
                assert PATH.encode() not in response.body
                assert b'"model":"m"' in response.body
                assert upstream.requests[-1].value("accept-encoding") is None
                assert len(response.body) < len(sent)
            else:
                assert response.body == sent
            if not stream:
                assert response.value("content-length") == str(len(response.body)).encode()


async def test_an_error_passes_as_it_came(start_gateway: StartGateway) -> None:
    error = b'{"error":{"message":"no"},"model":"/models/llama-3.gguf"}'
    async with ScriptedUpstream(raw_reply(reply(error, status="429 Slow"))) as upstream:
        document = {
            "upstreams": {"main": {"endpoints": [{"url": upstream.url}], "model_name": "asked"}},
            "models": {"m": {"upstream": "main"}},
            "routes": [{"name": "r", "path": "/v1/", "auth": "anonymous", "models": ["m"]}],
        }
        gateway = await start_gateway(document)
        raw = request("POST", "/v1/chat/completions", body=b'{"model":"m"}')
        response = await ask(gateway.port, raw)
    assert (response.status, response.body) == (429, error)
