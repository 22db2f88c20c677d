"""What is wrong between values that are each fine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.config import ConfigError, load_text

Document = dict[str, Any]


def said_of(document: Document, base: Path = Path()) -> list[str]:
    """The problems of a document, without their places; none if it is fine."""
    try:
        load_text(yaml.safe_dump(document, sort_keys=False), base=base)
    except ConfigError as exc:
        return [str(problem).split(" ", 1)[1] for problem in exc.problems]
    return []


def document(**sections: Any) -> Document:
    return {
        "upstreams": {"a": {"endpoints": [{"url": "http://10.0.0.1"}]}},
        "routes": [{"name": "r", "path": "/v1/", "auth": "anonymous", "upstream": "a"}],
        **sections,
    }


def route(**fields: Any) -> Document:
    return {"name": "r", "path": "/v1/", "auth": "anonymous", "upstream": "a", **fields}


def provider(**fields: Any) -> Document:
    return {"p": {"type": "jwt", "issuer": "i", "audience": "a", **fields}}


def test_a_sound_document_has_no_problems() -> None:
    assert said_of(document()) == []


# -- routes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"upstream": "b"}, "routes[0].upstream: there is no upstream 'b'"),
        ({"limits": ["x"]}, "routes[0].limits[0]: there is no limit 'x'"),
        ({"models": ["x"]}, "routes[0].models[0]: there is no model 'x'"),
        ({"auth": ["x"]}, "routes[0].auth[0]: there is no provider 'x'"),
        ({"upstream": None}, "routes[0]: goes nowhere; give it `models` or `upstream`"),
        (
            {"path": "/a//b"},
            "routes[0].path: has a second spelling, so no request matches it",
        ),
        (
            {"hosts": ["API.test:80"]},
            "routes[0].hosts[0]: is not a host name; write it in lower case, without port",
        ),
    ],
)
def test_a_route_that_cannot_work(fields: Document, expected: str) -> None:
    assert said_of(document(routes=[route(**fields)])) == [expected]


def test_two_routes_for_the_same_requests() -> None:
    routes = [route(), route(name="s")]
    assert said_of(document(routes=routes)) == [
        "routes[1].path: serves the same requests as route 'r'"
    ]


def test_two_routes_of_one_name() -> None:
    routes = [route(), route(path="/v2/")]
    assert said_of(document(routes=routes)) == ["routes[1].name: is another route's name too"]


def test_two_routes_that_differ_in_host_or_method_are_fine() -> None:
    routes = [
        route(),
        route(name="s", hosts=["a.test"]),
        route(name="t", methods=["POST"]),
    ]
    assert said_of(document(routes=routes)) == []


def test_a_limit_by_who_asks_on_a_route_that_does_not_ask() -> None:
    limits = {"l": {"key": "tenant", "requests": "1/second"}}
    assert said_of(document(limits=limits, routes=[route(limits=["l"])])) == [
        "routes[0].limits[0]: counts by tenant, but the route is anonymous; count by ip"
    ]


def test_upstreams_of_different_dialects_need_a_word() -> None:
    endpoint = {"endpoints": [{"url": "http://10.0.0.1"}]}
    sections = {
        "upstreams": {"a": endpoint, "b": {"dialect": "anthropic", **endpoint}},
        "models": {"m": {"upstream": "b"}},
    }
    (said,) = said_of(document(**sections, routes=[route(models=["m"])]))
    assert said.endswith("say which callers speak: dialect: anthropic")
    assert said_of(document(**sections, routes=[route(models=["m"], dialect="openai")])) == []


def test_a_limit_that_lets_nothing_through() -> None:
    limits = {"l": {"key": "ip", "requests": "0/second"}}
    assert said_of(document(limits=limits)) == [
        "limits.l.requests: has to let at least one request through"
    ]


def test_the_demo_backend_at_the_gateways_own_address() -> None:
    said = said_of(document(demo={"listen": "127.0.0.1:8080"}))
    assert said == ["demo.listen: is the gateway's own address; choose another port"]


# -- upstreams ---------------------------------------------------------------------------------


def test_headers_that_are_the_gateways_to_set() -> None:
    upstream = {"endpoints": [{"url": "http://10.0.0.1"}], "headers": {"Host": "x"}}
    assert said_of(document(upstreams={"a": upstream})) == [
        "upstreams.a.headers.Host: is the gateway's to set"
    ]


@pytest.mark.parametrize("url", ["http://[::1", "http://a:99999", "http://-x/"])
def test_an_endpoint_nobody_can_connect_to(url: str) -> None:
    (said,) = said_of(document(upstreams={"a": {"endpoints": [{"url": url}]}}))
    assert said.startswith("upstreams.a.endpoints[0].url: ")


def test_an_authority_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "bad.pem").write_text("no certificate")
    for name, reason in (("none.pem", "No such file"), ("bad.pem", "not PEM certificates")):
        upstream = {"endpoints": [{"url": "https://10.0.0.1"}], "tls": {"ca": name}}
        (said,) = said_of(document(upstreams={"a": upstream}), tmp_path)
        assert said.startswith("upstreams.a.tls.ca: cannot be used: ")
        assert reason in said


# -- providers ---------------------------------------------------------------------------------


def keys_in(folder: Path) -> None:
    (folder / "short").write_text("short")
    (folder / "secret").write_text("s" * 32)
    for name, key in (
        ("rsa.pem", rsa.generate_private_key(public_exponent=65537, key_size=2048)),
        ("weak.pem", rsa.generate_private_key(public_exponent=65537, key_size=1024)),  # noqa: S505
        ("ec.pem", ec.generate_private_key(ec.SECP256R1())),
    ):
        pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        (folder / name).write_bytes(pem)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"algorithm": "HS256", "secret": {"file": "secret"}}, None),
        ({"algorithm": "RS256", "public_key": {"file": "rsa.pem"}}, None),
        ({"algorithm": "HS256"}, "HS256 needs `secret`"),
        ({"algorithm": "RS256"}, "RS256 needs `public_key`"),
        ({"algorithm": "HS256", "secret": {"file": "short"}}, "is shorter than 32 bytes"),
        ({"algorithm": "HS256", "secret": {"file": "rsa.pem"}}, "holds a PEM key"),
        ({"algorithm": "RS256", "public_key": {"file": "weak.pem"}}, "is shorter than 2048 bits"),
        (
            {"algorithm": "RS256", "public_key": {"file": "ec.pem"}},
            "is not of the kind RS256 needs",
        ),
        ({"algorithm": "RS256", "public_key": {"file": "secret"}}, "not a public key in PEM"),
        (
            {"algorithm": "HS256", "secret": {"file": "secret"}, "public_key": {"file": "rsa.pem"}},
            "is not used with HS256",
        ),
        (
            {"algorithm": "RS256", "secret": {"file": "secret"}, "public_key": {"file": "rsa.pem"}},
            "is not used with RS256",
        ),
    ],
)
def test_keys_that_do_not_fit_their_algorithm(
    tmp_path: Path, fields: Document, expected: str | None
) -> None:
    keys_in(tmp_path)
    said = said_of(document(auth=provider(**fields)), tmp_path)
    assert [expected in line for line in said if expected] == ([True] if expected else [])
    assert bool(said) == bool(expected)
