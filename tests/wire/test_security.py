"""X1, X3 and X4: what a client writes reaches no other log line, path or upstream."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import AsyncIterator
from urllib.parse import unquote

import pytest

from tests.support.client import ask, request
from tests.support.figures import Report
from tests.support.gateway import RunningGateway, StartGateway, simple_config
from tests.support.refusal import assert_error, error_flaw
from tests.support.tokens import Auth, bearer
from tests.support.upstream import (
    ScriptedUpstream,
    json_reply,
    reply_then_close,
)

# -- X1: log lines ---------------------------------------------------------------------------

# What would begin a line, colour or rewrite a terminal, or end a JSON string.
NASTY = {
    "CRLF": '\r\n{"event":"request","forged":true}\r\n',
    "LF": '\n{"event":"request","forged":true}\n',
    "ANSI": "\x1b[31mred\x1b[0m\x1b]0;title\x07",
    "U+2028": "a\u2028b\u2029c",
    "NEL and CSI of C1": "a\x85b\x9b31m",
    "right to left": "a\u202eb\u2066c",
    "emoji": "\U0001f600",
    "NUL and DEL": "a\0b\x7fc\x08",
    "quote": 'a","forged":"true',
    "backslash": "a\\x41\\u0041\\",
    "lone surrogate": "a\ud800b",
}


def headers_with(text: str) -> list[bytes]:
    """User-Agent, Referer and request id holding this text, as UTF-8."""
    raw = text.encode("utf-8", "surrogatepass")
    return [b"User-Agent: " + raw, b"Referer: " + raw, b"X-Request-ID: " + raw]


def percent_encoded(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode("utf-8", "surrogatepass"))


def broken_lines(gateway: RunningGateway) -> list[bytes]:
    """Log lines that are not printable ASCII."""
    lines = bytes(gateway.log.raw).removesuffix(b"\n").split(b"\n")
    return [line for line in lines if not re.fullmatch(rb"[\x20-\x7e]+", line)]


def assert_one_line_each(gateway: RunningGateway, at_least: int, at_most: int) -> None:
    """Every line is JSON in printable ASCII, and there are as many as there were requests."""
    assert gateway.log.raw.endswith(b"\n")
    assert broken_lines(gateway) == []
    documents = [json.loads(line) for line in gateway.log.raw.splitlines()]
    assert all("forged" not in document for document in documents)
    requests = sum(document.get("event") == "request" for document in documents)
    assert at_least <= requests <= at_most


async def wait_for_requests(gateway: RunningGateway, count: int) -> None:
    await gateway.wait_for_log(lambda _: len(gateway.log.requests) >= count)


async def test_x1_what_a_client_says_in_headers_stays_on_one_log_line(
    upstream: ScriptedUpstream, start_gateway: StartGateway, report: Report
) -> None:
    gateway = await start_gateway(
        simple_config(upstream.url, server={"trusted_proxies": ["127.0.0.1/32"]})
    )
    statuses = []
    for text in NASTY.values():
        for header in headers_with(text):
            raw = request(headers=[header, "Connection: close"])
            statuses.append((await ask(gateway.port, raw)).status)
    assert set(statuses) <= {200, 400}
    await wait_for_requests(gateway, statuses.count(200))
    report("X1", f"log lines broken by {len(statuses)} nasty headers", len(broken_lines(gateway)))
    # Bytes that make no request need not have a line in the access log.
    assert_one_line_each(gateway, statuses.count(200), len(statuses))


@pytest.mark.parametrize("text", NASTY.values(), ids=NASTY)
async def test_x1_what_a_client_says_in_the_path_stays_on_one_log_line(
    upstream: ScriptedUpstream, start_gateway: StartGateway, text: str
) -> None:
    gateway = await start_gateway(simple_config(upstream.url))
    encoded = percent_encoded(text)
    for target in (f"/v1/{encoded}", f"/v1/x?q={encoded}", f"/nowhere/{encoded}"):
        assert (await ask(gateway.port, request(target=target))).status in (200, 400, 404)
    await wait_for_requests(gateway, 3)
    assert_one_line_each(gateway, 3, 3)


@pytest.mark.parametrize("text", NASTY.values(), ids=NASTY)
async def test_x1_raw_bytes_in_the_path_are_refused_and_stay_out_of_the_log(
    upstream: ScriptedUpstream, start_gateway: StartGateway, text: str
) -> None:
    gateway = await start_gateway(simple_config(upstream.url))
    raw = b"GET /v1/" + text.encode("utf-8", "surrogatepass") + b" HTTP/1.1\r\nHost: a\r\n\r\n"
    assert (await ask(gateway.port, raw)).status == 400
    assert upstream.connections == []
    await ask(gateway.port, request(target="/v1/last"))
    await gateway.wait_for_log(lambda line: line.get("path") == "/v1/last")
    assert_one_line_each(gateway, 1, 2)


@pytest.mark.parametrize("name", [name for name in NASTY if name != "lone surrogate"])
async def test_x1_what_a_token_says_stays_on_one_log_line(
    upstream: ScriptedUpstream, start_gateway: StartGateway, auth: Auth, name: str
) -> None:
    text = NASTY[name]
    gateway = await start_gateway(simple_config(upstream.url, auth=["corp"]), auth=auth)
    response = await ask(gateway.port, request(headers=[bearer(sub=text, org=text)]))
    assert response.status in (200, 401)
    await wait_for_requests(gateway, 1)
    assert_one_line_each(gateway, 1, 1)
    if response.status == 200:
        assert gateway.log.requests[0]["subject"] == text  # told truly, only escaped


@pytest.mark.parametrize("text", NASTY.values(), ids=NASTY)
async def test_x1_what_an_upstream_says_stays_on_one_log_line(
    start_gateway: StartGateway, text: str
) -> None:
    raw = text.encode("utf-8", "surrogatepass")
    async with ScriptedUpstream(
        reply_then_close(b"HTTP/1.1 200 " + raw + b"\r\n" + raw)
    ) as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        assert_error(await ask(gateway.port, request()), 502)
    await wait_for_requests(gateway, 1)
    assert_one_line_each(gateway, 1, 1)


# -- X3: paths -------------------------------------------------------------------------------

# Each would be another path to some server behind us.
REFUSED = [
    "/v1/..",
    "/v1/../admin",
    "/v1/./x",
    "/v1/.",
    "/v1/x/../../admin",
    "/v1/%2e%2e/admin",
    "/v1/%2E%2E/admin",
    "/v1/.%2e/admin",
    "/v1/%2e./admin",
    "/v1/%2e/x",
    "/v1/..%2fadmin",
    "/v1/%2e%2e%2fadmin",
    "/v1%2f..%2fadmin",
    "/v1/x%2Fy",
    "/v1/x%2fy",
    "/v1/..%5cadmin",
    "/v1/x%5Cy",
    "/v1/..\\admin",
    "/v1\\..\\admin",
    "/v1/x\\y",
    "\\v1\\x",
    "//v1/x",
    "/v1//x",
    "/v1//admin",
    "//admin",
    "/v1/x//",
    "/v1/..;/admin",
    "/v1/..;x=y/admin",
    "/v1/.;/x",
    "/;/v1/x",
    "/v1/x%00",
    "/v1/%00/x",
    "/v1/x%00.json",
    "/v1/x%0a",
    "/v1/x%0d%0aX:%20y",
    "/v1/x%1b",
    "/v1/x%7f",
    "/v1/x#fragment",
    "/v1/x%",
    "/v1/x%2",
    "/v1/x%zz",
    "/v1/x%u002e",
    "/v1/\x01",
    "/v1/a|b",
    "/v1/a<b>",
    '/v1/a"b',
    "/v1/a^b",
    "/v1/a`b",
    "/v1/a{b}",
    "/v1/caf\xe9",
]
# Each may be refused or forwarded, but only as it stands: never decoded, never tidied up.
AS_GIVEN = [
    "/v1/x",
    "/v1/",
    "/v1/x/",
    "/v1/a.b",
    "/v1/...",
    "/v1/.hidden",
    "/v1/x..y",
    "/v1/%252e%252e/admin",
    "/v1/%252e",
    "/v1/%252fadmin",
    "/v1/%255c",
    "/v1/%25%32%65",
    "/v1/%76",
    "/v1/%41",
    "/v1/%7Ex",
    "/v1/~x",
    "/v1/%20",
    "/v1/%3b",
    "/v1/%3B/../x",
    "/v1/x;y=z",
    "/v1/x;/admin",
    "/v1/%3fq",
    "/v1/%23f",
    "/v1/%E2%82%AC",
    "/v1/%e2%82%ac",
    "/v1/%c0%ae%c0%ae/admin",
    "/v1/%c0%af",
    "/v1/%ef%bc%8f",
    "/v1/X",
    "/v1/a:b@c!$&'()*+,=",
    "/v1/models/org/name:tag",
    "/v1/" + "a" * 8000,
]
ELSEWHERE = ["/V1/x", "/v1", "/v1x", "/v2/x", "/", "/ADMIN/x", "/Admin/x"]
QUERIES = [
    "/v1/x?",
    "/v1/x?a=%2e%2e/../..//\\"[:-1],
    "/v1/x?a=b;c&d=/../admin",
    "/v1/x?q=%00%0d%0a",
    "/v1/x??a",
    "/v1/x?http://evil.test/",
]


@pytest.fixture
async def admin() -> AsyncIterator[ScriptedUpstream]:
    """What must not be reached through the public route."""
    async with ScriptedUpstream(json_reply({"secret": True})) as upstream:
        yield upstream


@pytest.fixture
async def two_routes(
    upstream: ScriptedUpstream, admin: ScriptedUpstream, start_gateway: StartGateway, auth: Auth
) -> RunningGateway:
    """`/v1/` for everyone, `/admin/` with a token."""
    config = simple_config(upstream.url)
    config["upstreams"]["admin"] = {"endpoints": [{"url": admin.url}]}
    config["routes"].append(
        {"name": "admin", "path": "/admin/", "auth": ["corp"], "upstream": "admin"}
    )
    return await start_gateway(config, auth=auth)


def readings(path: str) -> set[str]:
    """The paths that a server behind the gateway, which decodes once, may take this one for."""
    decoded = unquote(path, "latin-1").replace("\\", "/").partition("\0")[0]
    bare = "/".join(segment.partition(";")[0] for segment in decoded.split("/"))
    return {path, posixpath.normpath(decoded), posixpath.normpath(bare)}


async def test_x3_a_path_with_two_readings_is_400(
    two_routes: RunningGateway,
    upstream: ScriptedUpstream,
    admin: ScriptedUpstream,
    report: Report,
) -> None:
    accepted = {}
    for path in REFUSED:
        response = await ask(two_routes.port, request(target=path, headers=["Connection: close"]))
        if flaw := error_flaw(response, 400):
            accepted[path] = flaw
    report("X3", f"ambiguous paths accepted, of {len(REFUSED)}", len(accepted))
    assert accepted == {}
    assert upstream.connections == admin.connections == []


async def test_x3_what_is_decided_on_is_what_is_forwarded(
    two_routes: RunningGateway,
    upstream: ScriptedUpstream,
    admin: ScriptedUpstream,
    report: Report,
) -> None:
    mismatches, escapes, served = [], [], 0
    for target in [*REFUSED, *AS_GIVEN, *QUERIES, *ELSEWHERE]:
        before = len(upstream.requests)
        response = await ask(two_routes.port, request(target=target, headers=["Connection: close"]))
        got = [request.target for request in upstream.requests[before:]]
        if response.status == 200:
            served += 1
            path, _, query = target.partition("?")
            if [tuple(seen.partition("?")[::2]) for seen in got] != [(path, query)]:
                mismatches.append((target, got))
            if any(reading.startswith("/admin") for reading in readings(path)):
                escapes.append(target)
        elif got:
            mismatches.append((target, got))
    report("X3", "decided != forwarded, mismatches", len(mismatches))
    report("X3", "paths served of those that may be", served)
    assert mismatches == []
    assert escapes == []
    assert admin.connections == []


@pytest.mark.parametrize("target", ["/v1/x", "/v1/models/org/name:tag", "/v1/%E2%82%AC", "/v1/a.b"])
async def test_x3_ordinary_paths_are_served(
    two_routes: RunningGateway, upstream: ScriptedUpstream, target: str
) -> None:
    assert (await ask(two_routes.port, request(target=target))).status == 200
    assert upstream.requests[-1].target == target


@pytest.mark.parametrize("target", ELSEWHERE)
async def test_x3_another_case_or_prefix_is_another_path(
    two_routes: RunningGateway, upstream: ScriptedUpstream, target: str
) -> None:
    assert_error(await ask(two_routes.port, request(target=target)), 404, code="not_found")
    assert upstream.connections == []


@pytest.mark.parametrize("target", ["/svc/../admin", "/svc//admin", "/svc/%2e%2e/x", "/svc%2fx"])
async def test_x3_a_stripped_prefix_leaves_no_second_reading(
    upstream: ScriptedUpstream, start_gateway: StartGateway, target: str
) -> None:
    gateway = await start_gateway(simple_config(upstream.url, path="/svc/", strip=True))
    assert (await ask(gateway.port, request(target=target))).status in (400, 404)
    assert upstream.connections == []
    assert (await ask(gateway.port, request(target="/svc/x?a=b"))).status == 200
    assert upstream.requests[-1].target == "/x?a=b"


# -- X4: who picks the upstream --------------------------------------------------------------


async def test_x4_no_part_of_a_request_picks_the_upstream(
    upstream: ScriptedUpstream, start_gateway: StartGateway, report: Report
) -> None:
    async with ScriptedUpstream(json_reply({"decoy": True})) as decoy:
        authority, url = f"127.0.0.1:{decoy.port}", f"{decoy.url}/v1/x"
        config = simple_config(upstream.url, models=["llama"])
        config["models"] = {"llama": {"upstream": "main"}}
        gateway = await start_gateway(config, server={"trusted_proxies": ["127.0.0.1/32"]})
        body = json.dumps(
            {
                "model": "llama",
                **dict.fromkeys(("url", "base_url", "api_base", "endpoint", "upstream"), url),
            }
        ).encode()
        steering = [
            f"{name}: {value}"
            for value in (url, authority)
            for name in (
                "X-Forwarded-Host",
                "X-Forwarded-Server",
                "X-Host",
                "X-Original-URL",
                "X-Rewrite-URL",
                "X-Upstream",
                "X-Target-URL",
                "X-Custom-Host",
                "X-Base-URL",
                "Destination",
                "Referer",
                "Origin",
            )
        ] + [f'Forwarded: host="{authority}"']
        requests = {
            "Host": request("POST", body=body, host=authority),
            "absolute-form": request("POST", url, body=body, host=authority),
            "query": request("POST", f"/v1/x?url={url}&base_url={url}", body=body),
            **{header: request("POST", headers=[header], body=body) for header in steering},
        }
        for name, raw in requests.items():
            before = len(upstream.requests)
            response = await ask(gateway.port, raw)
            assert response.status == 200, name
            assert len(upstream.requests) == before + 1, name
            got = upstream.requests[-1]
            assert got.value("host") == f"127.0.0.1:{upstream.port}".encode(), name
            assert got.target.startswith("/v1/x"), name
        report("X4", f"connections to a decoy, {len(requests)} attempts", len(decoy.connections))
        assert decoy.connections == []


async def test_x4_a_host_name_does_not_move_a_request_past_the_route_of_another(
    upstream: ScriptedUpstream, start_gateway: StartGateway
) -> None:
    gateway = await start_gateway(
        simple_config(upstream.url, hosts=["inner.test"]),
        server={"trusted_proxies": ["127.0.0.1/32"]},
    )
    for headers in ([], ["X-Forwarded-Host: inner.test"], ["Forwarded: host=inner.test"]):
        assert (await ask(gateway.port, request(headers=headers))).status == 404
    for host in ("inner.test", "INNER.test", "inner.test:8080"):
        assert (await ask(gateway.port, request(host=host))).status == 200
    assert len(upstream.requests) == 3
