"""Where one model cannot answer, another does, and the caller does not notice."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gateway.auth import api_key
from gateway.auth.api_key import ApiKey
from gateway.auth.key_file import editing
from tests.support.client import RawClient, Response, request
from tests.support.exchange import EVENTS, ask, read_stream
from tests.support.figures import Report
from tests.support.gateway import LogLine, RunningGateway, StartGateway
from tests.support.peers import idle, refusing_endpoint
from tests.support.refusal import assert_error
from tests.support.tokens import Auth, bearer
from tests.support.upstream import (
    LAST_CHUNK,
    STREAM_HEAD,
    Request,
    Script,
    ScriptedUpstream,
    chunk,
    hang,
    json_reply,
    raw_reply,
    reply,
    reply_then_close,
    reply_then_reset,
    sse_reply,
)

CHAT = {"model": "small", "messages": [{"role": "user", "content": "hi"}]}
OK = json_reply({"served": "big"})
BUSY = reply(b'{"busy":1}', status="503 Service Unavailable")


def config(*upstreams: ScriptedUpstream | str, **sections: Any) -> dict[str, Any]:
    """`small` is served by the first, and falls back to `big` at the second, then to `vast`.

    Upstreams know `small` as `acme/small`, and so on. There are no retries.
    """
    urls = [one if isinstance(one, str) else one.url for one in upstreams]
    names = ["small", "big", "vast"][: len(urls)]
    document: dict[str, Any] = {
        "upstreams": {
            name: {"endpoints": [{"url": url}], "retries": {"attempts": 0}}
            for name, url in zip(names, urls, strict=True)
        },
        "models": {name: {"upstream": name, "model": f"acme/{name}"} for name in names},
        "routes": [{"name": "r", "path": "/v1/", "auth": "anonymous", "models": ["small"]}],
        **sections,
    }
    document["models"]["small"]["fallbacks"] = names[1:]
    return document


def chat(*headers: str, **fields: Any) -> bytes:
    body = json.dumps({**CHAT, **fields}).encode()
    lines = ["Content-Type: application/json", *headers]
    return request("POST", "/v1/chat/completions", headers=lines, body=body)


async def post(gateway: RunningGateway, *headers: str, **fields: Any) -> Response:
    return await ask(gateway.port, chat(*headers, **fields))


async def logged(gateway: RunningGateway) -> LogLine:
    return await gateway.wait_for_log(lambda line: line["event"] == "request")


def model_of(seen: Request) -> str:
    return str(json.loads(seen.body)["model"])


@pytest.mark.parametrize("answer", [reply(b"{}"), BUSY], ids=["usable", "not usable"])
async def test_a_request_waits_without_a_task_for_the_first_model(
    start_gateway: StartGateway, answer: bytes
) -> None:
    async with ScriptedUpstream() as small, ScriptedUpstream(OK) as big:
        gateway = await start_gateway(config(small, big))
        async with RawClient(gateway.port) as client:
            await client.send(chat())
            connection = await small.accept()
            await connection.read_request()
            running = {task.get_coro() for task in asyncio.all_tasks()}
            names = {getattr(coroutine, "__qualname__", "") for coroutine in running}
            assert not {name for name in names if name.startswith(("Pipeline.", "_Trial."))}
            await connection.send(answer)
            response = await client.read_response()
            expected = {} if answer != BUSY else {"served": "big"}
            assert (response.status, response.json()) == (200, expected)
        await idle(gateway)


# -- what makes another model be asked ---------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (None, "upstream_connect_failed"),
        (hang, "upstream_first_byte_timeout"),
        (reply_then_reset(), "upstream_reset"),
        (reply_then_close(b"no http\r\n\r\n"), "upstream_invalid_response"),
        (raw_reply(reply(b"{}", status="429 Too Many Requests")), "status 429"),
        (raw_reply(reply(b"{}", status="500 Internal Server Error")), "status 500"),
        (raw_reply(BUSY), "status 503"),
    ],
    ids=["refused", "timeout", "reset", "garbage", "429", "500", "503"],
)
async def test_another_model_is_asked_where_one_fails(
    start_gateway: StartGateway, report: Report, script: Script | None, reason: str
) -> None:
    async with ScriptedUpstream(script or hang) as small, ScriptedUpstream(OK) as big:
        with refusing_endpoint() as refusing:
            document = config(refusing if script is None else small, big)
            document["routes"][0]["timeouts"] = {"first_byte": "500ms"}
            gateway = await start_gateway(document)
            started = time.perf_counter()
            response = await post(gateway, stream=False, temperature=0.25)
            took_s = time.perf_counter() - started
        line = await logged(gateway)
        await idle(gateway)
        assert (response.status, response.json()) == (200, {"served": "big"})
        (seen,) = big.requests
        assert json.loads(seen.body) == {
            **CHAT,
            "stream": False,
            "temperature": 0.25,
            "model": "acme/big",
        }
        assert seen.value("content-length") == str(len(seen.body)).encode()
        for other in small.requests:
            assert model_of(other) == "acme/small"
    assert line["fallbacks"] == [f"small: {reason}"]
    assert (line["model"], line["served"], line["upstream"]) == ("small", "big", "big")
    assert (line["status"], line["endpoint"]) == (200, big.url)
    assert "error" not in line
    report("fallback", f"{reason} to the other model's answer, ms", took_s * 1e3)


TOO_LONG = {
    "openai": (
        "400 Bad Request",
        '{"error":{"message":"This model\'s maximum context length is 8192 tokens. However, your '
        'messages resulted in 9001 tokens. Please reduce the length of the messages.","type":'
        '"invalid_request_error","param":"messages","code":"context_length_exceeded"}}',
    ),
    "openai-responses": (
        "400 Bad Request",
        '{"error":{"message":"Your input exceeds the context window of this model. Please adjust '
        'your input and try again.","type":"invalid_request_error","param":"input","code":null}}',
    ),
    "vllm": (
        "400 Bad Request",
        '{"object":"error","message":"This model\'s maximum context length is 4096 tokens. However,'
        ' you requested 5000 tokens (4000 in the messages, 1000 in the completion).","type":'
        '"BadRequestError","param":null,"code":400}',
    ),
    "vllm-prompt": (
        "400 Bad Request",
        '{"object":"error","message":"The decoder prompt (length 9000) is longer than the maximum '
        'model length of 4096.","type":"BadRequestError","param":null,"code":400}',
    ),
    "sglang": (
        "400 Bad Request",
        '{"object":"error","message":"The input (5000 tokens) is longer than the model\'s context '
        'length (4096 tokens).","type":"BadRequestError","param":null,"code":400}',
    ),
    "llama.cpp": (
        "400 Bad Request",
        '{"error":{"code":400,"message":"request (9412 tokens) exceeds the available context size '
        '(8192 tokens), try increasing it","type":"exceed_context_size_error","n_prompt_tokens":'
        '9412,"n_ctx":8192}}',
    ),
    "anthropic": (
        "400 Bad Request",
        '{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: '
        '210000 tokens > 200000 maximum"}}',
    ),
    "anthropic-output": (
        "400 Bad Request",
        '{"type":"error","error":{"type":"invalid_request_error","message":"input length and '
        "`max_tokens` exceed context limit: 174167 + 64000 > 200000, decrease input length or "
        '`max_tokens` and try again"}}',
    ),
    "gemini": (
        "400 Bad Request",
        '[{"error":{"code":400,"message":"The input token count (1300000) exceeds the maximum '
        'number of tokens allowed (1048575).","status":"INVALID_ARGUMENT"}}]',
    ),
    "tgi": (
        "422 Unprocessable Entity",
        '{"error":"Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. '
        'Given: 4000 `inputs` tokens and 200 `max_new_tokens`","error_type":"validation"}',
    ),
}


@pytest.mark.parametrize(("status", "body"), TOO_LONG.values(), ids=TOO_LONG)
@pytest.mark.parametrize("pieces", [1, 3])
async def test_another_model_is_asked_where_the_prompt_is_too_long_for_one(
    start_gateway: StartGateway, status: str, body: str, pieces: int
) -> None:
    data = reply(body.encode(), status=status)

    async def in_pieces(connection: Any) -> None:
        while True:
            await connection.read_request()
            step = len(data) // pieces + 1
            for start in range(0, len(data), step):
                await connection.send(data[start : start + step])
                await asyncio.sleep(0.002 if pieces > 1 else 0)

    async with ScriptedUpstream(in_pieces) as small, ScriptedUpstream(OK) as big:
        gateway = await start_gateway(config(small, big))
        assert (await post(gateway)).json() == {"served": "big"}
        assert (await logged(gateway))["fallbacks"] == ["small: prompt too long"]


async def test_a_refusal_is_understood_where_the_client_takes_compressed_answers(
    start_gateway: StartGateway,
) -> None:
    status, body = TOO_LONG["openai"]

    def answer(seen: Request) -> bytes:
        if b"gzip" not in (seen.value("accept-encoding") or b""):
            return reply(body.encode(), status=status)
        packed = gzip.compress(body.encode())
        return reply(packed, status=status, headers=["Content-Encoding: gzip"])

    script = raw_reply(answer)
    async with (
        ScriptedUpstream(script) as small,
        ScriptedUpstream(script) as big,
        ScriptedUpstream(json_reply({"served": "vast"})) as vast,
    ):
        quiet = {"log": {"format": "json"}, "metrics": {"tokens": False}, "traces": None}
        gateway = await start_gateway(config(small, big, vast), telemetry=quiet)
        response = await post(gateway, "Accept-Encoding: gzip, deflate")
        assert response.json() == {"served": "vast"}
        # Nobody reads what the last one answers.
        assert vast.requests[0].value("accept-encoding") == b"gzip, deflate"


@pytest.mark.parametrize("what", ["model", "upstream"])
async def test_another_model_is_asked_where_the_queue_is_full(
    start_gateway: StartGateway, what: str
) -> None:
    async with ScriptedUpstream() as small, ScriptedUpstream(OK) as big:
        document = config(small, big)
        document[f"{what}s"]["small"]["admission"] = {"concurrency": 1, "queue": 0}
        gateway = await start_gateway(document)
        first = asyncio.create_task(post(gateway))
        connection = await small.accept()
        await connection.read_request()
        assert (await post(gateway)).json() == {"served": "big"}
        assert (await logged(gateway))["fallbacks"] == ["small: queue_full"]
        await connection.send(reply(b'{"served":"small"}'))
        assert (await first).json() == {"served": "small"}


async def test_another_model_is_asked_where_no_endpoint_has_room(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream() as small, ScriptedUpstream(OK) as big:
        document = config(small, big)
        document["upstreams"]["small"] |= {"max_requests": 1, "pending": 0}
        gateway = await start_gateway(document)
        first = asyncio.create_task(post(gateway))
        connection = await small.accept()
        await connection.read_request()
        assert (await post(gateway)).json() == {"served": "big"}
        assert (await logged(gateway))["fallbacks"] == ["small: upstream_busy"]
        await connection.send(reply(b"{}"))
        assert (await first).status == 200


# -- what does not -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "status",
    [
        "400 Bad Request",
        "401 Unauthorized",
        "403 Forbidden",
        "404 Not Found",
        "413 Content Too Large",
        "422 Unprocessable Entity",
    ],
)
async def test_other_refusals_are_passed_on(start_gateway: StartGateway, status: str) -> None:
    refusal = reply(b'{"error":{"message":"temperature: must be below 2"}}', status=status)
    async with ScriptedUpstream(raw_reply(refusal)) as small, ScriptedUpstream(OK) as big:
        gateway = await start_gateway(config(small, big))
        response = await post(gateway)
        line = await logged(gateway)
        assert big.connections == []
    assert (response.status, response.body) == (int(status[:3]), refusal.partition(b"\r\n\r\n")[2])
    assert "fallbacks" not in line
    assert "served" not in line


async def test_a_large_refusal_is_passed_on_whole(start_gateway: StartGateway) -> None:
    body = b"context length " * 20_000
    async with (
        ScriptedUpstream(raw_reply(reply(body, status="400 Bad Request"))) as small,
        ScriptedUpstream(OK) as big,
    ):
        gateway = await start_gateway(config(small, big))
        response = await post(gateway)
        assert (response.status, response.body == body, response.clean_end) == (400, True, True)
        assert big.connections == []


async def test_a_refusal_that_breaks_off_is_passed_on_so_that_it_shows(
    start_gateway: StartGateway,
) -> None:
    refusal = reply(b'{"error":"context length"}', status="400 Bad Request")[:-3]
    async with ScriptedUpstream(reply_then_close(refusal)) as small, ScriptedUpstream(OK) as big:
        gateway = await start_gateway(config(small, big))
        response = await post(gateway)
        assert (response.status, response.clean_end) == (400, False)
        assert big.connections == []


async def test_no_other_model_is_asked_when_the_time_is_over(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(hang) as small, ScriptedUpstream(OK) as big:
        gateway = await start_gateway(config(small, big))
        response = await post(gateway, "x-request-timeout: 200ms")
        assert_error(response, 504, code="upstream_total_timeout")
        assert big.connections == []


async def test_nothing_is_asked_for_a_client_that_has_left(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream() as small, ScriptedUpstream(OK) as big:
        gateway = await start_gateway(config(small, big))
        async with RawClient(gateway.port) as client:
            await client.send(chat())
            connection = await small.accept()
            await connection.read_request()
            client.reset()
        await connection.wait_client_gone()
        assert (await logged(gateway))["end"] == "client_abort"
        await idle(gateway)
        assert big.connections == []


# -- several -----------------------------------------------------------------------------------


async def test_fallbacks_are_asked_in_their_order(start_gateway: StartGateway) -> None:
    async with (
        ScriptedUpstream(raw_reply(BUSY)) as small,
        ScriptedUpstream(reply_then_reset()) as big,
        ScriptedUpstream(json_reply({"served": "vast"})) as vast,
    ):
        gateway = await start_gateway(config(small, big, vast))
        assert (await post(gateway)).json() == {"served": "vast"}
        line = await logged(gateway)
        models = [model_of(one.requests[0]) for one in (small, big, vast)]
    assert models == ["acme/small", "acme/big", "acme/vast"]
    assert line["fallbacks"] == ["small: status 503", "big: upstream_reset"]
    assert line["served"] == "vast"


@pytest.mark.parametrize("last", ["answer", "error"])
async def test_where_all_fail_the_last_failure_is_passed_on(
    start_gateway: StartGateway, last: str
) -> None:
    script = (
        raw_reply(reply(b'{"last":1}', status="500 Oops", headers=["Retry-After: 7"]))
        if last == "answer"
        else reply_then_reset()
    )
    async with ScriptedUpstream(raw_reply(BUSY)) as small, ScriptedUpstream(script) as big:
        gateway = await start_gateway(config(small, big))
        response = await post(gateway)
        line = await logged(gateway)
        await idle(gateway)
    if last == "answer":
        assert (response.status, response.json()) == (500, {"last": 1})
        assert response.value("retry-after") == b"7"
    else:
        assert_error(response, 502, code="upstream_reset")
    assert (line["fallbacks"], line["served"]) == (["small: status 503"], "big")


async def test_a_model_is_retried_before_another_is_asked(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(raw_reply(BUSY)) as small, ScriptedUpstream(OK) as big:
        document = config(small, big)
        document["upstreams"]["small"]["retries"] = {"attempts": 2, "post": True}
        gateway = await start_gateway(document)
        assert (await post(gateway)).json() == {"served": "big"}
        assert (len(small.requests), len(big.requests)) == (3, 1)
        assert (await logged(gateway))["attempts"] == 4


# -- who may -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("allowed", "expected"),
    [
        (("small",), (503, [1, 0, 0])),
        (("small", "vast"), (200, [1, 0, 1])),
        (None, (200, [1, 1, 0])),
    ],
)
async def test_a_key_gets_no_model_that_it_may_not_use(
    start_gateway: StartGateway,
    tmp_path: Path,
    allowed: tuple[str, ...] | None,
    expected: tuple[int, list[int]],
) -> None:
    text, key_id, salt, digest = api_key.generate()
    key = ApiKey(key_id, salt, digest, "ann", datetime.now(UTC), models=allowed)
    with editing(tmp_path / "keys.yaml") as keys:
        keys[key_id] = key
    async with (
        ScriptedUpstream(raw_reply(BUSY)) as small,
        ScriptedUpstream(json_reply({"served": "big"})) as big,
        ScriptedUpstream(json_reply({"served": "vast"})) as vast,
    ):
        document = config(small, big, vast)
        document["auth"] = {"keys": {"type": "api_key", "file": str(tmp_path / "keys.yaml")}}
        document["routes"][0]["auth"] = ["keys"]
        gateway = await start_gateway(document)
        response = await post(gateway, f"Authorization: Bearer {text}")
        hits = [len(one.requests) for one in (small, big, vast)]
    assert (response.status, hits) == expected


async def test_a_caller_gets_no_model_whose_scope_it_lacks(
    start_gateway: StartGateway, auth: Auth
) -> None:
    async with ScriptedUpstream(raw_reply(BUSY)) as small, ScriptedUpstream(OK) as big:
        document = config(small, big, auth=auth)
        document["models"]["big"]["scopes"] = ["big"]
        document["routes"][0]["auth"] = ["corp"]
        gateway = await start_gateway(document)
        assert (await post(gateway, bearer(scope="other"))).status == 503
        assert big.connections == []
        assert (await post(gateway, bearer(scope="big other"))).status == 200


# -- streams and forms -------------------------------------------------------------------------


async def test_a_stream_of_another_model_passes_whole(start_gateway: StartGateway) -> None:
    async with (
        ScriptedUpstream(raw_reply(BUSY)) as small,
        ScriptedUpstream(sse_reply(EVENTS)) as big,
    ):
        gateway = await start_gateway(config(small, big))
        response = await post(gateway, stream=True)
    assert (response.status, response.body, response.clean_end) == (200, b"".join(EVENTS), True)


async def test_once_a_stream_has_begun_no_other_model_is_asked(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream() as small, ScriptedUpstream(OK) as big:
        gateway = await start_gateway(config(small, big))
        async with RawClient(gateway.port) as client:
            await client.send(chat(stream=True))
            connection = await small.accept()
            await connection.read_request()
            await connection.send(STREAM_HEAD + chunk(EVENTS[0]))
            await client.read_head()
            assert await client.read_chunk() == EVENTS[0]
            connection.reset()
            rest, clean = await read_stream(client)
        assert (rest.count(b"upstream_reset"), clean) == (1, False)
        assert big.connections == []


async def test_a_form_goes_to_another_model_under_its_name(start_gateway: StartGateway) -> None:
    parts = (
        b'--b0und\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
        b'RIFF small\r\n--b0und\r\nContent-Disposition: form-data; name="model"\r\n\r\n',
        b'\r\n--b0und\r\nContent-Disposition: form-data; name="language"\r\n\r\nsmall\r\n'
        b"--b0und--\r\n",
    )
    raw = request(
        "POST",
        "/v1/audio/transcriptions",
        headers=["Content-Type: multipart/form-data; boundary=b0und"],
        body=b"small".join(parts),
    )
    async with ScriptedUpstream(raw_reply(BUSY)) as small, ScriptedUpstream(OK) as big:
        gateway = await start_gateway(config(small, big))
        assert (await ask(gateway.port, raw)).json() == {"served": "big"}
        assert small.requests[0].body == b"acme/small".join(parts)
        (seen,) = big.requests
        assert seen.body == b"acme/big".join(parts)
        assert seen.value("content-length") == str(len(seen.body)).encode()
        assert seen.value("content-type") == b"multipart/form-data; boundary=b0und"


@pytest.mark.parametrize("renamed", [True, False], ids=["own-name", "same-name"])
async def test_a_fallback_is_named_as_its_upstream_knows_it(
    start_gateway: StartGateway, renamed: bool
) -> None:
    async with ScriptedUpstream(raw_reply(BUSY)) as small, ScriptedUpstream(OK) as big:
        document = config(small, big)
        if not renamed:
            del document["models"]["big"]["model"]
        gateway = await start_gateway(document)
        assert (await post(gateway)).status == 200
        assert model_of(big.requests[0]) == ("acme/big" if renamed else "big")


# -- slots and money ---------------------------------------------------------------------------


@pytest.mark.parametrize("failure", ["answer", "reset"])
async def test_the_slot_of_the_failed_model_is_free_at_once(
    start_gateway: StartGateway, failure: str
) -> None:
    script = raw_reply(BUSY) if failure == "answer" else reply_then_reset()
    async with ScriptedUpstream(script) as small, ScriptedUpstream() as big:
        document = config(small, big)
        document["models"]["small"]["admission"] = {"concurrency": 1, "queue": 0}
        gateway = await start_gateway(document)
        async with RawClient(gateway.port) as one, RawClient(gateway.port) as other:
            await one.send(chat(stream=True))
            first = await big.accept()
            await first.read_request()
            await first.send(STREAM_HEAD + chunk(EVENTS[0]))
            await one.read_head()
            # The first one's answer is under way, elsewhere.
            await other.send(chat(stream=True))
            second = await big.accept()
            await second.read_request()
            assert len(small.requests) == 2
            for client, connection in ((other, second), (one, first)):
                await connection.send((b"" if connection is first else STREAM_HEAD) + LAST_CHUNK)
                if client is other:
                    await client.read_head()
                _, clean = await read_stream(client)
                assert clean
        lines = [line["fallbacks"] for line in gateway.log.requests]
    assert all(not reason.endswith("queue_full") for (reason,) in lines)


async def test_the_fallbacks_own_queue_is_passed(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(raw_reply(BUSY)) as small, ScriptedUpstream() as big:
        document = config(small, big)
        document["models"]["big"]["admission"] = {"concurrency": 1, "queue": 0}
        gateway = await start_gateway(document)
        first = asyncio.create_task(post(gateway))
        connection = await big.accept()
        await connection.read_request()
        assert_error(await post(gateway), 503, code="queue_full")
        line = await logged(gateway)
        await connection.send(reply(b"{}"))
        assert (await first).status == 200
    assert (line["served"], line["error"]) == ("big", "queue_full")
    assert "upstream" not in line  # where it was not sent in the end
    assert "endpoint" not in line


async def test_what_the_fallback_costs_is_charged(
    start_gateway: StartGateway, auth: Auth, tmp_path: Path
) -> None:
    usage = {"usage": {"prompt_tokens": 30, "completion_tokens": 20, "total_tokens": 50}}
    async with (
        ScriptedUpstream(raw_reply(BUSY)) as small,
        ScriptedUpstream(json_reply(usage)) as big,
    ):
        document = config(
            small,
            big,
            auth=auth,
            limits={"money": {"key": "subject", "budget": "1 USD/month"}},
            store={"url": f"sqlite://{tmp_path}/store.db"},
        )
        document["models"]["small"]["price"] = {"input": 1000.0, "output": 1000.0}
        document["models"]["big"]["price"] = {"input": 100.0, "output": 200.0}
        document["routes"][0] |= {"auth": ["corp"], "limits": ["money"]}
        gateway = await start_gateway(document)

        async def left() -> int:
            response = await post(gateway, bearer(), max_tokens=10)
            assert response.status == 200
            return int((response.value("ratelimit") or b"").split(b"r=")[1].split(b";")[0])

        first = await left()
        line = await gateway.wait_for_log(lambda line: line.get("tokens_out") == 20)
        second = await left()
    assert line["served"] == "big"
    reserved = 1_000_000 - first
    # What was reserved at the price of `small` was settled at that of `big`.
    assert second == 1_000_000 - (30 * 100 + 20 * 200) - reserved


async def test_the_callers_own_credential_is_not_sent_to_the_upstream_of_a_fallback(
    start_gateway: StartGateway,
) -> None:
    async with (
        ScriptedUpstream(raw_reply(BUSY)) as small,
        ScriptedUpstream(json_reply({}, status="503 Busy")) as big,
        ScriptedUpstream(OK) as vast,
    ):
        document = config(small, big, vast)
        document["models"]["vast"]["upstream"] = "small"
        document["models"]["small"]["fallbacks"] = ["big", "vast"]
        gateway = await start_gateway(document)
        assert (await post(gateway, "Authorization: Bearer mine", "X-Api-Key: too")).status == 503
        assert [seen.value("authorization") for seen in small.requests] == [b"Bearer mine"] * 2
        assert big.requests[0].value("authorization") is None
        assert big.requests[0].value("x-api-key") is None
