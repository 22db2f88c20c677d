"""Reaching an upstream: refused, too slow, too busy, or not who it should be (U1, TLS)."""

from __future__ import annotations

import ssl
import time
from pathlib import Path

import pytest
import trustme

from tests.support.client import RawClient, request
from tests.support.exchange import EVENTS, POST, ask, read_stream
from tests.support.figures import Report
from tests.support.gateway import StartGateway, simple_config
from tests.support.peers import endpoints, refusing_endpoint, unanswering_endpoint
from tests.support.refusal import assert_error
from tests.support.upstream import (
    STREAM_HEAD,
    ScriptedUpstream,
    UpstreamConnection,
    chunk,
    json_reply,
    reply,
    sse_reply,
)
from tests.support.waiting import SLACK_S

# -- U1: TCP ----------------------------------------------------------------------------------


async def test_u1_refused_is_502(start_gateway: StartGateway, report: Report) -> None:
    with refusing_endpoint() as url:
        gateway = await start_gateway(simple_config(url))
        started = time.perf_counter()
        response = await ask(gateway.port)
        report("U1", "refused to 502, ms", (time.perf_counter() - started) * 1e3)
    assert_error(response, 502, code="upstream_connect_failed")


async def test_u1_every_endpoint_refusing_is_502(start_gateway: StartGateway) -> None:
    with refusing_endpoint() as one, refusing_endpoint() as other:
        gateway = await start_gateway(endpoints(one, other))
        assert_error(await ask(gateway.port), 502, code="upstream_connect_failed")


async def test_u1_a_name_that_does_not_resolve_is_502(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(simple_config("http://nowhere.invalid:80"))
    assert_error(await ask(gateway.port), 502, code="upstream_connect_failed")


async def test_u1_the_next_endpoint_serves_what_a_refusing_one_does_not(
    start_gateway: StartGateway, report: Report
) -> None:
    slowest_s = 0.0
    tries = 40
    async with ScriptedUpstream(json_reply({"served": True})) as upstream:
        with refusing_endpoint() as refusing:
            gateway = await start_gateway(endpoints(refusing, upstream.url))
            for _ in range(tries):
                started = time.perf_counter()
                response = await ask(gateway.port)
                slowest_s = max(slowest_s, time.perf_counter() - started)
                assert (response.status, response.json()) == (200, {"served": True})
        assert len(upstream.requests) == tries
    report("U1", "refused to next endpoint's answer, worst ms", slowest_s * 1e3)


async def test_u1_a_streamed_upload_goes_whole_to_the_next_endpoint(
    start_gateway: StartGateway,
) -> None:
    body = bytes(range(256)) * 1024
    async with ScriptedUpstream(json_reply({})) as upstream:
        with refusing_endpoint() as refusing:
            gateway = await start_gateway(endpoints(refusing, upstream.url))
            for _ in range(4):
                response = await ask(gateway.port, request("POST", body=body))
                assert response.status == 200
        assert [seen.body for seen in upstream.requests] == 4 * [body]


async def test_u1_an_endpoint_that_does_not_answer_the_connection_is_504(
    start_gateway: StartGateway, report: Report
) -> None:
    with unanswering_endpoint() as url:
        gateway = await start_gateway(
            simple_config(url, upstream={"timeouts": {"connect": "400ms"}})
        )
        started = time.perf_counter()
        response = await ask(gateway.port)
        took = time.perf_counter() - started
    assert_error(response, 504, code="upstream_connect_timeout")
    report("U1", "504 off its 400 ms by, ms", abs(took - 0.4) * 1e3)
    assert 0.39 <= took < 0.4 + SLACK_S


async def test_u1_the_connect_timeout_includes_the_tls_handshake(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream() as silent:
        gateway = await start_gateway(
            simple_config(
                f"https://localhost:{silent.port}", upstream={"timeouts": {"connect": "300ms"}}
            )
        )
        assert_error(await ask(gateway.port), 504, code="upstream_connect_timeout")
        await (await silent.accept()).wait_client_gone()


async def test_u1_the_next_endpoint_serves_what_one_that_does_not_answer_cannot(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        with unanswering_endpoint() as url:
            gateway = await start_gateway(
                endpoints(url, upstream.url, timeouts={"connect": "500ms"})
            )
            for _ in range(3):
                assert (await ask(gateway.port)).status == 200
        assert len(upstream.requests) == 3


# -- at the connection limit ------------------------------------------------------------------


async def test_an_upstream_at_its_connection_limit_is_503_until_it_is_free(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(simple_config(upstream.url, upstream={"max_connections": 1}))
        async with RawClient(gateway.port) as first:
            await first.send(POST)
            connection = await upstream.accept()
            await connection.read_request()
            busy = await ask(gateway.port)
            assert_error(busy, 503, code="upstream_busy")
            assert busy.value("retry-after") is not None
            await connection.send(reply(b"{}"))
            assert (await first.read_response()).status == 200
        async with RawClient(gateway.port) as next_client:
            await next_client.send(POST)
            await connection.read_request()
            await connection.send(reply(b"{}"))
            assert (await next_client.read_response()).status == 200
        assert len(upstream.connections) == 1


async def test_the_next_endpoint_serves_what_one_at_its_limit_cannot(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream() as one, ScriptedUpstream() as other:
        gateway = await start_gateway(endpoints(one.url, other.url, max_connections=1))
        async with RawClient(gateway.port) as first, RawClient(gateway.port) as second:
            await first.send(POST)
            await second.send(POST)
            for upstream in (one, other):
                connection = await upstream.accept()
                await connection.read_request()
                await connection.send(reply(b"{}"))
            assert (await first.read_response()).status == 200
            assert (await second.read_response()).status == 200


# -- TLS --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> str:
    file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    return str(file)


def serving(authority: trustme.CA, name: str = "localhost") -> ssl.SSLContext:
    """A server's context with a certificate for `name`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


async def test_a_tls_upstream_of_a_custom_authority_is_served_and_sent_its_name(
    start_gateway: StartGateway, authority: trustme.CA, ca_file: str
) -> None:
    async with ScriptedUpstream(json_reply({"tls": True}), tls=serving(authority)) as upstream:
        gateway = await start_gateway(
            simple_config(upstream.url, upstream={"tls": {"ca": ca_file}})
        )
        for _ in range(3):
            response = await ask(gateway.port)
            assert (response.status, response.json()) == (200, {"tls": True})
        assert upstream.server_names == ["localhost"]
        assert upstream.requests[0].value("host") == f"localhost:{upstream.port}".encode()
        assert len(upstream.connections) == 1


async def test_a_configured_server_name_is_sent_and_verified(
    start_gateway: StartGateway, authority: trustme.CA, ca_file: str
) -> None:
    context = serving(authority, "backend.test")
    async with ScriptedUpstream(json_reply({}), tls=context) as upstream:
        options = {"tls": {"ca": ca_file, "server_name": "backend.test"}}
        gateway = await start_gateway(simple_config(upstream.url, upstream=options))
        assert (await ask(gateway.port)).status == 200
        assert upstream.server_names == ["backend.test"]


async def test_a_certificate_of_another_authority_is_502_and_nothing_is_sent(
    start_gateway: StartGateway, ca_file: str
) -> None:
    context = serving(trustme.CA())
    async with ScriptedUpstream(json_reply({}), tls=context) as upstream:
        gateway = await start_gateway(
            simple_config(upstream.url, upstream={"tls": {"ca": ca_file}})
        )
        assert_error(await ask(gateway.port), 502, code="upstream_connect_failed")
        assert upstream.requests == []


async def test_a_custom_authority_replaces_no_check_when_it_is_not_configured(
    start_gateway: StartGateway, authority: trustme.CA
) -> None:
    async with ScriptedUpstream(json_reply({}), tls=serving(authority)) as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        assert_error(await ask(gateway.port), 502, code="upstream_connect_failed")
        assert upstream.requests == []


@pytest.mark.parametrize("name", ["elsewhere.test", "*.localhost", "127.0.0.1"])
async def test_a_certificate_for_another_name_is_502_and_nothing_is_sent(
    start_gateway: StartGateway, authority: trustme.CA, ca_file: str, name: str
) -> None:
    async with ScriptedUpstream(json_reply({}), tls=serving(authority, name)) as upstream:
        gateway = await start_gateway(
            simple_config(upstream.url, upstream={"tls": {"ca": ca_file}})
        )
        assert_error(await ask(gateway.port), 502, code="upstream_connect_failed")
        assert upstream.requests == []


async def test_any_certificate_passes_where_verification_is_switched_off(
    start_gateway: StartGateway,
) -> None:
    context = serving(trustme.CA(), "elsewhere.test")
    async with ScriptedUpstream(json_reply({}), tls=context) as upstream:
        options = {"tls": {"verify": False}}
        gateway = await start_gateway(simple_config(upstream.url, upstream=options))
        assert (await ask(gateway.port)).status == 200


async def test_an_https_endpoint_that_speaks_plain_http_is_502(start_gateway: StartGateway) -> None:
    async def script(connection: UpstreamConnection) -> None:
        await connection.read_some()
        await connection.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    async with ScriptedUpstream(script) as upstream:
        gateway = await start_gateway(simple_config(f"https://localhost:{upstream.port}"))
        assert_error(await ask(gateway.port), 502, code="upstream_connect_failed")


async def test_u6_an_http_endpoint_that_speaks_tls_is_502(
    start_gateway: StartGateway, authority: trustme.CA
) -> None:
    async with ScriptedUpstream(json_reply({}), tls=serving(authority)) as upstream:
        gateway = await start_gateway(simple_config(f"http://127.0.0.1:{upstream.port}"))
        response = await ask(gateway.port)
    assert response.status == 502
    # It depends on OpenSSL whether an alert precedes the end of the connection.
    assert response.json()["error"]["code"] in ("upstream_invalid_response", "upstream_reset")


async def test_a_stream_over_tls_passes_byte_for_byte(
    start_gateway: StartGateway, authority: trustme.CA, ca_file: str
) -> None:
    async with ScriptedUpstream(sse_reply(EVENTS), tls=serving(authority)) as upstream:
        gateway = await start_gateway(
            simple_config(upstream.url, upstream={"tls": {"ca": ca_file}})
        )
        response = await ask(gateway.port)
    assert (response.body, response.clean_end) == (b"".join(EVENTS), True)


async def test_u3_a_tls_upstream_gone_mid_stream_gives_one_error_event(
    start_gateway: StartGateway, authority: trustme.CA, ca_file: str
) -> None:
    async with ScriptedUpstream(tls=serving(authority)) as upstream:
        gateway = await start_gateway(
            simple_config(upstream.url, upstream={"tls": {"ca": ca_file}})
        )
        async with RawClient(gateway.port) as client:
            await client.send(POST)
            connection = await upstream.accept()
            await connection.read_request()
            await connection.send(STREAM_HEAD + chunk(EVENTS[0]))
            await client.read_head()
            assert await client.read_chunk() == EVENTS[0]
            connection.reset()
            rest, clean = await read_stream(client)
    assert not clean
    assert rest.count(b"upstream_reset") == 1
