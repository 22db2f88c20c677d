"""P1 to P12: bytes that two parsers could read two ways never reach the upstream."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import pytest

from tests.support.client import HOST, RawClient, ask, request
from tests.support.control import control_request
from tests.support.figures import Report
from tests.support.gateway import (
    RunningGateway,
)
from tests.support.refusal import assert_nothing_forwarded, error_flaw, refusal_flaw
from tests.support.upstream import (
    LAST_CHUNK,
    ScriptedUpstream,
    chunk,
)

SMUGGLED = request(target="/v1/smuggled")


async def flaws(
    gateway: RunningGateway, cases: Mapping[str, bytes], status: int | Collection[int] = 400
) -> dict[str, str]:
    """The cases the gateway did not refuse as it has to, and what it did."""
    found = {name: await refusal_flaw(gateway.port, raw, status) for name, raw in cases.items()}
    return {name: flaw for name, flaw in found.items() if flaw}


def post(*headers: str | bytes, body: bytes = b"") -> bytes:
    """A POST whose framing fields the test writes itself."""
    return request("POST", headers=headers) + body


# -- framing ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        ("Content-Length: 5", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: chunked", "Content-Length: 5"),
        ("Content-Length: 0", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: chunked", "X-Between: 1", "content-length: 5"),
    ],
    ids=["length first", "coding first", "length zero", "apart"],
)
async def test_p1_content_length_with_transfer_encoding_is_400_and_nothing_is_forwarded(
    gateway: RunningGateway, upstream: ScriptedUpstream, headers: tuple[str, ...], report: Report
) -> None:
    raw = post(*headers, body=LAST_CHUNK + SMUGGLED)
    assert await refusal_flaw(gateway.port, raw) == ""
    forwarded = await assert_nothing_forwarded(gateway.port, upstream)
    report("P1", f"bytes forwarded, {headers[0]} with {headers[-1]}", forwarded)


@pytest.mark.parametrize(
    "headers",
    [
        ("Content-Length: 5", "Content-Length: 6"),
        ("Content-Length: 5", "X-Between: 1", "content-length: 05"),
        ("Content-Length: 5, 6",),
        ("Content-Length: 0", "Content-Length: 44"),
    ],
)
async def test_p2_differing_content_lengths_are_400(
    gateway: RunningGateway, upstream: ScriptedUpstream, headers: tuple[str, ...]
) -> None:
    assert await refusal_flaw(gateway.port, post(*headers, body=b"hello" + SMUGGLED)) == ""
    await assert_nothing_forwarded(gateway.port, upstream)


BAD_LENGTHS = ["+5", "-1", "-0", "0x5", "9" * 20, "5 5", "5_0", "1e1", "5,", "5.0", "", '"5"']


async def test_p3_a_content_length_that_is_not_a_number_is_400(
    gateway: RunningGateway, upstream: ScriptedUpstream, report: Report
) -> None:
    cases = {length: post(f"Content-Length: {length}", body=b"hello") for length in BAD_LENGTHS}
    cases["an Arabic 5"] = post(b"Content-Length: \xd9\xa5", body=b"hello")
    found = await flaws(gateway, cases)
    report("P3", f"bad Content-Lengths accepted, of {len(cases)}", len(found))
    assert found == {}
    await assert_nothing_forwarded(gateway.port, upstream)


# What smugglers send: spellings one parser takes for chunked and the next does not.
OBFUSCATED_CODINGS = [
    b"Transfer-Encoding : chunked",
    b"Transfer-Encoding\t: chunked",
    b" Transfer-Encoding: chunked",
    b"Transfer-Encoding:\r\n chunked",
    b"Transfer-Encoding:\n chunked",
    b"Transfer-Encoding: xchunked",
    b"Transfer-Encoding: chunkedx",
    b"Transfer-Encoding: chunk",
    b"Transfer-Encoding: cow",
    b"Transfer-Encoding: identity",
    b"Transfer-Encoding: identity, chunked",
    b"Transfer-Encoding: chunked, identity",
    b"Transfer-Encoding: chunked, cow",
    b"Transfer-Encoding: cow, chunked",
    b"Transfer-Encoding: chunked, chunked",
    b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding: gzip",
    b"Transfer-Encoding: chunked cow",
    b"Transfer-Encoding: cow chunked",
    b"Transfer-Encoding: chunked;q=1",
    b'Transfer-Encoding: "chunked"',
    b"Transfer-Encoding: 'chunked'",
    b"Transfer-Encoding: chunked\x00",
    b"Transfer-Encoding: \x00chunked",
    b"Transfer-Encoding: \x0bchunked",
    b"Transfer-Encoding: chunked\x0b",
    b"Transfer-Encoding: \x0cchunked",
    b"Transfer-Encoding: \x08chunked",
    b"Transfer-Encoding: \xa0chunked",
    b"Transfer-Encoding: chunked\xff",
    b"Transfer-Encoding: \xef\xbb\xbfchunked",
    b"Transfer-Encoding: chun\xd0\xbaed",
    b"Transfer-Encoding: ",
    b"Transfer-Encoding:",
    b"Transfer-Encoding chunked",
    b"Transfer-Encoding: chunked\rX: y",
    b"Transfer-Encoding: chunked\nX: y",
    b"X: y\nTransfer-Encoding: chunked",
    b"X: y\rTransfer-Encoding: chunked",
    b"X: y\r\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: cow",
    b"Transfer-Encoding: cow\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding\x00: chunked",
    b"Transfer-Encoding\xa0: chunked",
    b"\x00Transfer-Encoding: chunked",
    b"Transfer\x20Encoding: chunked",
    b"Foo: bar\r\n\tTransfer-Encoding: chunked",
]


@pytest.mark.parametrize("with_length", [False, True], ids=["alone", "with Content-Length"])
async def test_p4_an_obfuscated_transfer_encoding_is_400(
    gateway: RunningGateway, upstream: ScriptedUpstream, with_length: bool, report: Report
) -> None:
    length = [b"Content-Length: %d" % len(LAST_CHUNK + SMUGGLED)] if with_length else []
    cases = {
        repr(coding): post(*length, coding, body=LAST_CHUNK + SMUGGLED)
        for coding in OBFUSCATED_CODINGS
    }
    # 501 is what RFC 9112 section 6.1 suggests for a coding that is well-formed but unknown.
    found = await flaws(gateway, cases, {400, 501})
    beside = " beside Content-Length" if with_length else ""
    report("P4", f"obfuscated codings accepted{beside}, of {len(cases)}", len(found))
    assert found == {}
    await assert_nothing_forwarded(gateway.port, upstream)


EMPTY_CODINGS = {
    "alone": (["Transfer-Encoding:"], b""),
    "before a length": (["Transfer-Encoding:", "Content-Length: 5"], b"hello"),
    "behind a length": (["Content-Length: 5", "Transfer-Encoding: "], b"hello"),
    "beside length 0": (["Content-Length: 0", "Transfer-Encoding:"], b""),
    "before chunked": (["Transfer-Encoding:", "Transfer-Encoding: chunked"], LAST_CHUNK),
    "behind chunked": (["Transfer-Encoding: chunked", "Transfer-Encoding:"], LAST_CHUNK),
}


async def test_p4_an_empty_transfer_encoding_is_400_whatever_stands_beside_it(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    cases = {name: post(*headers, body=body) for name, (headers, body) in EMPTY_CODINGS.items()}
    assert await flaws(gateway, cases) == {}
    await assert_nothing_forwarded(gateway.port, upstream)


@pytest.mark.parametrize(
    "coding",
    [
        "transfer-encoding: chunked",
        "TRANSFER-ENCODING: CHUNKED",
        "Transfer-Encoding:chunked",
        "Transfer-Encoding:\tchunked",
    ],
)
async def test_p4_a_legal_spelling_of_chunked_is_forwarded_with_one_framing(
    gateway: RunningGateway, upstream: ScriptedUpstream, coding: str
) -> None:
    async with RawClient(gateway.port) as client:
        await client.send(post(coding, body=chunk(b"hello") + LAST_CHUNK))
        assert (await client.read_response()).status == 200
    (forwarded,) = upstream.requests
    assert forwarded.body == b"hello"
    assert len(forwarded.values("content-length") + forwarded.values("transfer-encoding")) == 1


LINE = f"GET /v1/x HTTP/1.1\r\nHost: {HOST}\r\n".encode()
BAD_LINES = {
    "LF for every CRLF": LINE.replace(b"\r\n", b"\n") + b"\n",
    "LF behind the request line": LINE.replace(b"\r\n", b"\n", 1) + b"\r\n",
    "LF behind a header": LINE + b"X: y\nY: z\r\n\r\n",
    "LF before the end": LINE + b"X: y\n\r\n",
    "LF for the empty line": LINE + b"X: y\r\n\n",
    "CR for the line break": LINE + b"X: y\rY: z\r\n\r\n",
    "CR in a value": LINE + b"X: a\rb\r\n\r\n",
    "two CR before LF": LINE + b"X: y\r\r\n\r\n",
    "CR for the empty line": LINE + b"X: y\r\n\rX",
    "obs-fold, space": LINE + b"X: y\r\n folded\r\n\r\n",
    "obs-fold, tab": LINE + b"X: y\r\n\tfolded\r\n\r\n",
    "folded first header": b"GET /v1/x HTTP/1.1\r\n Host: gateway.test\r\n\r\n",
    "NUL in a value": LINE + b"X: a\0b\r\n\r\n",
    "NUL in a name": LINE + b"X\0Y: a\r\n\r\n",
    "DEL in a value": LINE + b"X: a\x7fb\r\n\r\n",
    "ESC in a value": LINE + b"X: a\x1bb\r\n\r\n",
    "space before the colon": LINE + b"X : y\r\n\r\n",
    "no colon": LINE + b"X\r\n\r\n",
    "empty name": LINE + b": y\r\n\r\n",
    "bracket in a name": LINE + b"X[]: y\r\n\r\n",
    "non-ASCII name": LINE + b"X\xe9: y\r\n\r\n",
    "tab between": LINE.replace(b"GET ", b"GET\t") + b"\r\n",
    "space behind the version": LINE.replace(b"1.1", b"1.1 ") + b"\r\n",
    "space in the target": LINE.replace(b"/x", b"/x y") + b"\r\n",
    "lower-case version": LINE.replace(b"HTTP", b"http") + b"\r\n",
    "version 1.10": LINE.replace(b"1.1", b"1.10") + b"\r\n",
    "no protocol name": LINE.replace(b"HTTP/", b"/") + b"\r\n",
    "method with a NUL": LINE.replace(b"GET", b"G\0T") + b"\r\n",
    "method in brackets": LINE.replace(b"GET", b"[GET]") + b"\r\n",
    "TLS on the plain port": b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + bytes(64),
    "no HTTP at all": b"EHLO gateway.test\r\n",
}


async def test_p5_bare_line_breaks_folds_and_broken_lines_are_400(
    gateway: RunningGateway, upstream: ScriptedUpstream, report: Report
) -> None:
    found = await flaws(gateway, BAD_LINES)
    report("P5", f"broken heads accepted, of {len(BAD_LINES)}", len(found))
    assert found == {}
    await assert_nothing_forwarded(gateway.port, upstream)


async def test_p5_two_spaces_in_a_request_line_are_refused_or_forwarded_as_one(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    # RFC 9112 section 3 allows to read it; what is forwarded is in the one right form.
    async with RawClient(gateway.port) as client:
        await client.send(LINE.replace(b"GET ", b"GET  ") + b"\r\n")
        assert (await client.read_response()).status in (200, 400)
    assert all(r.raw.startswith(b"GET /v1/x HTTP/1.1\r\n") for r in upstream.requests)


BAD_CHUNKS = {
    "LF behind the size": b"5\nhello\r\n0\r\n\r\n",
    "LF behind the data": b"5\r\nhello\n0\r\n\r\n",
    "CR behind the size": b"5\rhello\r\n0\r\n\r\n",
    "nothing behind the data": b"5\r\nhello0\r\n\r\n",
    "data too long": b"4\r\nhello\r\n0\r\n\r\n",
    "LF at the end": b"0\n\n",
    "LF in an extension": b"5;a\nb\r\nhello\r\n0\r\n\r\n",
    "CR in an extension": b"5;a\rb\r\nhello\r\n0\r\n\r\n",
    "0x5": b"0x5\r\nhello\r\n0\r\n\r\n",
    "+5": b"+5\r\nhello\r\n0\r\n\r\n",
    "-5": b"-5\r\nhello\r\n0\r\n\r\n",
    "5_0": b"5_0\r\nhello\r\n0\r\n\r\n",
    "space before the size": b" 5\r\nhello\r\n0\r\n\r\n",
    "space behind the size": b"5 \r\nhello\r\n0\r\n\r\n",
    "no size": b"\r\nhello\r\n0\r\n\r\n",
    "17 digits": b"10000000000000005\r\nhello\r\n0\r\n\r\n",
    "not hexadecimal": b"g\r\nhello\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("packets", [1, 2])
async def test_p5_a_broken_chunk_is_400_and_no_whole_request_is_forwarded(
    gateway: RunningGateway, upstream: ScriptedUpstream, packets: int, report: Report
) -> None:
    head = post("Transfer-Encoding: chunked")
    found = {}
    for name, body in BAD_CHUNKS.items():
        if packets == 1:
            flaw = await refusal_flaw(gateway.port, head + body + SMUGGLED)
        else:
            flaw = await refusal_flaw(gateway.port, head, then=body + SMUGGLED)
        if flaw:
            found[name] = flaw
    report("P5", f"broken chunks accepted in packet {packets}, of {len(BAD_CHUNKS)}", len(found))
    assert found == {}
    await control_request(gateway.port)
    # The head may be on its way before the chunk comes; what broke is never made whole.
    assert [request.target for request in upstream.requests] == ["/v1/control"]


# -- Host and target -------------------------------------------------------------------------

BAD_HOSTS = {
    "none": b"",
    "two that differ": b"Host: gateway.test\r\nHost: evil.test\r\n",
    "two alike": b"Host: gateway.test\r\nhost: gateway.test\r\n",
    "empty": b"Host:\r\n",
    **{
        host: b"Host: " + host.encode("latin-1") + b"\r\n"
        for host in (
            "a/#",
            "a/b",
            "a?b",
            "a#b",
            "a\\b",
            "a b",
            "a\tb",
            "a,b",
            "a@b",
            "user:pass@a",
            "a%00",
            "%61",
            "[::1",
            "::1",
            "[::1]x",
            "[]",
            "a:b",
            "a:-1",
            "a:80:80",
            "a:123456",
            ":80",
            "a..b",
            ".a",
            "-a.test",
            "a<b",
            'a"b',
            "a;b",
            "\xe9.test",
            "http://a",
            "a" * 300,
        )
    },
}


async def test_p6_two_no_or_a_malformed_host_is_400(
    gateway: RunningGateway, upstream: ScriptedUpstream, report: Report
) -> None:
    cases = {
        name: b"GET /v1/x HTTP/1.1\r\n" + lines + b"Connection: close\r\n\r\n"
        for name, lines in BAD_HOSTS.items()
    }
    found = await flaws(gateway, cases)
    report("P6", f"bad Hosts accepted, of {len(cases)}", len(found))
    assert found == {}
    await assert_nothing_forwarded(gateway.port, upstream)


FOREIGN_TARGETS = [
    "http://evil.test/v1/x",
    f"http://{HOST}:81/v1/x",
    f"http://{HOST}:443/v1/x",
    f"https://{HOST}:80/v1/x",
    f"http://user@{HOST}/v1/x",
    f"http://{HOST}@evil.test/v1/x",
    f"http://{HOST}.evil.test/v1/x",
    f"http://{HOST}\\.evil.test/v1/x",
    f"ftp://{HOST}/v1/x",
    f"file://{HOST}/v1/x",
    f"http:/{HOST}/v1/x",
    "http:///v1/x",
    f"//{HOST}/v1/x",
    "//evil.test/v1/x",
    f"{HOST}:80",
    "*",
    "v1/x",
    "?/v1/x",
]


async def test_p7_a_target_of_another_authority_is_400(
    gateway: RunningGateway, upstream: ScriptedUpstream, report: Report
) -> None:
    cases = {
        target: request(target=target, headers=["Connection: close"]) for target in FOREIGN_TARGETS
    }
    found = await flaws(gateway, cases)
    report("P7", f"foreign targets accepted, of {len(cases)}", len(found))
    assert found == {}
    await assert_nothing_forwarded(gateway.port, upstream)


@pytest.mark.parametrize("authority", [HOST, HOST.upper()])
async def test_p7_a_target_of_the_same_authority_is_forwarded_in_origin_form(
    gateway: RunningGateway, upstream: ScriptedUpstream, authority: str
) -> None:
    async with RawClient(gateway.port) as client:
        await client.send(request(target=f"http://{authority}/v1/x?a=b"))
        assert (await client.read_response()).status == 200
    assert [request.target for request in upstream.requests] == ["/v1/x?a=b"]


@pytest.mark.parametrize(
    ("target", "host"),
    [
        (f"http://{HOST}:80/v1/x", HOST),
        (f"http://{HOST}/v1/x", f"{HOST}:80"),
        (f"https://{HOST}:443/v1/x", HOST),
        (f"https://{HOST}/v1/x", f"{HOST}:443"),
        (f"http://{HOST}:80/v1/x", f"{HOST}:80"),
    ],
)
async def test_p7_the_default_port_may_stand_on_one_side_only(
    gateway: RunningGateway, upstream: ScriptedUpstream, target: str, host: str
) -> None:
    assert (await ask(gateway.port, request(target=target, host=host))).status == 200
    assert [request.target for request in upstream.requests] == ["/v1/x"]


async def test_options_of_the_server_are_answered_with_its_methods(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    async with RawClient(gateway.port) as client:
        for _ in range(2):
            await client.send(request("OPTIONS", "*"))
            response = await client.read_response("OPTIONS")
            assert response.status == 204
            allowed = (response.value("allow") or b"").split(b", ")
            assert {b"GET", b"POST", b"OPTIONS"} <= set(allowed)
            assert response.value("x-request-id")
    await assert_nothing_forwarded(gateway.port, upstream)


GARBAGE = {
    "no HTTP": b"garbage\r\n\r\n",
    "a NUL": b"\0",
    "a broken header": b"GET / HTTP/1.1\r\nX : y\r\n\r\n",
    "a broken method": b"GARBAGE / HTTP/1.1\r\n\r\n",
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
@pytest.mark.parametrize(
    "valid",
    [
        request(),
        request("POST", body=b"hello"),
        post("Transfer-Encoding: chunked", body=chunk(b"hello") + LAST_CHUNK),
        request() + request("POST", body=b"\r\n\r\n"),
    ],
    ids=["GET", "length", "chunked", "two"],
)
async def test_a_valid_request_before_garbage_in_one_segment_is_answered(
    gateway: RunningGateway, upstream: ScriptedUpstream, valid: bytes, garbage: bytes
) -> None:
    async with RawClient(gateway.port) as client:
        await client.send(valid + garbage)
        for _ in range(valid.count(b" HTTP/1.1")):
            assert (await client.read_response()).status == 200
        refusal = await client.read_response()
        assert error_flaw(refusal, 400) == ""
        assert refusal.value("connection") == b"close"
        assert await client.read_to_end() == b""


UPGRADES = {
    "websocket, length": ("Upgrade: websocket", f"Content-Length: {len(SMUGGLED)}"),
    "websocket, chunked": ("Upgrade: websocket", "Transfer-Encoding: chunked"),
    "h2c, length": ("Upgrade: h2c", "HTTP2-Settings: AAMAAABk", f"Content-Length: {len(SMUGGLED)}"),
    "unknown, length": ("Upgrade: cow", f"Content-Length: {len(SMUGGLED)}"),
}


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("case", UPGRADES)
async def test_p8_an_upgrade_with_a_request_for_a_body_is_400_and_never_two_requests(
    gateway: RunningGateway,
    upstream: ScriptedUpstream,
    method: str,
    case: str,
    report: Report,
) -> None:
    headers = UPGRADES[case]
    chunked = "Transfer-Encoding: chunked" in headers
    body = chunk(SMUGGLED) + LAST_CHUNK if chunked else SMUGGLED
    handshake = ("Connection: upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: eA==")
    raw = request(method, headers=[*handshake, *headers]) + body
    flaw = await refusal_flaw(gateway.port, raw)
    report("P8", f"requests forwarded, {method} {case}", len(upstream.requests))
    assert flaw == ""
    await assert_nothing_forwarded(gateway.port, upstream)


# -- other versions and methods --------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "statuses"),
    [
        (b"GET /v1/x HTTP/1.0\r\nHost: gateway.test\r\n\r\n", {505}),
        (b"GET /v1/x HTTP/1.0\r\n\r\n", {505, 400}),
        (b"GET /v1/x HTTP/1.0\r\nHost: gateway.test\r\nConnection: keep-alive\r\n\r\n", {505}),
        (b"GET /v1/x HTTP/2.0\r\nHost: gateway.test\r\n\r\n", {505, 400}),
        (b"GET /v1/x HTTP/1.2\r\nHost: gateway.test\r\n\r\n", {505, 400}),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {505, 400}),
        (b"GET /v1/x\r\n\r\n", {400}),
        (b"GET /v1/x\r\nHost: gateway.test\r\n\r\n", {400}),
        (b"GET /v1/x HTTP/0.9\r\nHost: gateway.test\r\n\r\n", {400}),
    ],
)
async def test_p12_only_http_1_1_is_served(
    gateway: RunningGateway, upstream: ScriptedUpstream, raw: bytes, statuses: set[int]
) -> None:
    assert await refusal_flaw(gateway.port, raw, statuses) == ""
    await assert_nothing_forwarded(gateway.port, upstream)


@pytest.mark.parametrize("target", ["evil.test:443", "gateway.test:80", "/v1/x"])
async def test_p12_connect_is_refused_and_what_follows_is_not_a_request(
    gateway: RunningGateway, upstream: ScriptedUpstream, target: str
) -> None:
    raw = request("CONNECT", target) + SMUGGLED
    assert await refusal_flaw(gateway.port, raw, {400, 405}) == ""
    await assert_nothing_forwarded(gateway.port, upstream)


async def test_p12_trace_is_refused(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    async with RawClient(gateway.port) as client:
        await client.send(request("TRACE", headers=["X-Canary: canary-7f3a"]))
        response = await client.read_response("TRACE")
    assert response.status in (400, 405)
    assert b"canary" not in response.head.raw + response.body
    await assert_nothing_forwarded(gateway.port, upstream)
