"""Mid-stream failover: an answer that breaks off is gone on with elsewhere, in one stream."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.support.client import RawClient
from tests.support.gateway import RunningGateway, StartGateway, simple_config
from tests.support.upstream import (
    LAST_CHUNK,
    STREAM_HEAD,
    Request,
    Script,
    ScriptedUpstream,
    UpstreamConnection,
    chunk,
    json_reply,
)

ASKED = {
    "model": "m",
    "stream": True,
    "max_tokens": 10,
    "messages": [{"role": "user", "content": "Say it."}],
}
DONE = b"data: [DONE]\n\n"


def delta(number: str, **fields: Any) -> bytes:
    """A chunk of OpenAI's, of the answer with that id."""
    finish = fields.pop("finish_reason", None)
    choice = {"index": 0, "delta": fields, "finish_reason": finish}
    return (
        b"data: %b\n\n"
        % json.dumps(
            {
                "id": number,
                "object": "chat.completion.chunk",
                "model": f"m-{number}",
                "choices": [choice],
            }
        ).encode()
    )


def stream(*events: bytes, broken: bool = False) -> Script:
    """These events; then the end, or a reset."""

    async def script(connection: UpstreamConnection) -> None:
        while True:
            await connection.read_request()
            await connection.send(STREAM_HEAD + b"".join(chunk(event) for event in events))
            if broken:
                await connection.delivered()
                connection.reset()
                return
            await connection.send(LAST_CHUNK)

    return script


FIRST = stream(
    delta("one", role="assistant", content=""),
    delta("one", content="Once "),
    delta("one", content="upon "),
    b'data: {"id": "one", "ch',  # half an event
    broken=True,
)
SECOND = stream(
    delta("two", role="assistant", content=""),
    delta("two", content="a time."),
    delta("two", finish_reason="stop"),
    DONE,
)


def config(first: ScriptedUpstream, second: ScriptedUpstream, **upstream: Any) -> dict[str, Any]:
    options = {"continues": "continue_final_message", **upstream}
    document = simple_config(first.url, upstream=options, models=["m"])
    document["upstreams"]["main"]["endpoints"].append({"url": second.url, "priority": 1})
    document["models"] = {"m": {"upstream": "main"}}
    return document


async def ask(
    gateway: RunningGateway, body: Any = ASKED, fields: bytes = b""
) -> tuple[bytes, bool]:
    """The body of the answer, and whether it ended in order."""
    data = json.dumps(body).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
    head += b"Content-Type: application/json\r\n" + fields
    async with RawClient(gateway.port) as client:
        await client.send(head + b"Content-Length: %d\r\n\r\n" % len(data) + data)
        assert (await client.read_head()).status == 200
        received = b""
        try:
            while (piece := await client.read_chunk()) is not None:
                received += piece
        except ConnectionError:
            return received, False
    return received, True


def text_of(body: bytes) -> str:
    said = ""
    for event in body.split(b"\n\n"):
        if event.startswith(b"data: {"):
            document = json.loads(event[6:])
            for choice in document.get("choices", ()):
                said += choice["delta"].get("content") or ""
    return said


async def test_another_endpoint_goes_on_in_the_same_stream(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(FIRST) as first, ScriptedUpstream(SECOND) as second:
        gateway = await start_gateway(config(first, second))
        body, clean = await ask(gateway)
        line = await gateway.wait_for_log(lambda line: line["event"] == "request")
    assert clean
    assert text_of(body) == "Once upon a time."
    assert body.endswith(DONE + b": continued by another backend\n")
    documents = [json.loads(e[6:]) for e in body.split(b"\n\n") if e.startswith(b"data: {")]
    assert {document["id"] for document in documents} == {"one"}
    assert {document["model"] for document in documents} == {"m-one"}
    assert sum("role" in d["choices"][0]["delta"] for d in documents) == 1
    asked = json.loads(second.requests[0].body)
    assert asked["messages"] == [
        *ASKED["messages"],  # type: ignore[misc]
        {"role": "assistant", "content": "Once upon "},
    ]
    assert (asked["continue_final_message"], asked["add_generation_prompt"]) == (True, False)
    assert asked["max_tokens"] == 7
    assert (line["end"], line["continued"]) == ("complete", 1)
    assert line["endpoint"] == second.url


async def test_the_backend_that_goes_on_is_not_asked_for_a_compressed_answer(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(FIRST) as first, ScriptedUpstream(SECOND) as second:
        document = config(first, second)
        # Nothing else reads the answer.
        document["routes"][0]["heartbeat"] = None
        document["telemetry"] = {"log": {"access": False}, "metrics": None, "traces": None}
        body, clean = await ask(await start_gateway(document), fields=b"Accept-Encoding: gzip\r\n")
    assert clean
    assert text_of(body) == "Once upon a time."
    assert first.requests[0].values("accept-encoding") == [b"gzip"]
    assert second.requests[0].values("accept-encoding") == []


@pytest.mark.parametrize("shown", [True, False])
async def test_the_whole_answer_is_billed_and_told_once(
    start_gateway: StartGateway, shown: bool
) -> None:
    usage = {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15}
    told = b"data: %b\n\n" % json.dumps({"id": "two", "choices": [], "usage": usage}).encode()
    last = stream(delta("two", content="a time."), delta("two", finish_reason="stop"), told, DONE)
    asked = {**ASKED, "stream_options": {"include_usage": shown}}
    async with ScriptedUpstream(FIRST) as first, ScriptedUpstream(last) as second:
        document = config(first, second)
        document["limits"] = {"t": {"key": "ip", "tokens": "1/day", "token_burst": 1000}}
        document["routes"][0]["limits"] = ["t"]
        gateway = await start_gateway(document)
        body, _ = await ask(gateway, asked)
        line = await gateway.wait_for_log(lambda line: line["event"] == "request")
    # What the first has said, two pieces, was in the prompt of the second.
    assert (line["tokens_in"], line["tokens_out"]) == (10, 5)
    documents = [json.loads(e[6:]) for e in body.split(b"\n\n") if e.startswith(b"data: {")]
    found = [document["usage"] for document in documents if "usage" in document]
    whole = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    assert found == ([whole] if shown else [])


async def test_the_dead_endpoint_is_let_go_and_counted(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(FIRST) as first, ScriptedUpstream(SECOND) as second:
        options = {"outliers": {"failures": 2}}
        gateway = await start_gateway(config(first, second, **options))
        for _ in range(2):
            assert (await ask(gateway))[1]
        upstream = gateway.server.runtime.upstreams["main"]
        states = {endpoint.url: upstream.state(endpoint).value for endpoint in upstream.endpoints}
        assert states[first.url] == "ejected"
        await ask(gateway)
        assert len(first.requests) == 2
        assert [endpoint.in_flight for endpoint in upstream.endpoints] == [0, 0]


async def test_without_the_option_it_breaks_off_with_an_error(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(FIRST) as first, ScriptedUpstream(SECOND) as second:
        gateway = await start_gateway(config(first, second, continues=None))
        body, clean = await ask(gateway)
        assert not second.requests
    assert not clean
    assert b'"code":"upstream_reset"' in body


@pytest.mark.parametrize(
    "events",
    [
        [delta("one", content="a"), delta("one", tool_calls=[{"index": 0}])],
        [delta("one", reasoning_content="hm"), delta("one", content="a")],
        [delta("one", content="a"), delta("one", finish_reason="stop")],
        [b'data: {"choices": [{"delta": {}}, {"delta": {}}]}\n\n'],
        [b"data: not json\n\n"],
        [delta("one", content="a"), DONE],
    ],
)
async def test_what_is_not_plain_text_under_way_is_not_gone_on_with(
    start_gateway: StartGateway, events: list[bytes]
) -> None:
    script = stream(*events, broken=True)
    async with ScriptedUpstream(script) as first, ScriptedUpstream(SECOND) as second:
        gateway = await start_gateway(config(first, second))
        body, clean = await ask(gateway)
        assert not second.requests
    assert not clean
    assert body.startswith(b"".join(events))
    assert body.count(b'"code":"upstream_reset"') == 1


async def test_when_nobody_can_go_on_it_is_the_first_error(start_gateway: StartGateway) -> None:
    unable = json_reply({}, status="500 Oops")
    async with ScriptedUpstream(FIRST) as first, ScriptedUpstream(unable) as second:
        gateway = await start_gateway(config(first, second, retries={"attempts": 0}))
        body, clean = await ask(gateway)
        assert len(second.requests) == 1
    assert not clean
    assert text_of(body) == "Once upon "
    assert body.count(b"event: error") == 0
    assert body.count(b'"code":"upstream_reset"') == 1


async def test_a_fallback_goes_on_under_its_own_name(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(FIRST) as first, ScriptedUpstream(SECOND) as second:
        document = simple_config(first.url, upstream={"continues": "prefill"}, models=["m"])
        document["upstreams"]["other"] = {
            "endpoints": [{"url": second.url}],
            "continues": "prefill",
        }
        document["models"] = {
            "m": {"upstream": "main", "fallbacks": ["n"]},
            "n": {"upstream": "other", "model": "n-large"},
        }
        gateway = await start_gateway(document)
        body, clean = await ask(gateway)
        line = await gateway.wait_for_log(lambda line: line["event"] == "request")
        asked = json.loads(second.requests[0].body)
    assert clean
    assert text_of(body) == "Once upon a time."
    assert asked["model"] == "n-large"
    assert "continue_final_message" not in asked
    assert (line["served"], line["continued"]) == ("n", 1)


async def test_a_fallback_goes_on_with_its_own_parameters(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(FIRST) as first, ScriptedUpstream(SECOND) as second:
        document = simple_config(first.url, upstream={"continues": "prefill"}, models=["m"])
        document["upstreams"]["other"] = {
            "endpoints": [{"url": second.url}],
            "continues": "prefill",
        }
        document["models"] = {
            "m": {"upstream": "main", "fallbacks": ["n"], "parameters": {"drop": ["seed"]}},
            "n": {"upstream": "other", "parameters": {"set": {"temperature": 0}}},
        }
        gateway = await start_gateway(document)
        body, clean = await ask(gateway, {**ASKED, "seed": 1})
        before, after = (json.loads(one.requests[0].body) for one in (first, second))
    assert clean
    assert text_of(body) == "Once upon a time."
    assert ("seed" in before, "temperature" in before) == (False, False)
    assert (after["model"], after["seed"], after["temperature"]) == ("n", 1, 0)


async def test_an_answer_may_break_off_more_than_once(start_gateway: StartGateway) -> None:
    middle = stream(
        delta("mid", role="assistant", content=""), delta("mid", content="a "), broken=True
    )
    last = stream(delta("end", content="time."), delta("end", finish_reason="stop"), DONE)
    async with (
        ScriptedUpstream(FIRST) as first,
        ScriptedUpstream(middle) as second,
        ScriptedUpstream(last) as third,
    ):
        document = config(first, second)
        document["upstreams"]["main"]["endpoints"].append({"url": third.url, "priority": 2})
        document["upstreams"]["main"]["outliers"] = {
            "failures": 1,
            "max_ejected": "100%",
            "panic": "0%",
        }
        gateway = await start_gateway(document)
        body, clean = await ask(gateway)
        asked = json.loads(third.requests[0].body)
    assert clean
    assert text_of(body) == "Once upon a time."
    assert asked["messages"][-1]["content"] == "Once upon a "


async def test_a_client_that_leaves_while_it_is_gone_on_with_stops_that(
    start_gateway: StartGateway,
) -> None:
    asked = asyncio.Event()

    async def hang(connection: UpstreamConnection) -> None:
        await connection.read_request()
        asked.set()
        await connection.wait_client_gone()

    async with ScriptedUpstream(FIRST) as first, ScriptedUpstream(hang) as second:
        gateway = await start_gateway(config(first, second))
        asking = asyncio.create_task(ask(gateway))
        await asked.wait()
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await second.wait_closed()
        line = await gateway.wait_for_log(lambda line: line["event"] == "request")
    assert line["end"] == "client_abort"


async def test_an_anthropic_message_goes_on_in_its_block(start_gateway: StartGateway) -> None:
    def event(kind: str, **fields: Any) -> bytes:
        data = json.dumps({"type": kind, **fields})
        return f"event: {kind}\ndata: {data}\n\n".encode()

    def text(said: str) -> bytes:
        return event("content_block_delta", index=0, delta={"type": "text_delta", "text": said})

    def begin(number: str) -> list[bytes]:
        block = {"type": "text", "text": ""}
        return [
            event("message_start", message={"id": number}),
            event("content_block_start", index=0, content_block=block),
            event("ping"),
        ]

    end = [event("content_block_stop", index=0), event("message_stop")]
    one = stream(*begin("one"), text("Once "), text("upon "), broken=True)
    two = stream(*begin("two"), text("a time."), *end)
    async with ScriptedUpstream(one) as first, ScriptedUpstream(two) as second:
        document = config(first, second, dialect="anthropic", continues="prefill")
        gateway = await start_gateway(document)
        body, clean = await ask(gateway)
        asked: Request = second.requests[0]
    assert clean
    expected = [*begin("one"), text("Once "), text("upon "), event("ping"), text("a time."), *end]
    assert body == b"".join(expected) + b": continued by another backend\n"
    assert json.loads(asked.body)["messages"][-1] == {"role": "assistant", "content": "Once upon "}
