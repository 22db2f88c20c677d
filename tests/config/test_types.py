"""Words of the file: addresses, names, paths, URLs, rates, headers."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from gateway.config import models


def complaints(model: type[BaseModel], fields: dict[str, Any]) -> list[str]:
    """The paths at which a section is refused; none if it is fine."""
    try:
        model.model_validate(fields)
    except ValidationError as exc:
        return [".".join(map(str, error["loc"])) for error in exc.errors()]
    return []


def route(**fields: Any) -> dict[str, Any]:
    return {"name": "r", "path": "/v1/", "auth": "anonymous", "upstream": "u", **fields}


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        *(
            (models.ServerSettings, {"listen": value})
            for value in ("127.0.0.1:0", ":8080", "[::1]:443")
        ),
        (models.ServerSettings, {"listen": "gateway.internal:65535"}),
        (models.ServerSettings, {"trusted_proxies": ("10.0.0.0/8", "::1/128", "192.0.2.7")}),
        (models.EndpointSettings, {"url": "http://10.0.0.1"}),
        (models.EndpointSettings, {"url": "https://[::1]:8443/base/v1"}),
        *((models.Limit, {"key": key, "requests": "1/day"}) for key in ("subject", "tenant", "ip")),
        (models.Route, route(path="/")),
        (models.Route, route(path="/v1/audio/~x_1.2-3")),
        (models.Route, route(auth=("corp", "partners"))),
        (models.MiddlewareSettings, {"use": "acme.headers.Stamp"}),
        (models.Demo, {"pace": "0s"}),
    ],
)
def test_what_is_accepted(model: type[BaseModel], fields: dict[str, Any]) -> None:
    assert complaints(model, fields) == []


@pytest.mark.parametrize(
    "listen", ["8080", "127.0.0.1", "127.0.0.1:65536", "::1:80", "http://a:1", "a:b", "a:1:2", ""]
)
def test_an_address_to_listen_on_is_host_and_port(listen: str) -> None:
    assert complaints(models.ServerSettings, {"listen": listen}) == ["listen"]


@pytest.mark.parametrize(
    "address",
    [
        "",
        "dns.test",
        "10.0.0.53:",
        "10.0.0.53:0",
        "10.0.0.53:65536",
        "fd00::53",
        "[fd00::53",
        "1.2",
    ],
)
def test_a_name_server_is_an_address_and_a_port(address: str) -> None:
    fields = {"dns": "http://a", "nameservers": (address,)}
    assert complaints(models.Discover, fields) == ["nameservers.0"]


@pytest.mark.parametrize("name", ["", ".", "-a", "a b", "a/b", "a\n", "a:53", "a" * 254])
def test_srv_records_have_a_name(name: str) -> None:
    assert complaints(models.Discover, {"srv": name}) == ["srv"]


@pytest.mark.parametrize("network", ["10.0.0.1/8", "300.0.0.1", "nginx", "10.0.0.0/33", ""])
def test_a_trusted_proxy_is_a_network_without_host_bits(network: str) -> None:
    assert complaints(models.ServerSettings, {"trusted_proxies": (network,)}) == [
        "trusted_proxies.0"
    ]
    fields = {"endpoints": ({"url": "http://a"},), "allow_addresses": (network,)}
    assert complaints(models.UpstreamSettings, fields) == ["allow_addresses.0"]


@pytest.mark.parametrize(
    "url",
    [
        "10.0.0.1:80",
        "ftp://10.0.0.1",
        "http://",
        "http:///v1",
        "http://me:pw@10.0.0.1",
        "http://10.0.0.1/?a=1",
        "http://10.0.0.1/#a",
        "http://10.0.0.1/a b",
        "http://10.0.0.1\n",
    ],
)
def test_an_endpoint_is_a_url_without_user_query_and_fragment(url: str) -> None:
    assert complaints(models.EndpointSettings, {"url": url}) == ["url"]


@pytest.mark.parametrize("rate", ["60", "60/min", "60 / minute", "-1/second", "1.5/hour", "/day"])
def test_a_rate_is_a_whole_number_per_unit(rate: str) -> None:
    assert complaints(models.Limit, {"key": "ip", "requests": rate}) == ["requests"]


@pytest.mark.parametrize("name", ["", "-a", ".a", "a b", "a/b", "a" * 65, "ä", "a\n"])
def test_a_name_is_one_short_plain_word(name: str) -> None:
    assert complaints(models.Route, route(name=name)) == ["name"]


@pytest.mark.parametrize(
    "path", ["v1", "", "/v1?x", "/v1#x", "/a%2fb", "/a b", "/ä", "/v1/*", "/v1\n", "/{id}"]
)
def test_a_path_begins_with_a_slash_and_needs_no_escapes(path: str) -> None:
    assert complaints(models.Route, route(path=path)) == ["path"]


@pytest.mark.parametrize("use", ["stamp", "acme..stamp", ".stamp", "acme.1x", "acme:stamp", ""])
def test_a_plug_in_is_a_dotted_name(use: str) -> None:
    assert complaints(models.MiddlewareSettings, {"use": use}) == ["use"]


@pytest.mark.parametrize("auth", ["corp", "", (), None, "Anonymous", True])
def test_a_route_names_its_providers_or_says_anonymous(auth: object) -> None:
    assert complaints(models.Route, route(auth=auth)) == ["auth"]


@pytest.mark.parametrize("name", ["", "x y", "x:", "x_y", "x\r\ny", "ä"])
def test_a_header_name_is_a_token_without_underscore(name: str) -> None:
    fields = {"endpoints": ({"url": "http://a"},), "headers": {name: "v"}}
    assert len(complaints(models.UpstreamSettings, fields)) == 1


@pytest.mark.parametrize("value", ["a\r\nx-injected: 1", "a\nb", "a\0b", "\x7f"])
def test_a_header_value_cannot_end_its_line(value: str) -> None:
    fields = {"endpoints": ({"url": "http://a"},), "headers": {"x-a": value}}
    assert complaints(models.UpstreamSettings, fields) == ["headers.x-a"]
