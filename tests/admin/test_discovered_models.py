"""Discovered models, as operators see them: over all workers, and asked for at once."""

from __future__ import annotations

from typing import Any

from tests.support.admin import admin, told
from tests.support.gateway import GatewayProcess, StartGatewayProcess
from tests.support.listing_backend import ListingBackend, answer, discovering, vllm_list
from tests.support.waiting import asked_until

PATIENCE_S = 30.0


async def models(gateway: GatewayProcess, upstream: int = 0) -> dict[str, Any]:
    document = await told(gateway, "/api/upstreams")
    found: dict[str, Any] = document["upstreams"][upstream]["models"]
    return found


async def test_operators_see_the_models_of_all_workers_and_ask_for_lists(
    start_gateway_process: StartGatewayProcess,
) -> None:
    async with ListingBackend(vllm_list("a", "b", "c")) as backend:
        settings = {"discover_models": {"hide": ["c"], "every": "1h", "prefix": "v/"}}
        config = discovering(("vllm", backend.url, settings), models=["*"])
        config["upstreams"]["plain"] = {"endpoints": [{"url": backend.url}]}
        config["models"] = {"v/b": {"upstream": "vllm"}}
        config["server"] = {"workers": 2}
        gateway = await start_gateway_process(config)
        path = "/api/upstreams/vllm/models"

        first = await models(gateway)
        backend.shows(vllm_list("new"))
        assert (await admin(gateway, "POST", path)).status == 200
        after = await asked_until(
            lambda: models(gateway),
            lambda found: found["names"] == ["v/new"] and found["workers"] == 2,
            patience_s=PATIENCE_S,
        )
        backend.list = answer({}, "401 Unauthorized")
        await admin(gateway, "POST", path)
        failing = await asked_until(
            lambda: models(gateway), lambda found: found["failing"], patience_s=PATIENCE_S
        )
        metrics = (await admin(gateway, "GET", "/metrics")).body.decode()
        unknown = await admin(gateway, "POST", "/api/upstreams/plain/models")
        document = await told(gateway, "/api/upstreams")

    assert (first["names"], first["configured"], first["hidden"]) == (["v/a"], ["v/b"], 1)
    assert first["listed_at"] is not None
    assert after["served"] == 1
    assert failing["failing"] == {backend.url: "status 401: check its `credentials`"}
    assert failing["names"] == ["v/new"], "the last list stays"
    assert 'gateway_upstream_models{upstream="vllm"} 1' in metrics
    assert 'gateway_upstream_model_lists_total{result="failed",upstream="vllm"}' in metrics
    assert unknown.status == 404
    assert document["upstreams"][1]["models"] is None
