"""Lists of models tell what the configuration knows of them, and their health if asked."""

from __future__ import annotations

from typing import Any

import openai

from tests.support.client import ask, request
from tests.support.gateway import RunningGateway, StartGateway, simple_config
from tests.support.peers import refusing_endpoint
from tests.support.upstream import ScriptedUpstream

MODEL = {
    "context_window": 131_072,
    "max_output_tokens": 4096,
    "input_modalities": ["text", "image"],
    "output_modalities": ["text"],
    "price": {"input": 2.5, "output": 10, "cache_read": 0.3, "currency": "EUR"},
}
NO_RETRY = {"retries": {"attempts": 0}, "outliers": {"failures": 1}}


async def start(
    start_gateway: StartGateway, upstream: ScriptedUpstream, **route: Any
) -> RunningGateway:
    config = simple_config(upstream.url, upstream=NO_RETRY, models=["known", "plain"], **route)
    config["models"] = {"known": {"upstream": "main", **MODEL}, "plain": {"upstream": "main"}}
    return await start_gateway(config)


async def listed(gateway: RunningGateway, target: str = "/v1/models", *headers: str) -> Any:
    return (await ask(gateway.port, request("GET", target, headers=headers))).json()


async def test_lists_tell_context_modalities_and_prices(
    start_gateway: StartGateway, upstream: ScriptedUpstream
) -> None:
    gateway = await start(start_gateway, upstream)
    known, plain = (await listed(gateway))["data"]
    assert known == {
        **{"id": "known", "object": "model", "created": 0, "owned_by": "gateway"},
        "context_length": 131_072,
        "max_completion_tokens": 4096,
        "architecture": {"input_modalities": ["text", "image"], "output_modalities": ["text"]},
        "pricing": {
            "prompt": "0.0000025",
            "completion": "0.00001",
            "input_cache_read": "0.0000003",
            "currency": "EUR",
        },
    }
    assert set(plain) == {"id", "object", "created", "owned_by"}
    assert await listed(gateway, "/v1/models/known") == known


async def test_the_sdk_reads_the_list(
    start_gateway: StartGateway, upstream: ScriptedUpstream
) -> None:
    gateway = await start(start_gateway, upstream)
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="k") as client:
        models = [model async for model in client.models.list()]
    assert [model.id for model in models] == ["known", "plain"]


async def test_a_route_may_keep_prices_to_itself(
    start_gateway: StartGateway, upstream: ScriptedUpstream
) -> None:
    gateway = await start(start_gateway, upstream, list_prices=False)
    known, _ = (await listed(gateway))["data"]
    assert "pricing" not in known
    assert known["context_length"] == 131_072


async def test_the_list_in_anthropic_s_format_tells_lengths(
    start_gateway: StartGateway, upstream: ScriptedUpstream
) -> None:
    gateway = await start(start_gateway, upstream)
    known, _ = (await listed(gateway, "/v1/models", "anthropic-version: 2023-06-01"))["data"]
    assert (known["max_input_tokens"], known["max_tokens"]) == (131_072, 4096)


async def test_a_translated_model_is_shown_to_ollama_s_clients_with_its_context(
    start_gateway: StartGateway, upstream: ScriptedUpstream
) -> None:
    gateway = await start(start_gateway, upstream, dialect="ollama")
    body = b'{"model":"known"}'
    shown = (await ask(gateway.port, request("POST", "/v1/show", body=body), "POST")).json()
    assert shown["model_info"]["unknown.context_length"] == 131_072
    assert "vision" in shown["capabilities"]


async def test_health_is_told_when_asked(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream() as upstream:
        gateway = await start(start_gateway, upstream)
        assert "health" not in (await listed(gateway))["data"][0]
        assert "health" not in (await listed(gateway, "/v1/models?health=false"))["data"][0]
        (known, _) = (await listed(gateway, "/v1/models?health=true"))["data"]
        assert known["health"] == "up"
        entry = await listed(gateway, "/v1/models/known?x=1&health=1")
        assert entry["health"] == "up"


async def test_the_health_of_a_model_is_that_of_its_deployments(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream() as upstream:
        with refusing_endpoint() as refusing:
            config = simple_config(upstream.url, models=["m"])
            config["upstreams"]["other"] = {
                "endpoints": [{"url": refusing}],
                "health": {"path": "/health", "interval": "20ms", "unhealthy": 1},
            }
            config["models"] = {"m": {"deployments": [{"upstream": "main"}, {"upstream": "other"}]}}
            gateway = await start_gateway(config)
            await gateway.wait_for_log(lambda line: line.get("state") == "unhealthy")
            (model,) = (await listed(gateway, "/v1/models?health=true"))["data"]
            assert model["health"] == "degraded"
