"""X11: what an error tells: what went wrong, and nothing else."""

from __future__ import annotations

import json
import re

import pytest

from tests.support.client import HOST, Response, ask, request
from tests.support.gateway import StartGateway, simple_config
from tests.support.refusal import assert_error
from tests.support.tokens import Auth
from tests.support.upstream import (
    STREAM_HEAD,
    ScriptedUpstream,
    chunk,
    hang,
    raw_reply,
    reply_then_close,
)

CANARY = "canary7f3a"
LEAKS = re.compile(
    rb"traceback|exception|file \"|line \d|\.py\b|python|aiohttp|httptools|llhttp|uvloop|asyncio|"
    rb"pydantic|orjson|0x[0-9a-f]{6,}|site-packages|127\.0\.0\.1|errno|\d+\.\d+\.\d+|/usr/",
    re.IGNORECASE,
)


def assert_tells_nothing(response: Response, upstream: ScriptedUpstream) -> None:
    """No canary of the request, no name, version or place of anything inside."""
    said = response.head.raw + response.body
    assert CANARY.encode() not in said.lower()
    assert LEAKS.search(said) is None, LEAKS.search(said)
    assert str(upstream.port).encode() not in said


CANARY_HEADERS = [f"X-Canary: {CANARY}", f"User-Agent: {CANARY}", f"Cookie: a={CANARY}"]
BAD_REQUESTS: dict[str, tuple[bytes, int, str | None]] = {
    "no HTTP": (f"{CANARY} {CANARY}\r\n\r\n".encode(), 400, None),
    "method": (request(CANARY.upper(), headers=["Connection: close"]), 400, None),
    "broken header": (request(headers=[f"{CANARY} : x"]), 400, None),
    "broken length": (request("POST", headers=[f"Content-Length: {CANARY}"]), 400, None),
    "broken chunk": (
        request("POST", headers=["Transfer-Encoding: chunked"]) + f"{CANARY}\r\n".encode(),
        400,
        None,
    ),
    "host": (request(host=f"{CANARY}/#"), 400, "invalid_host"),
    "path": (request(target=f"/v1/../{CANARY}"), 400, "invalid_path"),
    "absolute-form": (request(target=f"http://{CANARY}.test/v1/x"), 400, "invalid_host"),
    "version": (f"GET /v1/{CANARY} HTTP/1.0\r\nHost: {HOST}\r\n\r\n".encode(), 505, None),
    "no route": (request(target=f"/{CANARY}", headers=CANARY_HEADERS), 404, "not_found"),
    "wrong method": (
        request("DELETE", f"/get/{CANARY}", headers=CANARY_HEADERS),
        405,
        "method_not_allowed",
    ),
    "too large": (
        request("POST", f"/v1/{CANARY}", headers=[f"Content-Length: {10**9}"]),
        413,
        "request_too_large",
    ),
    "headers": (request(headers=[f"X-Big: {CANARY * 4000}"]), 431, None),
    "no token": (request(target=f"/guarded/{CANARY}"), 401, None),
    "bad token": (
        request(target="/guarded/x", headers=[f"Authorization: Bearer {CANARY}.{CANARY}.{CANARY}"]),
        401,
        None,
    ),
    "bad scheme": (
        request(target="/guarded/x", headers=[f"Authorization: Basic {CANARY}"]),
        401,
        None,
    ),
    "not JSON": (request("POST", "/models/x", body=CANARY.encode()), 400, "invalid_json"),
    "JSON, but no object": (
        request("POST", "/models/x", body=json.dumps([CANARY]).encode()),
        400,
        "invalid_json",
    ),
    "model": (
        request("POST", "/models/x", body=json.dumps({"model": CANARY}).encode()),
        404,
        "model_not_found",
    ),
    "model of another type": (
        request("POST", "/models/x", body=json.dumps({"model": {CANARY: 1}}).encode()),
        400,
        None,
    ),
    "no model": (request("POST", "/models/x", body=json.dumps({CANARY: 1}).encode()), 400, None),
    "expectation": (
        request("POST", headers=[f"Expect: {CANARY}"], body=b"{}"),
        417,
        "expectation_failed",
    ),
}


@pytest.mark.parametrize("case", BAD_REQUESTS)
async def test_x11_an_error_about_a_request_tells_nothing_back(
    upstream: ScriptedUpstream, start_gateway: StartGateway, auth: Auth, case: str
) -> None:
    raw, status, code = BAD_REQUESTS[case]
    config = simple_config(upstream.url)
    config["models"] = {"llama": {"upstream": "main"}}
    config["routes"] += [
        {
            "name": "get",
            "path": "/get/",
            "methods": ["GET"],
            "auth": "anonymous",
            "upstream": "main",
        },
        {"name": "guarded", "path": "/guarded/", "auth": ["corp"], "upstream": "main"},
        {"name": "models", "path": "/models/", "auth": "anonymous", "models": ["llama"]},
    ]
    gateway = await start_gateway(config, auth=auth)
    response = await ask(gateway.port, raw)
    if case == "method":
        # An unknown method is bad syntax to one parser and merely not allowed to the next.
        assert response.status in (400, 405, 501)
        status = response.status
    assert_error(response, status, code=code)
    assert_tells_nothing(response, upstream)
    assert upstream.connections == []


GARBAGE = f"HTTP/1.1 200 OK\r\n{CANARY} : {CANARY}\r\n\r\n".encode()
BAD_UPSTREAMS = {
    "garbage": (reply_then_close(CANARY.encode()), 502, "upstream_invalid_response"),
    "broken header": (raw_reply(GARBAGE), 502, "upstream_invalid_response"),
    "closes": (reply_then_close(b""), 502, "upstream_reset"),
    "half a head": (reply_then_close(b"HTTP/1.1 200 OK\r\nX-Canary: canary7f"), 502, None),
    "hangs": (hang, 504, "upstream_first_byte_timeout"),
}


@pytest.mark.parametrize("case", BAD_UPSTREAMS)
async def test_x11_an_error_about_an_upstream_tells_nothing_of_it(
    start_gateway: StartGateway, case: str
) -> None:
    script, status, code = BAD_UPSTREAMS[case]
    async with ScriptedUpstream(script) as upstream:
        options = {"timeouts": {"first_byte": "200ms"}}
        gateway = await start_gateway(simple_config(upstream.url, upstream=options))
        response = await ask(gateway.port, request("POST", headers=CANARY_HEADERS, body=b"{}"))
        assert_error(response, status, code=code)
        assert response.value("x-request-id")
        assert_tells_nothing(response, upstream)


async def test_x11_a_refused_connection_tells_nothing_of_the_upstream(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream() as upstream:
        url = upstream.url
    gateway = await start_gateway(simple_config(url))
    response = await ask(gateway.port, request())
    assert_error(response, 502, code="upstream_connect_failed")
    assert_tells_nothing(response, upstream)


async def test_x11_an_error_event_in_a_stream_tells_nothing_of_the_upstream(
    start_gateway: StartGateway,
) -> None:
    begun = STREAM_HEAD + chunk(b"data: 1\n\n") + f"{CANARY}\r\n".encode()
    async with ScriptedUpstream(reply_then_close(begun)) as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        response = await ask(gateway.port, request())
        assert (response.status, response.clean_end) == (200, False)
        assert response.body.startswith(b"data: 1\n\n")
        error = json.loads(response.body.rpartition(b"data: ")[2])["error"]
        assert error["code"] == "upstream_invalid_response"
        assert_tells_nothing(response, upstream)


async def test_x11_a_fault_in_a_plug_in_tells_nothing_of_it(
    upstream: ScriptedUpstream, start_gateway: StartGateway
) -> None:
    plugin = {"use": "tests.support.faulty_plugin.fail"}
    gateway = await start_gateway(simple_config(upstream.url, middleware=[plugin]))
    response = await ask(gateway.port, request(headers=CANARY_HEADERS))
    assert_error(response, 500, code="internal_error")
    assert_tells_nothing(response, upstream)
    line = await gateway.wait_for_log(lambda line: line["event"] == "unhandled")
    assert "RuntimeError" in line["exception"]
    assert line["request_id"] == (response.value("x-request-id") or b"").decode()
