"""A stream through the running gateway, and what may stand in front of it."""

from __future__ import annotations

import asyncio
import ssl

import aiohttp
import trustme
from aiohttp import web
from pytest_aiohttp import AiohttpServer

from gateway.demo import DemoBackend
from tests.support.doctor import Doctor, of, one_model
from tests.support.gateway import StartGateway


async def test_a_gateway_that_is_down_is_told_of_in_the_systems_words(
    doctor: Doctor, backend: DemoBackend
) -> None:
    findings = await doctor(one_model(backend.url), "--through", "http://127.0.0.1:1")
    found = of(findings, "through http://127.0.0.1:1")
    assert found["text"] == "cannot be reached: Connection refused"


async def test_an_untrusted_certificate_in_front_is_told_with_its_remedy(
    doctor: Doctor, backend: DemoBackend
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0, ssl=context)
    async with server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        found = of(await doctor(one_model(backend.url), "--through", url), "through")
    assert "its TLS certificate is not accepted" in found["text"]
    assert "SSL_CERT_FILE" in found["remedy"]


async def test_a_stream_through_the_gateway_is_unbuffered(
    doctor: Doctor, backend: DemoBackend, start_gateway: StartGateway
) -> None:
    config = one_model(backend.url)
    config["models"]["demo"] = {"upstream": "main"}
    config["routes"][0]["models"] = ["demo"]
    gateway = await start_gateway(config)
    found = of(await doctor(config, "--through", gateway.url, "--model", "demo"), "unbuffered")
    assert found["verdict"] == "ok"


async def test_a_proxy_that_collects_a_stream_is_found(
    doctor: Doctor, backend: DemoBackend, aiohttp_server: AiohttpServer
) -> None:
    async def collect(request: web.Request) -> web.Response:
        async with (
            aiohttp.ClientSession() as session,
            session.post(backend.url + request.path, data=await request.read()) as answer,
        ):
            return web.Response(body=await answer.read(), content_type="text/event-stream")

    application = web.Application()
    application.router.add_post("/v1/chat/completions", collect)
    url = str((await aiohttp_server(application)).make_url(""))
    findings = await doctor(one_model(backend.url), "--through", url, "--model", "demo")
    found = of(findings, "all at once")
    assert "proxy_buffering off" in found["remedy"]
    assert doctor.code == 1


async def test_a_refused_stream_says_its_status(doctor: Doctor, backend: DemoBackend) -> None:
    options = ("--through", backend.url, "--model", "demo-error")
    assert of(await doctor(one_model(backend.url), *options), "status 5")["verdict"] == "failed"
