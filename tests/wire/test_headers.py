"""H1 to H8: which header fields pass, which are ours, and how many are too many."""

from __future__ import annotations

import socket

import pytest

from tests.support.client import HOST, RawClient, ask, request
from tests.support.control import control_request
from tests.support.figures import Report
from tests.support.gateway import LogLine, RunningGateway, StartGateway, simple_config
from tests.support.refusal import assert_error, assert_nothing_forwarded, refusal_flaw
from tests.support.tokens import Auth, bearer
from tests.support.upstream import Request, ScriptedUpstream, json_reply, raw_reply, reply

TRUSTED = {"trusted_proxies": ["127.0.0.1/32"]}
SPOOFED = "203.0.113.66"


async def forwarded(gateway: RunningGateway, upstream: ScriptedUpstream, raw: bytes) -> Request:
    """Send a request that is served; what the upstream got of it."""
    assert (await ask(gateway.port, raw)).status == 200
    return upstream.requests[-1]


async def log_line_of(gateway: RunningGateway, got: Request) -> LogLine:
    """The access log's line about a request the upstream got."""
    ours = (got.value("x-request-id") or b"").decode()
    return await gateway.wait_for_log(lambda line: line.get("request_id") == ours)


# -- caps ------------------------------------------------------------------------------------

KIB = 1024
OVERSIZED = {
    "101 headers": request(headers=[f"X-{n}: canary" for n in range(100)]),
    "10 000 headers": request(headers=[f"X-{n}: canary" for n in range(10_000)]),
    "one value of 33 KiB": request(headers=["X-Big: " + "canary" * (33 * KIB // 6)]),
    "one value of 1 MiB": request(headers=["X-Big: " + "canary" * (KIB * KIB // 6)]),
    "one name of 33 KiB": request(headers=["canary" * (33 * KIB // 6) + ": x"]),
    "33 KiB in all": request(headers=[f"X-{n}: " + "c" * 600 for n in range(55)]),
    "a target of 33 KiB": request(target="/v1/" + "canary" * (33 * KIB // 6)),
    "no end in 40 KiB": request(headers=[f"X-{n}: " + "c" * 700 for n in range(57)])[:-2],
    "no line break in 40 KiB": b"GET /v1/" + b"c" * 40 * KIB,
}


@pytest.mark.parametrize("raw", OVERSIZED.values(), ids=OVERSIZED)
async def test_h1_too_many_or_too_large_headers_are_431(
    gateway: RunningGateway, upstream: ScriptedUpstream, raw: bytes
) -> None:
    assert await refusal_flaw(gateway.port, raw, 431) == ""
    await assert_nothing_forwarded(gateway.port, upstream)


async def test_h1_the_cap_holds_for_headers_that_trickle_in(gateway: RunningGateway) -> None:
    raw = OVERSIZED["no end in 40 KiB"]
    async with RawClient(gateway.port) as client:
        sent = await client.send_until_answered(raw[at : at + 500] for at in range(0, 40_000, 500))
        assert_error(await client.read_response(), 431)
    assert 32 * KIB - 500 <= sent <= 36 * KIB


async def test_h1_the_431_has_a_fixed_body_but_for_the_id_of_the_request(
    gateway: RunningGateway, report: Report
) -> None:
    bodies = set()
    for name in ("101 headers", "one value of 33 KiB", "no end in 40 KiB", "a target of 33 KiB"):
        response = await ask(gateway.port, OVERSIZED[name])
        assert b"canary" not in response.head.raw
        request_id = response.value("x-request-id")
        assert request_id
        assert response.json()["error"]["request_id"].encode() == request_id
        bodies.add(response.body.replace(request_id, b""))
    report("H1", "different bodies of 431", len(bodies))
    assert len(bodies) == 1


async def test_h1_100_headers_just_below_32_kib_are_served(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    # 98 and Host are 99; with the filler that makes the size, 100.
    headers = [f"X-{n}: {'v' * 300}" for n in range(98)]
    bare = len(request(headers=[*headers, "X-Fill: "]))
    raw = request(headers=[*headers, "X-Fill: " + "f" * (32 * KIB - bare)])
    assert len(raw) == 32 * KIB
    got = await forwarded(gateway, upstream, raw)
    assert len([name for name, _ in got.headers if name.startswith(b"X-")]) >= 99


# -- hop by hop ------------------------------------------------------------------------------


async def test_h2_a_client_cannot_nominate_our_headers_away(
    upstream: ScriptedUpstream,
    start_gateway: StartGateway,
    monkeypatch: pytest.MonkeyPatch,
    report: Report,
) -> None:
    monkeypatch.setenv("UPSTREAM_KEY", "upstream-key")
    credentials = {"bearer": {"env": "UPSTREAM_KEY"}}
    gateway = await start_gateway(
        simple_config(upstream.url, upstream={"credentials": credentials})
    )
    nominated = (
        "Connection: authorization, x-request-id, host, content-length, "
        "x-forwarded-for, x-forwarded-proto, forwarded, transfer-encoding"
    )
    got = await forwarded(
        gateway, upstream, request("POST", headers=[nominated, "X-Request-ID: theirs"], body=b"{}")
    )
    ours = ["authorization", "x-request-id", "host", "x-forwarded-for", "x-forwarded-proto"]
    missing = [name for name in ours if not got.values(name)]
    report("H2", "our headers a client nominated away", len(missing))
    assert missing == []
    assert got.value("authorization") == b"Bearer upstream-key"
    assert got.value("host") == f"127.0.0.1:{upstream.port}".encode()
    assert got.body == b"{}"


HOP_BY_HOP = [
    "Keep-Alive: timeout=5",
    "Proxy-Authenticate: Basic",
    "Proxy-Authorization: Basic canary",
    "Proxy-Connection: keep-alive",
    "TE: trailers",
    "Trailer: X-Canary",
    "Upgrade: canary",
    "X-Nominated: canary",
    "X-Nominated-Too: canary",
]
END_TO_END = "X-End-To-End: kept"


async def test_h3_hop_by_hop_request_headers_are_not_forwarded(
    gateway: RunningGateway, upstream: ScriptedUpstream, report: Report
) -> None:
    nominations = ["Connection: X-Nominated", "CONNECTION: keep-alive,x-nominated-too"]
    got = await forwarded(
        gateway, upstream, request(headers=[*nominations, *HOP_BY_HOP, END_TO_END])
    )
    names = {line.partition(":")[0] for line in HOP_BY_HOP} | {"Connection"}
    passed = sorted(name for name in names if got.values(name))
    report("H3", "hop-by-hop request headers passed", len(passed))
    assert passed == []
    assert b"canary" not in got.raw
    assert got.value("x-end-to-end") == b"kept"


async def test_h3_hop_by_hop_response_headers_are_not_passed_on(
    start_gateway: StartGateway, report: Report
) -> None:
    nominations = ["Connection: X-Nominated", "connection: keep-alive, x-nominated-too"]
    answer = reply(b"{}", headers=[*nominations, *HOP_BY_HOP, END_TO_END])
    async with ScriptedUpstream(raw_reply(answer)) as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        response = await ask(gateway.port, request())
    names = {line.partition(":")[0] for line in HOP_BY_HOP}
    passed = sorted(name for name in names if response.values(name))
    report("H3", "hop-by-hop response headers passed", len(passed))
    assert passed == []
    assert all(b"ominated" not in value for value in response.values("connection"))
    assert response.value("x-end-to-end") == b"kept"
    assert response.body == b"{}"


# -- who the client is -----------------------------------------------------------------------

CLAIMS = [
    f"X-Forwarded-For: {SPOOFED}",
    f"x-forwarded-for: 10.0.0.1, {SPOOFED}",
    f"X_Forwarded_For: {SPOOFED}",
    "X-Forwarded-Proto: spoofed",
    "X-Forwarded-Host: spoofed.test",
    "X-Forwarded-Port: 66",
    "X-Forwarded-Server: spoofed",
    "X-Forwarded-Uri: /spoofed",
    "X-Forwarded-Prefix: /spoofed",
    f'Forwarded: for={SPOOFED};host="spoofed.test";proto=https',
    f"X-Real-IP: {SPOOFED}",
    f"True-Client-IP: {SPOOFED}",
    "X-Original-URL: /spoofed",
    "X-Rewrite-URL: /spoofed",
]


async def test_h4_what_an_untrusted_peer_claims_about_the_client_is_replaced(
    gateway: RunningGateway, upstream: ScriptedUpstream, report: Report
) -> None:
    bypasses = []
    for claims in [*([claim] for claim in CLAIMS), CLAIMS]:
        got = await forwarded(gateway, upstream, request(headers=claims))
        line = await log_line_of(gateway, got)
        told = (got.value("x-forwarded-for"), got.value("x-forwarded-proto"))
        if (
            b"spoofed" in got.raw
            or SPOOFED.encode() in got.raw
            or told != (b"127.0.0.1", b"http")
            or got.value("x-forwarded-host") != HOST.encode()
            or SPOOFED in str(line)
        ):
            bypasses.append((claims, got.raw, line))
    report("H4", f"spoofed claims that pass, of {len(CLAIMS) + 1}", len(bypasses))
    assert bypasses == []


async def test_h4_a_trusted_proxy_is_believed_about_its_client(
    upstream: ScriptedUpstream, start_gateway: StartGateway
) -> None:
    gateway = await start_gateway(simple_config(upstream.url, server=TRUSTED))
    got = await forwarded(
        gateway,
        upstream,
        request(
            headers=[
                "X-Forwarded-For: 198.51.100.7",
                "X-Forwarded-Proto: https",
                "X-Forwarded-Host: public.test",
            ]
        ),
    )
    assert got.value("x-forwarded-for") == b"198.51.100.7, 127.0.0.1"
    assert got.value("x-forwarded-proto") == b"https"
    assert got.value("x-forwarded-host") == b"public.test"
    assert (await gateway.wait_for_log(lambda line: "client" in line))["client"] == "198.51.100.7"


async def test_h4_behind_a_trusted_proxy_the_client_is_the_nearest_untrusted_hop(
    upstream: ScriptedUpstream, start_gateway: StartGateway
) -> None:
    # The proxy appends the address it saw; whatever stands left of it the client made up.
    gateway = await start_gateway(simple_config(upstream.url, server=TRUSTED))
    await forwarded(
        gateway, upstream, request(headers=[f"X-Forwarded-For: {SPOOFED}, 198.51.100.7"])
    )
    assert (await gateway.wait_for_log(lambda line: "client" in line))["client"] == "198.51.100.7"


@pytest.mark.parametrize("claimed", ["198.51.100.7:50001", "::ffff:198.51.100.7"])
async def test_h4_an_address_with_a_port_or_mapped_to_ipv6_is_that_address(
    upstream: ScriptedUpstream, start_gateway: StartGateway, claimed: str
) -> None:
    gateway = await start_gateway(simple_config(upstream.url, server=TRUSTED))
    got = await forwarded(gateway, upstream, request(headers=[f"X-Forwarded-For: {claimed}"]))
    assert got.value("x-forwarded-for") == b"198.51.100.7, 127.0.0.1"
    assert (await gateway.wait_for_log(lambda line: "client" in line))["client"] == "198.51.100.7"


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="needs a dual-stack listener")
@pytest.mark.parametrize("trusted", [True, False])
async def test_h4_an_ipv4_client_of_a_dual_stack_listener_has_its_ipv4_address(
    upstream: ScriptedUpstream, start_gateway: StartGateway, trusted: bool
) -> None:
    server = {"listen": ":0", **(TRUSTED if trusted else {})}
    gateway = await start_gateway(simple_config(upstream.url, server=server))
    claim = ["X-Forwarded-For: 198.51.100.7"]
    got = await forwarded(gateway, upstream, request(headers=claim))
    told = b"198.51.100.7, 127.0.0.1" if trusted else b"127.0.0.1"
    assert got.value("x-forwarded-for") == told
    client = (await gateway.wait_for_log(lambda line: "client" in line))["client"]
    assert client == ("198.51.100.7" if trusted else "127.0.0.1")


async def test_h4_a_forwarded_header_that_is_no_list_of_addresses_breaks_nothing(
    upstream: ScriptedUpstream, start_gateway: StartGateway
) -> None:
    gateway = await start_gateway(simple_config(upstream.url, server=TRUSTED))
    for value in ("unknown", "'; DROP", ",,,", "127.0.0.1:80", "[::1]", "1.2.3.4, <b>", "1" * 9000):
        got = await forwarded(gateway, upstream, request(headers=[f"X-Forwarded-For: {value}"]))
        assert (got.value("x-forwarded-for") or b"").split(b", ")[-1] == b"127.0.0.1"
        assert b"DROP" not in got.raw
        assert b"<b>" not in got.raw


async def test_h5_a_name_with_an_underscore_is_dropped_beside_its_twin(
    upstream: ScriptedUpstream, start_gateway: StartGateway, report: Report
) -> None:
    gateway = await start_gateway(simple_config(upstream.url, server=TRUSTED))
    got = await forwarded(
        gateway,
        upstream,
        request(
            "POST",
            headers=[
                "X_Request_Id: canary",
                "X-Request-Id: the-real-one",
                "X-Request_Id: canary",
                "Content_Length: 99",
                "Transfer_Encoding: canary",
                "X_Gateway_Subject: canary",
                "_: canary",
            ],
            body=b"{}",
        ),
    )
    underscored = [name for name, _ in got.headers if b"_" in name]
    report("H5", "names with an underscore passed", len(underscored))
    assert underscored == []
    assert got.value("x-request-id") == b"the-real-one"
    assert got.body == b"{}"


# -- identity --------------------------------------------------------------------------------


@pytest.fixture
async def guarded(
    upstream: ScriptedUpstream, start_gateway: StartGateway, auth: Auth
) -> RunningGateway:
    """A gateway whose route wants a token."""
    return await start_gateway(simple_config(upstream.url, auth=["corp"]), auth=auth)


IDENTITY = [
    "X-Gateway-Subject: mallory",
    "x-gateway-subject: mallory",
    "X-Gateway-Tenant: mallory",
    "X_Gateway_Subject: mallory",
    "X-Gateway_Tenant: mallory",
]


async def test_h6_identity_headers_of_a_client_are_stripped_on_an_anonymous_route(
    gateway: RunningGateway, upstream: ScriptedUpstream, report: Report
) -> None:
    got = await forwarded(gateway, upstream, request(headers=IDENTITY))
    report("H6", "identity headers passed, anonymous", got.raw.count(b"mallory"))
    assert b"mallory" not in got.raw


async def test_h6_identity_headers_of_an_authenticated_client_are_stripped(
    guarded: RunningGateway, upstream: ScriptedUpstream, report: Report
) -> None:
    got = await forwarded(guarded, upstream, request(headers=[bearer(org="acme"), *IDENTITY]))
    report("H6", "identity headers passed, authenticated", got.raw.count(b"mallory"))
    assert b"mallory" not in got.raw


async def test_h6_even_a_trusted_proxy_does_not_say_who_the_caller_is(
    upstream: ScriptedUpstream, start_gateway: StartGateway
) -> None:
    gateway = await start_gateway(simple_config(upstream.url, server=TRUSTED))
    got = await forwarded(gateway, upstream, request(headers=IDENTITY))
    assert b"mallory" not in got.raw


async def test_h6_the_token_is_not_forwarded(
    guarded: RunningGateway, upstream: ScriptedUpstream
) -> None:
    authorization = bearer()
    got = await forwarded(guarded, upstream, request(headers=[authorization]))
    assert authorization.rpartition(" ")[2].encode() not in got.raw


# -- the response ----------------------------------------------------------------------------

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"
BAD_RESPONSE_HEADERS = {
    "NUL in a value": HEAD + b"X: a\0b\r\n\r\n{}",
    "NUL in a name": HEAD + b"X\0: a\r\n\r\n{}",
    "CR in a value": HEAD + b"X: a\rb\r\n\r\n{}",
    "CR, then a header": HEAD + b"X: a\rSet-Cookie: canary\r\n\r\n{}",
    "two CR": HEAD + b"X: a\r\r\n\r\n{}",
    "LF, then a header": HEAD + b"X: a\nSet-Cookie: canary\r\n\r\n{}",
    "LF, then no header": HEAD + b"X: a\nb\r\n\r\n{}",
    "fold": HEAD + b"X: a\r\n canary\r\n\r\n{}",
    "space before the colon": HEAD + b"X : a\r\n\r\n{}",
    "no colon": HEAD + b"canary\r\n\r\n{}",
    "empty name": HEAD + b": a\r\n\r\n{}",
    "CR in the reason": b"HTTP/1.1 201 O\rK\r\nContent-Length: 2\r\n\r\n{}",
    "NUL in the reason": b"HTTP/1.1 201 O\0K\r\nContent-Length: 2\r\n\r\n{}",
}


@pytest.mark.parametrize("answer", BAD_RESPONSE_HEADERS.values(), ids=BAD_RESPONSE_HEADERS)
async def test_h7_a_broken_upstream_header_is_502(
    start_gateway: StartGateway, answer: bytes
) -> None:
    async with ScriptedUpstream(raw_reply(answer)) as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        response = await ask(gateway.port, request())
        assert_error(response, 502, code="upstream_invalid_response")
        assert b"canary" not in response.head.raw + response.body
        # And the connection it came on carries nobody else's request.
        upstream.script = json_reply({})
        await control_request(gateway.port)
        assert len(upstream.connections) == 2


async def test_h8_duplicate_set_cookie_headers_stay_in_order(
    start_gateway: StartGateway, report: Report
) -> None:
    cookies = [f"session-{n}=v{n}; Path=/; HttpOnly" for n in (3, 1, 2)] + ["session-3=again"]
    headers = ["X-A: 1"]
    for cookie in cookies:
        headers += [f"Set-Cookie: {cookie}", "X-Between: 1"]
    async with ScriptedUpstream(raw_reply(reply(b"{}", headers=headers))) as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        response = await ask(gateway.port, request())
    got = [value.decode() for value in response.values("set-cookie")]
    report(
        "H8", "cookies of 4 in their place", sum(a == b for a, b in zip(got, cookies, strict=False))
    )
    assert got == cookies
    assert response.values("x-between") == [b"1"] * 4
