"""A short generation, streamed from an endpoint in its own dialect, and the times of its events."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from pytest_aiohttp import AiohttpServer

from gateway.cli.doctor.finding import CheckResult
from gateway.cli.doctor.streaming import asked, judged
from gateway.config.types import Dialect
from gateway.demo import DemoBackend
from tests.support.doctor import LISTING, Doctor, of, one_model


@pytest.mark.parametrize(
    ("dialect", "path", "field"),
    [
        ("openai", "/v1/chat/completions", "max_tokens"),
        ("anthropic", "/v1/messages", "max_tokens"),
        ("ollama", "/api/chat", "options"),
    ],
)
def test_each_dialect_is_asked_for_a_short_stream_of_its_own(
    dialect: Dialect, path: str, field: str
) -> None:
    where, body = asked(dialect, "m")
    assert (where, body["model"], body["stream"]) == (path, "m", True)
    assert field in body


@pytest.mark.parametrize("dialect", ["openai", "anthropic", "ollama"])
async def test_an_endpoint_that_streams_is_well_in_its_own_dialect(
    doctor: Doctor, backend: DemoBackend, dialect: Dialect
) -> None:
    config = one_model(backend.url, dialect=dialect)
    config["models"] = {"m": {"upstream": "main", "model": "demo"}}
    found = of(await doctor(config, "--generate"), "unbuffered")
    assert found["subject"] == f"upstreams.main {backend.url} demo"
    assert doctor.code == 0


async def test_nothing_is_generated_unasked(doctor: Doctor, backend: DemoBackend) -> None:
    await doctor(one_model(backend.url))
    assert backend.stats.requests == 0


async def test_a_backend_that_collects_its_stream_is_found(
    doctor: Doctor, aiohttp_server: AiohttpServer
) -> None:
    async def collect(_: web.Request) -> web.Response:
        await asyncio.sleep(0.1)
        return web.Response(text="data: {}\n\n" * 8, content_type="text/event-stream")

    async def models(_: web.Request) -> web.Response:
        return web.json_response(LISTING)

    application = web.Application()
    application.router.add_post("/v1/chat/completions", collect)
    application.router.add_get("/v1/models", models)
    url = str((await aiohttp_server(application)).make_url("")).rstrip("/")
    found = of(await doctor(one_model(url), "--generate"), "all at once")
    assert found["verdict"] == "failed"
    assert "in front of it" in found["remedy"]
    assert doctor.code == 1


@given(st.lists(st.floats(0, 1000), max_size=20).map(sorted))
def test_any_arrivals_are_judged(arrivals: list[float]) -> None:
    assert judged("s", arrivals, "turn it off").verdict in CheckResult
