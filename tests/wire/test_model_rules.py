"""Requests get the parameters of their model, and go to a fallback where they do not fit."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.client import Response, ask, request
from tests.support.gateway import RunningGateway, StartGateway
from tests.support.refusal import assert_error
from tests.support.upstream import Request, ScriptedUpstream, raw_reply, reply

MIB = 1024**2
IMAGE = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
HELLO = [{"role": "user", "content": "Hello"}]


def config(upstream: ScriptedUpstream, **models: Any) -> dict[str, Any]:
    """A route that serves `small`. Every model is at the same upstream, as `acme/NAME`."""
    return {
        "upstreams": {"main": {"endpoints": [{"url": upstream.url}], "retries": {"attempts": 0}}},
        "models": {
            name: {"upstream": "main", "model": f"acme/{name}", **told}
            for name, told in models.items()
        },
        "routes": [
            {
                "name": "main",
                "path": "/v1/",
                "auth": "anonymous",
                "models": ["small"],
                "body": "4MiB",
            }
        ],
    }


async def post(gateway: RunningGateway, body: bytes | None = None, **fields: Any) -> Response:
    if body is None:
        body = json.dumps({"model": "small", "messages": HELLO, **fields}).encode()
    return await ask(gateway.port, request("POST", "/v1/chat/completions", body=body), "POST")


def failing_first() -> Callable[[Request], bytes]:
    """Return replies of which the first is an error."""
    replies = iter([reply(b"{}", status="500 No")])
    return lambda _: next(replies, reply(b"{}"))


async def test_rules_change_parameters_and_no_other_byte(
    start_gateway: StartGateway, upstream: ScriptedUpstream
) -> None:
    told = {
        "drop": ["logit_bias"],
        "set": {"temperature": 0.5},
        "default": {"seed": 7},
        "cap": {"max_tokens": 100},
    }
    gateway = await start_gateway(config(upstream, small={"parameters": told}))
    body = (
        b'{ "model":"small", "logit_bias" : {"1":2},\n "temperature": 1.50,'
        b' "max_tokens":9000, "x": 1.0, "messages":[ ] }'
    )
    assert (await post(gateway, body)).status == 200
    assert upstream.requests[0].body == (
        b'{"seed":7, "model":"acme/small", "temperature": 0.5,'
        b' "max_tokens":100, "x": 1.0, "messages":[ ] }'
    )


async def test_a_refused_parameter_is_400(
    start_gateway: StartGateway, upstream: ScriptedUpstream
) -> None:
    gateway = await start_gateway(config(upstream, small={"parameters": {"refuse": ["tools"]}}))
    response = await post(gateway, tools=[{"type": "function", "function": {"name": "f"}}])
    assert_error(response, 400, code="unsupported_parameter")
    assert response.json()["error"]["param"] == "tools"
    assert upstream.requests == []
    assert (await post(gateway)).status == 200


async def test_a_prompt_too_long_for_the_window_is_400(
    start_gateway: StartGateway, upstream: ScriptedUpstream
) -> None:
    gateway = await start_gateway(config(upstream, small={"context_window": 1000}))
    response = await post(gateway, messages=[{"role": "user", "content": "word " * 3000}])
    assert_error(response, 400, code="context_length_exceeded")
    assert_error(await post(gateway, max_tokens=1000), 400, code="context_length_exceeded")
    assert upstream.requests == []
    assert (await post(gateway, max_tokens=900)).status == 200


async def test_a_prompt_of_unsure_length_is_left_to_the_backend(
    start_gateway: StartGateway, upstream: ScriptedUpstream
) -> None:
    gateway = await start_gateway(config(upstream, small={"context_window": 1000}))
    message = {"role": "user", "content": "word " * 1000}
    assert (await post(gateway, messages=[message])).status == 200


async def test_what_does_not_fit_goes_to_the_first_fallback_that_it_fits_into(
    start_gateway: StartGateway, upstream: ScriptedUpstream
) -> None:
    document = config(
        upstream,
        small={"context_window": 1000, "fallbacks": ["blind", "long", "vast"]},
        blind={"context_window": 1200},
        long={"context_window": 100_000, "parameters": {"cap": {"max_tokens": 50}}},
        vast={},
    )
    gateway = await start_gateway(document)
    message = {"role": "user", "content": "word " * 1000}
    assert (await post(gateway, messages=[message], max_tokens=60)).status == 200
    sent = json.loads(upstream.requests[0].body)
    assert (sent["model"], sent["max_tokens"]) == ("acme/long", 50)
    line = await gateway.wait_for_log(lambda line: line["event"] == "request")
    assert line["model"] == "small"
    assert line["served"] == "long"
    assert line["fallbacks"] == ["small: prompt too long"]


async def test_a_fallback_chosen_beforehand_has_those_after_it_as_its_own(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(raw_reply(failing_first())) as upstream:
        document = config(
            upstream,
            small={"input_modalities": ["text"], "fallbacks": ["sighted", "other"]},
            sighted={"input_modalities": ["text", "image"]},
            other={},
        )
        gateway = await start_gateway(document)
        message = {"role": "user", "content": [IMAGE]}
        assert (await post(gateway, messages=[message])).status == 200
        models = [json.loads(one.body)["model"] for one in upstream.requests]
        assert models == ["acme/sighted", "acme/other"]


async def test_content_that_the_model_does_not_take_is_400(
    start_gateway: StartGateway, upstream: ScriptedUpstream
) -> None:
    gateway = await start_gateway(config(upstream, small={"input_modalities": ["text"]}))
    response = await post(gateway, messages=[{"role": "user", "content": [IMAGE]}])
    assert_error(response, 400, code="modality_not_supported")
    assert (await post(gateway)).status == 200


async def test_after_a_failure_the_fallback_gets_its_own_parameters(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(raw_reply(failing_first())) as upstream:
        document = config(
            upstream,
            small={
                "parameters": {"cap": {"max_tokens": 10}, "drop": ["seed"]},
                "fallbacks": ["toolless", "big"],
            },
            toolless={"parameters": {"refuse": ["tools"]}},
            big={"parameters": {"set": {"temperature": 0}}},
        )
        gateway = await start_gateway(document)
        tools = [{"type": "function", "function": {"name": "f"}}]
        response = await post(gateway, max_tokens=99, seed=1, tools=tools)
        assert response.status == 200
        first, second = (json.loads(one.body) for one in upstream.requests)
        assert first == {
            **{"model": "acme/small", "messages": HELLO, "max_tokens": 10, "tools": tools}
        }
        assert second == {
            **{"model": "acme/big", "messages": HELLO, "max_tokens": 99, "seed": 1},
            **{"temperature": 0, "tools": tools},
        }


async def test_a_cap_lowers_what_limits_reserve(
    start_gateway: StartGateway, upstream: ScriptedUpstream
) -> None:
    document = config(upstream, small={"parameters": {"cap": {"max_tokens": 100}}})
    document["limits"] = {"tokens": {"key": "ip", "tokens": "1000/day"}}
    document["routes"][0]["limits"] = ["tokens"]
    gateway = await start_gateway(document)
    assert (await post(gateway, max_tokens=5000)).status == 200


async def test_a_usage_request_of_the_gateway_survives_the_rules(
    start_gateway: StartGateway, upstream: ScriptedUpstream
) -> None:
    document = config(upstream, small={"parameters": {"set": {"temperature": 0}}})
    document["limits"] = {"tokens": {"key": "ip", "tokens": "100000/day"}}
    document["routes"][0]["limits"] = ["tokens"]
    gateway = await start_gateway(document)
    await post(gateway, stream=True)
    sent = json.loads(upstream.requests[0].body)
    assert sent["stream_options"] == {"include_usage": True}
    assert (sent["temperature"], sent["model"]) == (0, "acme/small")


async def test_every_deployment_of_a_model_gets_its_parameters(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(raw_reply(failing_first())) as upstream:
        document = config(upstream, small={})
        document["models"]["small"] = {
            "deployments": [
                {"upstream": "main", "model": "one"},
                {"upstream": "main", "model": "two", "priority": 1},
            ],
            "context_window": 1000,
            "parameters": {"cap": {"max_tokens": 100}},
        }
        document["limits"] = {"tokens": {"key": "ip", "tokens": "3000/day"}}
        document["routes"][0]["limits"] = ["tokens"]
        gateway = await start_gateway(document)
        # Probably too long, but not surely: each deployment decides.
        message = {"role": "user", "content": "word " * 1000}
        response = await post(gateway, messages=[message], max_tokens=5000)
        assert response.status == 200
        asked = [json.loads(one.body) for one in upstream.requests]
    assert [one["model"] for one in asked] == ["one", "two"]
    assert [one["max_tokens"] for one in asked] == [100, 100]


@pytest.mark.parametrize("size", [5_000, MIB // 28], ids=["costly to edit", "costly to parse"])
async def test_a_costly_body_is_edited_in_the_helper_process(
    start_gateway: StartGateway, upstream: ScriptedUpstream, size: int
) -> None:
    gateway = await start_gateway(
        config(upstream, small={"parameters": {"cap": {"max_tokens": 5}, "drop": ["seed"]}})
    )
    parts = [{"type": "text", "text": "a"}] * size
    asked: dict[str, Any] = {"messages": [{"role": "user", "content": parts}], "x": 1}
    assert (await post(gateway, **asked, max_tokens=9, seed=1)).status == 200
    assert json.loads(upstream.requests[0].body) == {
        **asked,
        "model": "acme/small",
        "max_tokens": 5,
    }


async def test_a_costly_body_cannot_hide_a_parameter_behind_others(
    start_gateway: StartGateway, upstream: ScriptedUpstream
) -> None:
    gateway = await start_gateway(
        config(upstream, small={"parameters": {"cap": {"max_tokens": 5}, "refuse": ["tools"]}})
    )
    parts = [{"type": "text", "text": "a"}] * (MIB // 28)
    many = {f"x{number}": 1 for number in range(2000)}
    asked: dict[str, Any] = {"messages": [{"role": "user", "content": parts}], **many}
    assert (await post(gateway, **asked, max_tokens=9)).status == 200
    assert json.loads(upstream.requests[0].body)["max_tokens"] == 5
    response = await post(gateway, **asked, tools=[{"type": "function"}])
    assert_error(response, 400, code="unsupported_parameter")


@pytest.mark.parametrize(
    ("parameters", "path"),
    [
        ({"drop": ["model"]}, "drop"),
        ({"set": {"stream": True}}, "set"),
        ({"cap": {"Max-Tokens": 1}}, "cap"),
        ({"drop": ["seed"], "set": {"seed": 1}}, "seed has two rules"),
        ({"refuse": ["seed"], "default": {"seed": 1}}, "seed has two rules"),
    ],
)
async def test_rules_that_cannot_be_are_errors_of_the_configuration(
    start_gateway: StartGateway,
    upstream: ScriptedUpstream,
    parameters: dict[str, Any],
    path: str,
) -> None:
    with pytest.raises(Exception, match=path):
        await start_gateway(config(upstream, small={"parameters": parameters}))
