"""OpenAI's way to come back: `background`, `starting_after` and `sequence_number`."""

from __future__ import annotations

import json

import pytest

from tests.resume.streams import ask, payload, stream_id
from tests.support.client import RawClient, request
from tests.support.gateway import StartGateway, simple_config
from tests.support.refusal import assert_error
from tests.support.upstream import ScriptedUpstream, sse_reply, stepped_stream

ID = "resp_0123456789abcdef"


def event(number: int) -> bytes:
    """As the API sends them: numbered from 0, the response's id in the first."""
    kind = {0: "response.created", 5: "response.completed"}.get(
        number, "response.output_text.delta"
    )
    data: dict[str, object] = {"type": kind, "sequence_number": number}
    if number == 0:
        data["response"] = {"id": ID, "status": "in_progress"}
    return f"event: {kind}\ndata: {json.dumps(data)}\n\n".encode()


EVENTS = [event(number) for number in range(6)]


def post(**body: object) -> bytes:
    """A request for a response."""
    return request(
        "POST",
        "/v1/responses",
        headers=["Content-Type: application/json"],
        body=json.dumps({"model": "m", "input": "hi", "stream": True, **body}).encode(),
    )


def get(query: str, id: str = ID) -> bytes:
    return request("GET", f"/v1/responses/{id}{query}")


async def test_a_response_is_resumed_behind_every_event(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(sse_reply(EVENTS)) as upstream:
        gateway = await start_gateway(simple_config(upstream.url, resume={}))
        await ask(gateway, post())
        whole = await ask(gateway, get("?stream=true"))
        assert payload(whole.body) == EVENTS
        for after in range(6):
            rest = await ask(gateway, get(f"?stream=true&starting_after={after}"))
            assert rest.clean_end
            assert payload(rest.body) == EVENTS[after + 1 :]
        bad = await ask(gateway, get("?stream=true&starting_after=x"))
        assert bad.status == 400
        assert len(upstream.requests) == 1


@pytest.mark.parametrize("raw", [get(""), get("?stream=true", "resp_other"), get("/input_items")])
async def test_what_is_no_stream_here_is_the_upstreams_business(
    start_gateway: StartGateway, raw: bytes
) -> None:
    async with ScriptedUpstream(sse_reply(EVENTS)) as upstream:
        gateway = await start_gateway(simple_config(upstream.url, resume={}))
        await ask(gateway, post())
        await ask(gateway, raw)
        assert len(upstream.requests) == 2


@pytest.mark.parametrize("own", [True, False])
async def test_a_response_in_the_background_goes_on_without_its_client(
    start_gateway: StartGateway, own: bool
) -> None:
    async with ScriptedUpstream(stepped_stream()) as upstream:
        gateway = await start_gateway(
            simple_config(upstream.url, resume={"may_detach": True, "background": own})
        )
        async with RawClient(gateway.port) as client:
            await client.send(post(background=True))
            assert (await client.read_head()).value("x-on-disconnect") == b"detach"
            await upstream.release(EVENTS[0])
            assert payload(await client.read_chunk() or b"") == EVENTS[:1]
            client.reset()
        for one in EVENTS[1:]:
            await upstream.release(one)
        await upstream.finish()
        rest = await ask(gateway, get("?stream=true&starting_after=0"))
        assert payload(rest.body) == EVENTS[1:]
        sent = json.loads(upstream.requests[0].body)
        assert ("background" in sent) == (not own)
        assert sent["input"] == "hi"


@pytest.mark.parametrize("key", [(), ("Idempotency-Key: k",)])
@pytest.mark.parametrize("size", [1, 1000])
async def test_a_request_that_is_nested_too_deeply_to_be_changed_is_refused(
    start_gateway: StartGateway, key: tuple[str, ...], size: int
) -> None:
    async with ScriptedUpstream(sse_reply(EVENTS)) as upstream:
        gateway = await start_gateway(simple_config(upstream.url, resume={"background": True}))
        deep = b",".join([b"[" * 300 + b"]" * 300] * size)
        body = b'{"model": "m", "stream": true, "background": true, "x": [%b]}' % deep
        lines = ["Content-Type: application/json", *key]
        raw = request("POST", "/v1/responses", headers=lines, body=body)
        assert_error(await ask(gateway, raw, "POST"), 400, code="invalid_json")
        assert not upstream.requests


async def test_a_request_with_half_a_character_goes_on_whole_in_the_background(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(sse_reply(EVENTS)) as upstream:
        gateway = await start_gateway(simple_config(upstream.url, resume={"background": True}))
        await ask(gateway, post(background=True, input="cut \ud83d"), "POST")
        sent = json.loads(upstream.requests[0].body)
        assert sent == {"model": "m", "stream": True, "input": "cut \ufffd"}


async def test_a_response_is_cancelled_by_its_id(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(stepped_stream()) as upstream:
        gateway = await start_gateway(
            simple_config(upstream.url, resume={"on_disconnect": "detach"})
        )
        async with RawClient(gateway.port) as client:
            await client.send(post(background=True))
            await client.read_head()
            await upstream.release(EVENTS[0])
            await client.read_chunk()
            upstream.script = sse_reply([])
            cancel = request("POST", f"/v1/responses/{ID}/cancel", body=b"{}")
            assert (await ask(gateway, cancel, "POST")).status == 200
            assert b"stream_cancelled" in (await client.read_chunk() or b"")
        await upstream.connections[0].wait_client_gone()


async def test_an_answer_that_names_no_response_is_kept_all_the_same(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(sse_reply([b"data: [1]\n\n", b"data: {\n\n"])) as upstream:
        gateway = await start_gateway(simple_config(upstream.url, resume={}))
        assert stream_id(await ask(gateway, post()))
