"""Upstreams that cannot work are found before a request is."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme

from tests.config.documents import Document, document, keys_in, said_of


def test_headers_that_are_the_gateways_to_set() -> None:
    upstream = {"endpoints": [{"url": "http://10.0.0.1"}], "headers": {"Host": "x"}}
    assert said_of(document(upstreams={"a": upstream})) == [
        "upstreams.a.headers.Host: is the gateway's to set"
    ]


@pytest.mark.parametrize(
    "name", ["Transfer-Encoding", "content-length", "Connection", "TE", "X-Request-ID"]
)
def test_framing_and_hop_by_hop_headers_are_not_to_be_set(name: str) -> None:
    upstream = {"endpoints": [{"url": "http://10.0.0.1"}], "headers": {name: "x"}}
    assert said_of(document(upstreams={"a": upstream})) == [
        f"upstreams.a.headers.{name}: is the gateway's to set"
    ]


def test_a_credential_in_a_header_that_is_the_gateways(tmp_path: Path) -> None:
    keys_in(tmp_path)
    credentials = {"header": "Host", "value": {"file": "secret"}}
    upstream = {"endpoints": [{"url": "http://10.0.0.1"}], "credentials": credentials}
    assert said_of(document(upstreams={"a": upstream}), tmp_path) == [
        "upstreams.a.credentials.header: is the gateway's to set"
    ]


@pytest.mark.parametrize("content", [b"a b", b"a\r\nx: y", b"\xff", b"a\tb"])
@pytest.mark.parametrize("key", ["bearer", "value"])
def test_a_credential_no_header_can_hold(tmp_path: Path, key: str, content: bytes) -> None:
    (tmp_path / "key").write_bytes(content)
    credentials: Document = {key: {"file": "key"}}
    if key == "value":
        credentials["header"] = "x-api-key"
    upstream = {"endpoints": [{"url": "http://10.0.0.1"}], "credentials": credentials}
    assert said_of(document(upstreams={"a": upstream}), tmp_path) == [
        f"upstreams.a.credentials.{key}: holds characters a header cannot"
    ]


@pytest.mark.parametrize("url", ["http://[::1]:80", "https://a.b-c.test/base", "http://localhost"])
def test_an_endpoint_may_be_a_name_or_an_address(url: str) -> None:
    assert said_of(document(upstreams={"a": {"endpoints": [{"url": url}]}})) == []


@pytest.mark.parametrize(
    "url",
    [
        *("http://[::1", "http://a:99999", "http://a:0", "http://-x/", "http://a..b", "http://a-"),
        *("http://[v1.a]", "http://[a]", "http://\u00e4", "http://a/\u00e4", "http://a/\x7f"),
    ],
)
def test_an_endpoint_nobody_can_connect_to(url: str) -> None:
    (said,) = said_of(document(upstreams={"a": {"endpoints": [{"url": url}]}}))
    assert said.startswith("upstreams.a.endpoints[0].url: ")


@pytest.mark.parametrize("key", ["endpoints", "discover"])
@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("169.254.169.254", "is link-local, where clouds keep their metadata"),
        ("[::ffff:169.254.169.254]", "is link-local, where clouds keep their metadata"),
        ("100.64.0.1", "is in carrier-grade NAT (RFC 6598)"),
        ("[2002::1]", "is a 6to4 address, which leads to a tunnel"),
        ("[64:ff9b::1]", "is a NAT64 address, which leads to an IPv4 address"),
    ],
)
def test_an_address_no_backend_is_at(host: str, expected: str, key: str) -> None:
    url = f"http://{host}:8000/base"
    upstream: Document = (
        {"endpoints": [{"url": url}]} if key == "endpoints" else {"discover": {"dns": url}}
    )
    (said,) = said_of(document(upstreams={"a": upstream}))
    where = "endpoints[0].url" if key == "endpoints" else "discover.dns"
    assert said == (
        f"upstreams.a.{where}: {host.strip('[]')} {expected}; "
        "if that is meant, list it or its network in upstreams.a.allow_addresses"
    )


def test_an_address_that_is_allowed_after_all() -> None:
    upstream = {
        "endpoints": [{"url": "http://100.64.0.1"}, {"url": "http://169.254.0.1"}],
        "allow_addresses": ["100.64.0.0/10"],
    }
    (said,) = said_of(document(upstreams={"a": upstream}))
    assert said.startswith("upstreams.a.endpoints[1].url: 169.254.0.1 is link-local")
    upstream["allow_addresses"] = ["100.64.0.0/10", "169.254.0.1"]
    assert said_of(document(upstreams={"a": upstream})) == []


@pytest.mark.parametrize("host", ["127.1", "0x7f.1", "2130706433", "0177.0.0.1"])
def test_an_address_that_others_read_otherwise(host: str) -> None:
    upstream = {"endpoints": [{"url": f"http://{host}"}], "allow_addresses": ["0.0.0.0/0"]}
    assert said_of(document(upstreams={"a": upstream})) == [
        f"upstreams.a.endpoints[0].url: {host} is an ambiguous spelling of an IPv4 address; "
        "write four decimal numbers"
    ]


@pytest.mark.parametrize(
    "discover",
    [
        {"dns": "http://vllm.internal:8000/base"},
        {"dns": "https://vllm.internal", "nameservers": ["10.0.0.53", "[::1]:5353"]},
        {"srv": "_http._tcp.vllm.internal"},
        {"srv": "vllm.service.consul", "scheme": "https", "nameservers": ["127.0.0.1:8600"]},
        {"file": "endpoints.yaml"},
    ],
)
def test_endpoints_may_be_found(discover: Document) -> None:
    assert said_of(document(upstreams={"a": {"discover": discover}})) == []


@pytest.mark.parametrize(
    ("upstream", "expected"),
    [
        ({}, ": give either `endpoints` or `discover`"),
        (
            {"endpoints": [{"url": "http://a"}], "discover": {"file": "a.yaml"}},
            ": give either `endpoints` or `discover`",
        ),
        ({"discover": {}}, ".discover: give exactly one of `dns`, `srv` and `file`"),
        (
            {"discover": {"dns": "http://a", "file": "a.yaml"}},
            ".discover: give exactly one of `dns`, `srv` and `file`",
        ),
        (
            {"discover": {"dns": "http://a", "scheme": "https"}},
            ".discover.scheme: belongs to `srv`, which is not given",
        ),
        (
            {"discover": {"file": "a.yaml", "nameservers": ["10.0.0.53"]}},
            ".discover.nameservers: are for `dns` and `srv`",
        ),
        (
            {"discover": {"dns": "http://10.0.0.5"}},
            ".discover.dns: is an address already; list it in `endpoints`",
        ),
        ({"discover": {"dns": "http://-a"}}, ".discover.dns: has no usable host name"),
    ],
)
def test_where_an_upstream_is_has_to_be_said_in_one_way(upstream: Document, expected: str) -> None:
    assert said_of(document(upstreams={"a": upstream})) == [f"upstreams.a{expected}"]


def test_an_authority_that_can_be_read(tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    upstream = {"endpoints": [{"url": "https://10.0.0.1"}], "tls": {"ca": "ca.pem"}}
    assert said_of(document(upstreams={"a": upstream}), tmp_path) == []


def test_an_authority_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "bad.pem").write_text("no certificate")
    for name, reason in (("none.pem", "No such file"), ("bad.pem", "not PEM certificates")):
        upstream = {"endpoints": [{"url": "https://10.0.0.1"}], "tls": {"ca": name}}
        (said,) = said_of(document(upstreams={"a": upstream}), tmp_path)
        assert said.startswith("upstreams.a.tls.ca: cannot be used: ")
        assert reason in said
