"""Models that backends list are served as if they were configured."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest

from gateway.config import load_text
from gateway.upstream.model_polling import ModelPolling
from gateway.wiring.discovered_models import Lists
from gateway.wiring.served_routes import ServedRoutes
from tests.support.client import RawClient, Response, request
from tests.support.exchange import ask
from tests.support.gateway import RunningGateway, StartGateway, config_text
from tests.support.listing_backend import (
    ListingBackend,
    answer,
    anthropic_list,
    discovering,
    ollama_tags,
    openai_list,
    vllm_list,
)
from tests.support.refusal import assert_error
from tests.support.upstream import LAST_CHUNK, STREAM_HEAD, chunk
from tests.support.waiting import asked_until, eventually

PATIENCE_S = 30.0


def chat(model: str) -> bytes:
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
    return request("POST", "/v1/chat/completions", body=json.dumps(body).encode())


async def post(gateway: RunningGateway, model: str) -> Response:
    return await ask(gateway.port, chat(model))


async def entries(gateway: RunningGateway) -> list[dict[str, Any]]:
    got = await ask(gateway.port, request("GET", "/v1/models"))
    found: list[dict[str, Any]] = json.loads(got.body)["data"]
    return found


async def names(gateway: RunningGateway) -> list[str]:
    return [one["id"] for one in await entries(gateway)]


async def refreshed(gateway: RunningGateway, wanted: list[str], upstream: str = "vllm") -> None:
    """Ask for the list again, until the gateway serves these models."""
    gateway.server.runtime.served.polling[upstream].refresh()
    await asked_until(lambda: names(gateway), lambda got: got == wanted, patience_s=PATIENCE_S)


async def test_listed_models_are_served_from_the_first_request_on(
    start_gateway: StartGateway,
) -> None:
    async with ListingBackend(vllm_list("meta-llama/Llama-3.1-8B", window=4096)) as backend:
        vllm = ("vllm", backend.url, {"discover_models": {"prefix": "vllm/"}})
        gateway = await start_gateway(discovering(vllm, models=["vllm/*"]))

        got = await post(gateway, "vllm/meta-llama/Llama-3.1-8B")
        [listed] = await entries(gateway)

    assert got.status == 200
    assert backend.chats == ["meta-llama/Llama-3.1-8B"], "the prefix is the gateway's own"
    assert listed["id"] == "vllm/meta-llama/Llama-3.1-8B"
    assert listed["context_length"] == 4096


async def test_a_model_that_no_pattern_of_the_route_matches_is_not_served(
    start_gateway: StartGateway,
) -> None:
    async with ListingBackend(openai_list("gpt-4o", "gpt-4.1", "o3")) as backend:
        openai = ("openai", backend.url, {"discover_models": True})
        gateway = await start_gateway(discovering(openai, models=["gpt-4*"]))

        got = await post(gateway, "o3")
        listed = await names(gateway)

    assert listed == ["gpt-4o", "gpt-4.1"]
    assert_error(got, 404, code="model_not_found")
    assert backend.chats == []


async def test_only_and_hide_select_by_the_names_of_the_backend(
    start_gateway: StartGateway,
) -> None:
    async with ListingBackend(openai_list("a-1", "a-2", "a-2-draft", "b-1")) as backend:
        settings = {"discover_models": {"prefix": "p/", "only": ["a-*"], "hide": ["*-draft"]}}
        gateway = await start_gateway(discovering(("vllm", backend.url, settings), models=["*"]))

        assert await names(gateway) == ["p/a-1", "p/a-2"]


async def test_the_list_of_ollama_is_read_by_its_dialect(start_gateway: StartGateway) -> None:
    async with ListingBackend(ollama_tags("qwen3:latest", "qwen3:0.6b"), "/api/tags") as backend:
        settings = {"dialect": "ollama", "discover_models": True}
        config = discovering(("ollama", backend.url, settings), models=["*"])
        config["routes"][0] |= {"dialect": "openai"}
        gateway = await start_gateway(config)

        assert await names(gateway) == ["qwen3", "qwen3:0.6b"]


async def test_the_list_of_anthropic_is_asked_for_with_credential_and_version(
    start_gateway: StartGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LISTING_KEY", "s3cret")
    listed = anthropic_list("claude-sonnet-4-5")
    async with ListingBackend(listed, "/v1/models?limit=1000") as backend:
        settings = {
            "dialect": "anthropic",
            "discover_models": True,
            "credentials": {"header": "x-api-key", "value": {"env": "LISTING_KEY"}},
        }
        gateway = await start_gateway(discovering(("a", backend.url, settings), models=["*"]))

        got = await ask(gateway.port, request("GET", "/v1/models"))
        [asked] = backend.list_requests

    [told] = json.loads(got.body)["data"]
    assert (told["id"], told["max_input_tokens"]) == ("claude-sonnet-4-5", 200_000)
    assert asked.value("x-api-key") == b"s3cret"
    assert asked.value("anthropic-version") == b"2023-06-01"


async def test_a_model_that_is_listed_later_is_served_and_one_that_vanished_is_not(
    start_gateway: StartGateway,
) -> None:
    async with ListingBackend(vllm_list("old")) as backend:
        vllm = ("vllm", backend.url, {"discover_models": True})
        gateway = await start_gateway(discovering(vllm, models=["*"]))
        assert (await post(gateway, "new")).status == 404
        backend.shows(vllm_list("new"))
        await refreshed(gateway, ["new"])

        assert (await post(gateway, "new")).status == 200
        assert_error(await post(gateway, "old"), 404, code="model_not_found")
    line = await gateway.wait_for_log(lambda one: one.get("removed") == ["old"])
    assert (line["event"], line["upstream"], line["added"]) == ("models", "vllm", ["new"])


async def test_a_configured_model_wins_over_a_discovered_one(start_gateway: StartGateway) -> None:
    async with ListingBackend(vllm_list("a", "b")) as backend:
        vllm = ("vllm", backend.url, {"discover_models": True})
        config = discovering(vllm, models=["*"])
        config["models"] = {"a": {"upstream": "vllm", "model": "other"}}
        gateway = await start_gateway(config)

        await post(gateway, "a")
        await post(gateway, "b")
        found = gateway.server.runtime.served.merged.by_upstream["vllm"]

    assert backend.chats == ["other", "b"]
    assert (found.served, found.configured) == (("b",), ("a",))


async def test_a_model_of_two_upstreams_is_one_model_with_two_deployments(
    start_gateway: StartGateway,
) -> None:
    async with ListingBackend(vllm_list("m")) as one, ListingBackend(vllm_list("m", "n")) as two:
        first = ("one", one.url, {"discover_models": True})
        second = ("two", two.url, {"discover_models": {"priority": 1}})
        gateway = await start_gateway(discovering(first, second, models=["*"]))
        one.answers["m"] = answer({}, "503 Service Unavailable")

        assert await names(gateway) == ["m", "n"]
        got = await post(gateway, "m")

    assert got.status == 200
    assert (one.chats, two.chats) == (["m"], ["m"]), "the second one takes over"


async def test_the_last_list_stays_while_a_backend_does_not_answer(
    start_gateway: StartGateway,
) -> None:
    async with ListingBackend(vllm_list("m")) as backend:
        vllm = ("vllm", backend.url, {"discover_models": {"every": "1s"}})
        gateway = await start_gateway(discovering(vllm, models=["*"]))
        backend.list = answer({"error": "loading"}, "500 Internal Server Error")
        polling = gateway.server.runtime.served.polling["vllm"]
        polling.refresh()
        await eventually(lambda: polling.failed >= 2, patience_s=PATIENCE_S)

        assert (await post(gateway, "m")).status == 200
        backend.shows(vllm_list("m"))
        await gateway.wait_for_log(
            lambda line: line["event"] == "models" and "again" in line.get("reason", "")
        )

    told = [
        line["reason"]
        for line in gateway.log_lines
        if line["event"] == "models" and "reason" in line
    ]
    assert told[0].endswith("the last list stays in use: status 500")
    assert len(told) == 2, "one line when it fails, one when it is well again"


@pytest.mark.parametrize(
    ("response", "why"),
    [
        (answer({}, "401 Unauthorized"), "status 401: check its `credentials`"),
        (answer({}, "302 Found", "Location: http://127.0.0.1:1/"), "status 302"),
        (answer({"object": "list"}), "its answer has no list `data`"),
        (answer(b"<html>"), "is not JSON"),
        (answer(b"[" * 100_000), "is not JSON"),
        (answer(b" " * 50_000_000), "longer than 2 MiB"),
        (b"nonsense\r\n\r\n", "ClientResponseError"),
    ],
)
async def test_a_bad_list_is_reported_and_other_upstreams_are_served(
    start_gateway: StartGateway, response: bytes, why: str
) -> None:
    async with ListingBackend(vllm_list("m")) as good, ListingBackend({}) as bad:
        bad.list = response
        bad_one = ("bad", bad.url, {"discover_models": True})
        good_one = ("good", good.url, {"discover_models": True})
        gateway = await start_gateway(discovering(bad_one, good_one, models=["*"]))
        listed = await names(gateway)
        # The connection of a list that is too long ends in the middle of it.
        await gateway.stop()

    assert listed == ["m"]
    [line] = [one for one in gateway.log_lines if one["event"] == "models" and "reason" in one]
    assert line["reason"].endswith(f"it has no list yet: {why}")


async def test_a_list_that_never_comes_delays_the_start_by_its_timeout_only(
    start_gateway: StartGateway,
) -> None:
    async with ListingBackend({}) as backend:
        backend.list = None
        vllm = ("vllm", backend.url, {"discover_models": {"timeout": "50ms"}})
        gateway = await start_gateway(discovering(vllm, models=["vllm/*", "*"]))

        assert await names(gateway) == []
        assert_error(await post(gateway, "m"), 404, code="model_not_found")


async def test_names_that_cannot_be_shown_or_matched_are_left_out_and_told(
    start_gateway: StartGateway,
) -> None:
    bad = ["", " a", "a*", "<script>", "a\nb", "a\0", "a\u202eb", "x" * 257, "${HOME}", "a\\b"]
    good = ["a/b/c", "org/Model-1.5:tag@v2", "mit leer", "模型"]
    document = openai_list(*bad, *good, good[0])
    document["data"] += [None, 7, {"id": None}, {"id": 7}, {"id": ["a"]}, {}]
    async with ListingBackend(document) as backend:
        vllm = ("vllm", backend.url, {"discover_models": True})
        gateway = await start_gateway(discovering(vllm, models=["*"]))

        assert await names(gateway) == good
        assert (await post(gateway, "a/b/c")).status == 200
        one = await ask(gateway.port, request("GET", "/v1/models/a/b/c"))

    assert json.loads(one.body)["id"] == "a/b/c"
    [line] = [one for one in gateway.log_lines if one["event"] == "models" and "reason" in one]
    assert line["reason"].startswith(
        f"{backend.url}: does not serve '', ' a', 'a*' and 7 more: a model's name has at most 256 "
    )


async def test_a_long_list_is_cut_at_the_configured_number(start_gateway: StartGateway) -> None:
    listed = openai_list(*(f"m{number}" for number in range(5_000)))
    async with ListingBackend(listed) as backend:
        vllm = ("vllm", backend.url, {"discover_models": {"most": 10}})
        gateway = await start_gateway(discovering(vllm, models=["*"]))
        found = gateway.server.runtime.served.merged.by_upstream["vllm"]

        assert await names(gateway) == [f"m{number}" for number in range(10)]
        line = await gateway.wait_for_log(lambda one: "4990 models too many" in str(one))
    assert found.cut == 4_990
    assert (line["level"], line["upstream"]) == ("warning", "vllm")


async def test_the_most_specific_settings_apply_to_a_discovered_model(
    start_gateway: StartGateway,
) -> None:
    settings = {
        "*": {"price": {"input": 1, "output": 2}},
        "big-*": {"context_window": 77, "fallbacks": ["small", "vanished"]},
    }
    async with ListingBackend(openai_list("big-1", "small")) as backend:
        backend.answers["big-1"] = answer({}, "500 Internal Server Error")
        vllm = ("vllm", backend.url, {"discover_models": {"settings": settings}})
        gateway = await start_gateway(discovering(vllm, models=["*"]))

        listed = {one["id"]: one for one in await entries(gateway)}
        got = await post(gateway, "big-1")

    assert listed["big-1"]["context_length"] == 77
    assert "pricing" not in listed["big-1"]
    assert listed["small"]["pricing"]["prompt"] == "0.000001"
    assert got.status == 200
    assert backend.chats == ["big-1", "small"]


async def test_requests_for_an_adapter_go_to_the_endpoints_that_list_it(
    start_gateway: StartGateway,
) -> None:
    plain = vllm_list("base", window=2048)
    both = vllm_list("base", window=2048, adapters={"sql-lora": "base"})
    async with ListingBackend(plain) as one, ListingBackend(both) as two:
        config = discovering(("vllm", one.url, {"discover_models": True}), models=["*"])
        config["upstreams"]["vllm"]["endpoints"].append({"url": two.url})
        gateway = await start_gateway(config)

        listed = {entry["id"]: entry for entry in await entries(gateway)}
        statuses = [(await post(gateway, "sql-lora")).status for _ in range(8)]
        for _ in range(8):
            await post(gateway, "base")

    assert statuses == [200] * 8
    assert "sql-lora" not in one.chats
    assert two.chats.count("sql-lora") == 8
    assert one.chats, "both endpoints share the requests for the base model"
    assert listed["sql-lora"]["context_length"] == 2048, "an adapter has its parent's window"
    assert listed["sql-lora"]["parent"] == "base"


async def test_an_adapter_is_never_asked_for_at_an_endpoint_that_lacks_it(
    start_gateway: StartGateway,
) -> None:
    """Not in a further round of retries either: the caller gets the error of the right endpoint."""
    plain, both = vllm_list("base"), vllm_list("base", adapters={"sql-lora": "base"})
    async with ListingBackend(plain) as one, ListingBackend(both) as two:
        two.answers["sql-lora"] = answer({}, "503 Service Unavailable")
        options = {"discover_models": True, "retries": {"post": True, "attempts": 3}}
        config = discovering(("vllm", one.url, options), models=["*"])
        config["upstreams"]["vllm"]["endpoints"].append({"url": two.url})
        gateway = await start_gateway(config)

        got = await post(gateway, "sql-lora")

    assert got.status == 503
    assert one.chats == []
    assert len(two.chats) > 1


async def test_an_adapter_is_down_when_its_only_endpoint_is(start_gateway: StartGateway) -> None:
    plain, both = vllm_list("base"), vllm_list("base", adapters={"sql-lora": "base"})
    async with ListingBackend(plain) as one, ListingBackend(both) as two:
        config = discovering(("vllm", one.url, {"discover_models": True}), models=["*"])
        config["upstreams"]["vllm"]["endpoints"].append({"url": two.url})
        gateway = await start_gateway(config)
        upstream = gateway.server.runtime.upstreams["vllm"]
        upstream.drain(upstream.endpoints[1], out=True)

        got = await ask(gateway.port, request("GET", "/v1/models?health=true"))

    health = {one["id"]: one["health"] for one in json.loads(got.body)["data"]}
    assert health == {"base": "degraded", "sql-lora": "down"}


async def test_an_adapter_that_is_loaded_later_becomes_a_model(start_gateway: StartGateway) -> None:
    async with ListingBackend(vllm_list("base")) as backend:
        vllm = ("vllm", backend.url, {"discover_models": True})
        gateway = await start_gateway(discovering(vllm, models=["*"]))
        backend.shows(vllm_list("base", adapters={"new-lora": "base"}))
        await refreshed(gateway, ["base", "new-lora"])

        assert (await post(gateway, "new-lora")).status == 200


async def test_a_stream_goes_on_when_its_model_vanishes(start_gateway: StartGateway) -> None:
    async with ListingBackend(vllm_list("m", "n")) as backend:
        vllm = ("vllm", backend.url, {"discover_models": True})
        gateway = await start_gateway(discovering(vllm, models=["*"]))
        backend.answers["m"] = STREAM_HEAD + chunk(b"data: 1\n\n")
        async with RawClient(gateway.port, patience_s=PATIENCE_S) as client:
            await client.send(chat("m"))
            await client.read_until(b"data: 1\n\n")
            backend.shows(vllm_list("n"))
            await refreshed(gateway, ["n"])
            assert (await post(gateway, "m")).status == 404
            [streaming] = [one for one in backend.connections if one.requests[-1].method == "POST"]
            await streaming.send(chunk(b"data: 2\n\n") + LAST_CHUNK)
            await client.read_until(b"data: 2\n\n")


async def test_a_reload_keeps_the_lists_without_asking_again(start_gateway: StartGateway) -> None:
    async with ListingBackend(vllm_list("m")) as backend:
        vllm = ("vllm", backend.url, {"discover_models": {"every": "1h"}})
        gateway = await start_gateway(discovering(vllm, models=["*"]))
        backend.list = None  # a list that never comes would hold up the reload
        for _ in range(3):
            await gateway.server.prepare(gateway.config)
            gateway.server.commit()

        assert await names(gateway) == ["m"]
        assert (await post(gateway, "m")).status == 200
        assert backend.lists == 1
        backend.shows(vllm_list("new"))
        await refreshed(gateway, ["new"])


async def test_a_reload_may_turn_discovery_on_and_off(start_gateway: StartGateway) -> None:
    async with ListingBackend(vllm_list("m")) as backend:
        off = discovering(("vllm", backend.url, {}), models=["kept"])
        off["models"] = {"kept": {"upstream": "vllm"}}
        on = discovering(("vllm", backend.url, {"discover_models": True}), models=["*"])
        gateway = await start_gateway(off)
        told = []
        for document in (on, off, on):
            await gateway.server.prepare(load_text(config_text(document, {})))
            gateway.server.commit()
            told.append(await names(gateway))

    assert told == [["m"], ["kept"], ["m"]]


def _asked_since(backend: ListingBackend, lists: int) -> bool:
    return backend.lists > lists


async def test_a_list_that_flaps_is_followed_once_a_second_at_most(
    start_gateway: StartGateway,
) -> None:
    async with ListingBackend(vllm_list("a")) as backend:
        vllm = ("vllm", backend.url, {"discover_models": True})
        gateway = await start_gateway(discovering(vllm, models=["*"]))
        served = gateway.server.runtime.served
        tables: list[object] = []
        started = time.perf_counter()
        for number in range(60):
            backend.shows(vllm_list("a" if number % 2 else "b"))
            lists = backend.lists
            served.polling["vllm"].refresh()
            await eventually(partial(_asked_since, backend, lists), patience_s=PATIENCE_S)
            assert (await ask(gateway.port, request("GET", "/v1/models"))).status == 200
            if served.table not in tables:
                tables.append(served.table)
        took_s = time.perf_counter() - started

    assert len(tables) <= took_s + 2


async def test_requests_pass_while_a_list_is_awaited(start_gateway: StartGateway) -> None:
    async with ListingBackend(vllm_list("m")) as backend:
        vllm = ("vllm", backend.url, {"discover_models": {"timeout": "20s"}})
        gateway = await start_gateway(discovering(vllm, models=["*"]))
        backend.list = None
        lists = backend.lists
        gateway.server.runtime.served.polling["vllm"].refresh()
        await eventually(lambda: backend.lists > lists, patience_s=PATIENCE_S)

        assert (await post(gateway, "m")).status == 200


async def _lists(polling: ModelPolling, names: Sequence[str]) -> None:
    """Wait until the gateway knows that the backend lists these models."""
    await eventually(
        lambda: [model.name for model in polling.models()] == [*names], patience_s=PATIENCE_S
    )


async def test_requests_are_answered_while_other_models_are_made_ready(
    start_gateway: StartGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ListingBackend(openai_list("a")) as backend:
        openai = ("vllm", backend.url, {"discover_models": True})
        gateway = await start_gateway(discovering(openai, models=["*"]))
        go, begun, build = threading.Event(), threading.Event(), ServedRoutes.built

        def slowly(self: ServedRoutes, lists: Lists) -> object:
            begun.set()
            assert go.wait(PATIENCE_S)
            return build(self, lists)

        monkeypatch.setattr(ServedRoutes, "built", slowly)
        polling = gateway.server.runtime.served.polling["vllm"]
        for listed in (("a", "b"), ("a", "b", "c")):
            backend.shows(openai_list(*listed))
            polling.refresh()
            await _lists(polling, listed)
            await eventually(begun.is_set, patience_s=PATIENCE_S)

        assert await names(gateway) == ["a"]
        assert (await post(gateway, "a")).status == 200
        go.set()
        await asked_until(
            lambda: names(gateway), lambda got: got == ["a", "b", "c"], patience_s=PATIENCE_S
        )
