"""What single values of the file may be; what belongs together is in `test_check.py`."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from gateway.config import load_text, models


def complaints(model: type[BaseModel], fields: dict[str, Any]) -> list[str]:
    """The paths at which a section is refused; none if it is fine."""
    try:
        model.model_validate(fields)
    except ValidationError as exc:
        return [".".join(map(str, error["loc"])) for error in exc.errors()]
    return []


def route(**fields: Any) -> dict[str, Any]:
    return {"name": "r", "path": "/v1/", "auth": "anonymous", "upstream": "u", **fields}


def jwt(**fields: Any) -> dict[str, Any]:
    return {"type": "jwt", "issuer": "i", "audience": "a", **fields}


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        *((models.Server, {"listen": value}) for value in ("127.0.0.1:0", ":8080", "[::1]:443")),
        (models.Server, {"listen": "gateway.internal:65535"}),
        (models.Server, {"trusted_proxies": ("10.0.0.0/8", "::1/128", "192.0.2.7")}),
        (models.Endpoint, {"url": "http://10.0.0.1"}),
        (models.Endpoint, {"url": "https://[::1]:8443/base/v1"}),
        *((models.Limit, {"key": key, "requests": "1/day"}) for key in ("subject", "tenant", "ip")),
        (models.Route, route(path="/")),
        (models.Route, route(path="/v1/audio/~x_1.2-3")),
        (models.Route, route(auth=("corp", "partners"))),
        (models.Middleware, {"use": "acme.headers.Stamp"}),
        (models.Demo, {"pace": "0s"}),
    ],
)
def test_what_is_accepted(model: type[BaseModel], fields: dict[str, Any]) -> None:
    assert complaints(model, fields) == []


@pytest.mark.parametrize(
    "listen", ["8080", "127.0.0.1", "127.0.0.1:65536", "::1:80", "http://a:1", "a:b", "a:1:2", ""]
)
def test_an_address_to_listen_on_is_host_and_port(listen: str) -> None:
    assert complaints(models.Server, {"listen": listen}) == ["listen"]


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
    assert complaints(models.Server, {"trusted_proxies": (network,)}) == ["trusted_proxies.0"]
    fields = {"endpoints": ({"url": "http://a"},), "allow_addresses": (network,)}
    assert complaints(models.Upstream, fields) == ["allow_addresses.0"]


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
    assert complaints(models.Endpoint, {"url": url}) == ["url"]


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
    assert complaints(models.Middleware, {"use": use}) == ["use"]


@pytest.mark.parametrize("auth", ["corp", "", (), None, "Anonymous", True])
def test_a_route_names_its_providers_or_says_anonymous(auth: object) -> None:
    assert complaints(models.Route, route(auth=auth)) == ["auth"]


def test_a_route_has_to_say_who_may_use_it() -> None:
    fields = route()
    del fields["auth"]
    assert complaints(models.Route, fields) == ["auth"]


@pytest.mark.parametrize("name", ["", "x y", "x:", "x_y", "x\r\ny", "ä"])
def test_a_header_name_is_a_token_without_underscore(name: str) -> None:
    fields = {"endpoints": ({"url": "http://a"},), "headers": {name: "v"}}
    assert len(complaints(models.Upstream, fields)) == 1


@pytest.mark.parametrize("value", ["a\r\nx-injected: 1", "a\nb", "a\0b", "\x7f"])
def test_a_header_value_cannot_end_its_line(value: str) -> None:
    fields = {"endpoints": ({"url": "http://a"},), "headers": {"x-a": value}}
    assert complaints(models.Upstream, fields) == ["headers.x-a"]


@pytest.mark.parametrize(
    ("model", "fields", "where"),
    [
        (models.Server, {"max_connections": 0}, "max_connections"),
        (models.Server, {"header_count": 0}, "header_count"),
        (models.Server, {"header_count": 1001}, "header_count"),
        (models.Endpoint, {"url": "http://a", "weight": 0}, "weight"),
        (models.Endpoint, {"url": "http://a", "weight": 1001}, "weight"),
        (models.Limit, {"key": "ip", "requests": "1/day", "burst": 0}, "burst"),
        (models.Upstream, {"endpoints": ()}, "endpoints"),
        (models.JwtProvider, jwt(issuer=""), "issuer"),
        (models.JwtProvider, jwt(audience=()), "audience"),
        (models.Model, {"upstream": "u", "model": ""}, "model"),
    ],
)
def test_numbers_lists_and_texts_have_bounds(
    model: type[BaseModel], fields: dict[str, Any], where: str
) -> None:
    assert complaints(model, fields) == [where]


@pytest.mark.parametrize(
    ("model", "fields", "where"),
    [
        (models.Server, {"max_connections": "10"}, "max_connections"),
        (models.Server, {"max_connections": 10.0}, "max_connections"),
        (models.Server, {"max_connections": True}, "max_connections"),
        (models.Server, {"hide_server": 1}, "hide_server"),
        (models.Server, {"drain": 30}, "drain"),
        (models.Server, {"header_bytes": 32768}, "header_bytes"),
        (models.Log, {"format": None}, "format"),
        (models.Endpoint, {"url": b"http://a"}, "url"),
        (models.Route, route(methods=("get",)), "methods.0"),
    ],
)
def test_nothing_is_converted(model: type[BaseModel], fields: dict[str, Any], where: str) -> None:
    assert complaints(model, fields) == [where]


def _sections() -> list[type[BaseModel]]:
    return [
        kind
        for kind in vars(models).values()
        if isinstance(kind, type)
        and issubclass(kind, BaseModel)
        and kind.__module__ == models.__name__
        and not kind.__name__.startswith("_")
    ]


@pytest.mark.parametrize("section", _sections(), ids=lambda kind: str(kind.__name__))
def test_no_section_takes_a_key_it_does_not_know(section: type[BaseModel]) -> None:
    assert "surprise" in complaints(section, {"surprise": 1})


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"header": "x-api-key"},
        {"value": {"env": "K"}},
        {"bearer": {"env": "K"}, "header": "x-api-key", "value": {"env": "K"}},
        {"bearer": {"env": "K"}, "value": {"env": "K"}},
    ],
)
def test_credentials_are_a_bearer_or_a_header_with_its_value(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="either `bearer`, or `header` and `value`"):
        models.Credentials.model_validate(fields)


@pytest.mark.parametrize(
    ("written", "audience"), [("a", ("a",)), (("a",), ("a",)), (("a", "b"), ("a", "b"))]
)
def test_an_audience_may_be_one_text_or_several(written: Any, audience: tuple[str, ...]) -> None:
    provider = models.JwtProvider.model_validate(jwt(audience=written))
    assert provider.audience == audience


def test_a_configuration_cannot_be_changed() -> None:
    config = load_text(
        "upstreams: {a: {endpoints: [{url: 'http://a'}]}}\n"
        "routes: [{name: a, path: /, auth: anonymous, upstream: a}]\n"
    )
    with pytest.raises(ValidationError, match="frozen"):
        config.server.drain = 1.0  # type: ignore[misc]
