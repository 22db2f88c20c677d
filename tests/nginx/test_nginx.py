"""The shipped nginx configuration, run by the real nginx in front of the gateway."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.support.bridge import bridge_client, bridged
from tests.support.figures import Report
from tests.support.gateway import RunningGateway, StartGateway, simple_config
from tests.support.nginx import Nginx, StartNginx
from tests.support.upstream import (
    STREAM_HEAD,
    ScriptedUpstream,
    chunk,
    json_reply,
    raw_reply,
    reply,
    stepped_stream,
)
from tests.support.waiting import PATIENCE_S

ROOT = Path(__file__).parents[2]
BEHIND_NGINX = {"trusted_proxies": ["127.0.0.1/32"]}
CHAT = {"model": "m", "stream": True}

both_protocols = pytest.mark.parametrize("http2", [False, True], ids=["http1.1", "http2"])


def client(nginx: Nginx, *, http2: bool = False) -> httpx.AsyncClient:
    """Straight to nginx, over one version of HTTP."""
    return httpx.AsyncClient(
        base_url=nginx.url,
        http1=not http2,
        http2=http2,
        verify=nginx.trust(),
        timeout=10.0,
        trust_env=False,
    )


async def test_nginx_accepts_the_configuration(tmp_path: Path) -> None:
    said = await Nginx(tmp_path, 1).test()
    assert "syntax is ok" in said
    assert "warn" not in said


async def test_an_nginx_with_other_sites_includes_one_file(
    start_gateway: StartGateway, start_nginx: StartNginx, tmp_path: Path
) -> None:
    # The block of docs/nginx.md, in an nginx that serves another site.
    page = (ROOT / "docs/nginx.md").read_text()
    [block] = re.findall(r"```nginx\n(.*?)```", page, re.DOTALL)
    assert "include gateway.conf;" in block
    other = f"server {{ listen unix:{tmp_path}/other; return 200 other; }}"
    main = f"events {{}} http {{ gzip on; include site/paths.conf; {other} {block} }}"
    async with ScriptedUpstream(json_reply({"ok": True})) as upstream:
        gateway = await start_gateway(simple_config(upstream.url, server=BEHIND_NGINX))
        nginx = await start_nginx(gateway.port, main=main)
        async with client(nginx) as http:
            answer = await http.post("/v1/chat/completions", json={"model": "m"})
        assert answer.json() == {"ok": True}
        transport = httpx.AsyncHTTPTransport(uds=f"{tmp_path}/other")
        async with httpx.AsyncClient(transport=transport, trust_env=False) as http:
            assert (await http.get("http://other/")).text == "other"


async def test_nginx_accepts_the_site_that_is_migrated(tmp_path: Path) -> None:
    page = (ROOT / "docs/migrating-from-nginx.md").read_text()
    [block] = re.findall(r"```nginx\n(.*?)```", page, re.DOTALL)
    # The page leaves the certificate out.
    block = block.replace("listen 443 ssl;", f"listen unix:{tmp_path}/site;")
    main = f"events {{}} http {{ include site/paths.conf; {block} }}"
    assert "syntax is ok" in await Nginx(tmp_path, 1, main=main).test()


@both_protocols
async def test_an_event_leaves_nginx_before_the_next_one_is_generated(
    start_gateway: StartGateway, start_nginx: StartNginx, http2: bool, report: Report
) -> None:
    delays = []
    async with ScriptedUpstream(stepped_stream()) as upstream:
        gateway = await start_gateway(simple_config(upstream.url, server=BEHIND_NGINX))
        nginx = await start_nginx(gateway.port)
        # Over HTTP/2, nginx keeps the head back until there is a first byte of the body.
        first = asyncio.create_task(upstream.release(b"data: first\n\n"))
        async with (
            client(nginx, http2=http2) as http,
            http.stream("POST", "/v1/chat/completions", json=CHAT) as response,
        ):
            assert response.http_version == ("HTTP/2" if http2 else "HTTP/1.1")
            assert response.headers["content-type"] == "text/event-stream"
            pieces = response.aiter_raw()
            await first
            assert await anext(pieces) == b"data: first\n\n"
            for number in range(20):
                event = b"data: %d\n\n" % number
                # Nothing else is sent until this one has been read.
                sent_at = await upstream.release(event)
                async with asyncio.timeout(PATIENCE_S):
                    got = await anext(pieces)
                delays.append(time.perf_counter() - sent_at)
                assert got == event
            await upstream.finish()
            assert [piece async for piece in pieces] == []
    delays.sort()
    name = "http2" if http2 else "http1.1"
    report("nginx", f"event through nginx over {name}, p50 ms", delays[10] * 1e3)


@both_protocols
async def test_an_early_head_and_heartbeats_pass_at_once(
    start_gateway: StartGateway, start_nginx: StartNginx, http2: bool
) -> None:
    async with ScriptedUpstream() as upstream:
        config = simple_config(upstream.url, server=BEHIND_NGINX, heartbeat="50ms")
        gateway = await start_gateway(config)
        nginx = await start_nginx(gateway.port)
        async with (
            client(nginx, http2=http2) as http,
            http.stream("POST", "/v1/chat/completions", json=CHAT) as response,
        ):
            # The backend has not said a word yet.
            connection = await upstream.accept()
            pieces = response.aiter_raw()
            assert response.headers["content-type"] == "text/event-stream"
            for _ in range(3):
                assert (await anext(pieces)).startswith(b": heartbeat\n")
            await connection.read_request()
            await connection.send(STREAM_HEAD + chunk(b"data: 1\n\n"))
            while (piece := await anext(pieces)).startswith(b": heartbeat"):
                pass
            assert piece == b"data: 1\n\n"
            assert await anext(pieces) == b": heartbeat\n"
            connection.reset()
            rest: list[bytes] = []
            with pytest.raises(httpx.RemoteProtocolError):
                await _collect(pieces, rest)
    assert b"upstream_reset" in b"".join(rest)


@both_protocols
async def test_a_client_that_leaves_stops_the_upstream(
    start_gateway: StartGateway, start_nginx: StartNginx, http2: bool, report: Report
) -> None:
    async with ScriptedUpstream(stepped_stream()) as upstream:
        gateway = await start_gateway(simple_config(upstream.url, server=BEHIND_NGINX))
        nginx = await start_nginx(gateway.port)
        first = asyncio.create_task(upstream.release(b"data: 1\n\n"))
        async with client(nginx, http2=http2) as http:
            async with http.stream("POST", "/v1/chat/completions", json=CHAT) as response:
                await first
                assert await anext(response.aiter_raw()) == b"data: 1\n\n"
                left_at = asyncio.get_running_loop().time()
            await http.aclose()
            gone_at = await upstream.connections[0].wait_client_gone()
        line = await gateway.wait_for_log(lambda line: line["event"] == "request")
    report("nginx", f"abort to upstream closed, http2={http2}, ms", (gone_at - left_at) * 1e3)
    assert gone_at - left_at < 1.0
    assert line["end"] == "client_abort"


async def test_errors_pass_untouched(start_gateway: StartGateway, start_nginx: StartNginx) -> None:
    upstreams_own = b'{"error":"the upstream\'s own words"}'
    answers = {
        "/v1/429": reply(upstreams_own, status="429 Too Many Requests", headers=["Retry-After: 7"]),
        "/v1/500": reply(upstreams_own, status="500 Internal Server Error"),
        "/v1/503": reply(upstreams_own, status="503 Service Unavailable"),
    }
    script = raw_reply(lambda request: answers[request.target])
    async with ScriptedUpstream(script) as upstream:
        gateway = await start_gateway(simple_config(upstream.url, server=BEHIND_NGINX))
        nginx = await start_nginx(gateway.port)
        async with client(nginx) as http:
            for target in answers:
                response = await http.post(target, json=CHAT)
                assert response.status_code == int(target[-3:])
                assert response.content == upstreams_own
                assert response.headers.get("retry-after") == ("7" if "429" in target else None)
            missing = await http.get("/nothing")
    assert missing.status_code == 404
    assert missing.json()["error"]["code"] == "not_found"


async def test_a_gateway_that_is_not_there_is_told_in_json(start_nginx: StartNginx) -> None:
    nginx = await start_nginx(1)
    async with client(nginx) as http:
        response = await http.get("/v1/models", headers={"X-Request-ID": "my-id"})
    assert response.status_code == 503
    assert response.headers["retry-after"] == "1"
    error = response.json()["error"]
    assert (error["code"], error["request_id"]) == ("gateway_unavailable", "my-id")


@pytest.mark.parametrize("theirs", ["client-id-1", "not sane; at all", None])
async def test_one_request_id_stands_everywhere(
    start_gateway: StartGateway, start_nginx: StartNginx, theirs: str | None
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway(simple_config(upstream.url, server=BEHIND_NGINX))
        nginx = await start_nginx(gateway.port)
        async with client(nginx) as http:
            headers = {} if theirs is None else {"X-Request-ID": theirs}
            response = await http.get("/v1/x", headers=headers)
        found = response.headers["x-request-id"]
        assert (found == theirs) == (theirs == "client-id-1")
        (line,) = await nginx.logged(1)
        logged = await gateway.wait_for_log(lambda line: line["event"] == "request")
        assert line["request_id"] == logged["request_id"] == found
        assert line["trace_id"] == logged["trace_id"]
        assert upstream.requests[0].value("x-request-id") == found.encode()


async def test_the_true_client_is_told_and_spoofs_are_not_believed(
    start_gateway: StartGateway, start_nginx: StartNginx
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway(simple_config(upstream.url, server=BEHIND_NGINX))
        nginx = await start_nginx(gateway.port)
        async with client(nginx) as http:
            await http.get(
                "/v1/x",
                headers={
                    "X-Forwarded-For": "6.6.6.6",
                    "X-Forwarded-Host": "evil.test",
                    "X-Forwarded-Proto": "gopher",
                    "X-Real-IP": "6.6.6.6",
                    "Forwarded": "for=6.6.6.6",
                },
            )
        seen = upstream.requests[0]
        logged = await gateway.wait_for_log(lambda line: line["event"] == "request")
    assert b"6.6.6.6" not in seen.raw
    assert b"evil.test" not in seen.raw
    assert seen.value("x-forwarded-proto") == b"https"
    public = b"localhost:%d" % nginx.port
    assert seen.value("x-forwarded-host") == public
    assert seen.value("forwarded") == b'for=127.0.0.1;host="%b";proto=https' % public
    assert logged["client"] == "127.0.0.1"


async def test_a_large_upload_streams_through(
    start_gateway: StartGateway, start_nginx: StartNginx
) -> None:
    size = 20 * 1024 * 1024
    async with ScriptedUpstream(json_reply({"ok": True})) as upstream:
        gateway = await start_gateway(
            simple_config(upstream.url, server=BEHIND_NGINX, body="64MiB")
        )
        nginx = await start_nginx(gateway.port)

        async def pieces() -> object:
            for _ in range(size // 65536):
                yield 65536 * b"a"

        async with client(nginx) as http:
            response = await http.post(
                "/v1/files",
                content=pieces(),  # type: ignore[arg-type]
                headers={"Content-Type": "application/octet-stream"},
            )
        assert response.status_code == 200
        assert len(upstream.requests[0].body) == size


async def test_a_stream_that_breaks_off_does_not_look_complete(
    start_gateway: StartGateway, start_nginx: StartNginx
) -> None:
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(simple_config(upstream.url, server=BEHIND_NGINX))
        nginx = await start_nginx(gateway.port)
        async with client(nginx) as http:
            asked = asyncio.create_task(_read_all(http))
            connection = await upstream.accept()
            await connection.read_request()
            await connection.send(STREAM_HEAD + chunk(b"data: 1\n\n"))
            connection.reset()
            body, complete = await asked
    assert body.startswith(b"data: 1\n\n")
    assert b"upstream_reset" in body
    assert not complete


async def _collect(pieces: AsyncIterator[bytes], into: list[bytes]) -> None:
    async for piece in pieces:
        into.append(piece)


async def _read_all(http: httpx.AsyncClient) -> tuple[bytes, bool]:
    body = b""
    try:
        async with http.stream("POST", "/v1/chat/completions", json=CHAT) as response:
            async for piece in response.aiter_raw():
                body += piece
    except httpx.RemoteProtocolError:
        return body, False
    return body, True


async def test_connections_to_the_gateway_are_kept(
    start_gateway: StartGateway, start_nginx: StartNginx
) -> None:
    gateway: RunningGateway
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway(simple_config(upstream.url, server=BEHIND_NGINX))
        nginx = await start_nginx(gateway.port)
        async with client(nginx) as http:
            for _ in range(20):
                assert (await http.get("/v1/x")).status_code == 200
        assert len(upstream.connections) == 1
        assert gateway.server.listener.open_connections <= 2


async def test_a_bridge_stands_behind_it(
    start_gateway: StartGateway, start_nginx: StartNginx
) -> None:
    async with ScriptedUpstream(stepped_stream()) as upstream:
        gateway = await start_gateway(bridged(upstream.url, server=BEHIND_NGINX))
        nginx = await start_nginx(gateway.port)
        door = nginx.url.replace("https", "wss")
        async with bridge_client(0, door=door, ssl=nginx.trust()) as socket:
            await socket.create("a")
            assert (await socket.hear())["type"] == "created"
            for number in range(3):
                # Nothing else is sent until this one has been read.
                await upstream.release(b'data: {"n": %d}\n\n' % number)
                assert (await socket.hear())["data"] == {"n": number}
            await socket.say("cancel", id="a")
            assert (await socket.end_of("a"))[-1]["type"] == "cancelled"
            await upstream.connections[0].wait_client_gone()
