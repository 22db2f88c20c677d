"""What `gateway check --live` says about models that backends list."""

from __future__ import annotations

from typing import Any

import yaml

from gateway.cli.doctor.model_lists import model_findings
from gateway.config import load_text
from tests.support.listing_backend import ListingBackend, answer, discovering, vllm_list


async def said(document: Any) -> list[str]:
    found = await model_findings(load_text(yaml.safe_dump(document, sort_keys=False)))
    return [f"{'.'.join(map(str, path))}: {what}" for path, what, _ in found]


async def test_patterns_and_names_that_nobody_lists_are_told() -> None:
    async with ListingBackend(vllm_list("llama", "llama-2")) as backend:
        vllm = ("vllm", backend.url, {"discover_models": {"prefix": "v/", "most": 1}})
        document = discovering(vllm, models=["v/llama", "v/*", "v/qwen*", "v/gone"])

        assert await said(document) == [
            "upstreams.vllm.discover_models: 1 models beyond the first are not served",
            "routes.0.models.2: v/qwen* matches no model now",
            "routes.0.models.3: nobody lists v/gone now",
        ]


async def test_a_list_that_fails_and_a_model_that_is_configured_elsewhere_are_told() -> None:
    async with ListingBackend(vllm_list("a", "b")) as backend, ListingBackend({}) as away:
        away.list = answer({}, "401 Unauthorized")
        document = discovering(
            ("vllm", backend.url, {"discover_models": True}),
            ("away", away.url, {"discover_models": True}),
            models=["*"],
        )
        document["models"] = {"a": {"upstream": "away"}, "b": {"upstream": "vllm"}}

        assert await said(document) == [
            "upstreams.vllm.discover_models: also lists a",
            f"upstreams.away.discover_models: {away.url} gives no list: "
            "status 401: check its `credentials`",
        ]


async def test_listed_names_that_are_not_served_are_told() -> None:
    async with ListingBackend(vllm_list("a", "b*")) as backend:
        document = discovering(("vllm", backend.url, {"discover_models": True}), models=["*"])

        [told] = await said(document)
    assert told.startswith(f"upstreams.vllm.discover_models: {backend.url} does not serve 'b*': ")


async def test_without_discovery_nobody_is_asked() -> None:
    async with ListingBackend(vllm_list("a")) as backend:
        document = discovering(("vllm", backend.url, {}), models=["a"])
        document["models"] = {"a": {"upstream": "vllm"}}

        assert await said(document) == []
    assert backend.lists == 0
