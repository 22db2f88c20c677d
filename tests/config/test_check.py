"""What is wrong between values that are each fine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
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
        (
            {"websocket": True, "methods": ["POST"]},
            "routes[0].websocket: begins with a GET, which the route does not serve; "
            "add GET to `methods`",
        ),
        (
            {"websocket": {"messages": "0/second"}},
            "routes[0].websocket.messages: has to let at least one through",
        ),
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


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"upstream": "vlm"}, "upstream: there is no upstream 'vlm'; did you mean 'vllm'?"),
        ({"limits": ["per-ip"]}, "limits[0]: there is no limit 'per-ip'; did you mean 'per_ip'?"),
        ({"models": ["lama"]}, "models[0]: there is no model 'lama'; did you mean 'llama'?"),
        ({"auth": ["corp", "crop"]}, "auth[1]: there is no provider 'crop'; did you mean 'corp'?"),
    ],
)
def test_a_name_that_is_not_there_gets_the_nearest_that_is(
    tmp_path: Path, fields: Document, expected: str
) -> None:
    keys_in(tmp_path)
    sections = {
        "upstreams": {"vllm": {"endpoints": [{"url": "http://10.0.0.1"}]}},
        "limits": {"per_ip": {"key": "ip", "requests": "1/second"}},
        "models": {"llama": {"upstream": "vllm"}},
        "auth": {"corp": provider(algorithm="HS256", secret={"file": "secret"})["p"]},
        "routes": [route(**{"upstream": "vllm", **fields})],
    }
    assert said_of(document(**sections), tmp_path) == [f"routes[0].{expected}"]


def test_a_model_of_an_upstream_that_is_not_there() -> None:
    assert said_of(document(models={"m": {"upstream": "aa"}})) == [
        "models.m.upstream: there is no upstream 'aa'; did you mean 'a'?"
    ]


@pytest.mark.parametrize(
    ("fallbacks", "expected"),
    [
        (["m"], "is the model itself"),
        (["nn"], "there is no model 'nn'; did you mean 'n'?"),
        (["claude"], None),
        (["n"], None),
    ],
)
def test_a_fallback_that_cannot_stand_in(fallbacks: list[str], expected: str | None) -> None:
    upstreams = {
        "a": {"endpoints": [{"url": "http://10.0.0.1"}]},
        "b": {"endpoints": [{"url": "http://10.0.0.1"}], "dialect": "anthropic"},
    }
    models = {
        "m": {"upstream": "a", "fallbacks": fallbacks},
        "n": {"upstream": "a"},
        "claude": {"upstream": "b"},
    }
    said = [] if expected is None else [f"models.m.fallbacks[0]: {expected}"]
    assert said_of(document(upstreams=upstreams, models=models)) == said


def test_every_rule_is_judged_in_one_run() -> None:
    sections = {
        "demo": {"listen": "127.0.0.1:8080"},
        "limits": {"l": {"key": "ip", "requests": "0/hour"}},
        "upstreams": {"a": {"endpoints": [{"url": "http://-x/"}], "headers": {"te": "x"}}},
        "routes": [route(upstream=None), route(path="/v2/", hosts=["A"])],
    }
    assert [line.split(":")[0] for line in said_of(document(**sections))] == [
        "upstreams.a.endpoints[0].url",
        "upstreams.a.headers.te",
        "routes[0]",
        "routes[1].name",
        "routes[1].hosts[0]",
        "demo.listen",
        "limits.l.requests",
    ]


@pytest.mark.parametrize("path", ["/a/../b", "/a/./b", "/.", "//", "/a/.."])
def test_a_path_no_request_can_have_is_found(path: str) -> None:
    assert said_of(document(routes=[route(path=path)])) == [
        "routes[0].path: has a second spelling, so no request matches it"
    ]


@pytest.mark.parametrize("host", ["", "a b", "-a.test", "a.test-", "*.test", "a.test:80", "ä.test"])
def test_a_host_is_a_plain_name(host: str) -> None:
    (said,) = said_of(document(routes=[route(hosts=["ok.test", host])]))
    assert said.startswith("routes[0].hosts[1]: is not a host name")


@pytest.mark.parametrize("host", ["a", "a.b-c.test", "10.0.0.1", "[::1]"])
def test_a_host_may_be_an_address(host: str) -> None:
    assert said_of(document(routes=[route(hosts=[host])])) == []


@pytest.mark.parametrize("listen", ["0.0.0.0:9090", ":9090", "[::]:9090", "10.0.0.1:9090", "h:1"])
def test_an_admin_listener_for_everybody_needs_a_token(
    monkeypatch: pytest.MonkeyPatch, listen: str
) -> None:
    monkeypatch.setenv("ADMIN_TOKEN", "x")
    assert said_of(document(admin={"listen": listen})) == [
        "admin.listen: lets everybody who reaches it operate the gateway; "
        "set admin.token, or listen on 127.0.0.1"
    ]
    assert said_of(document(admin={"listen": listen, "token": {"env": "ADMIN_TOKEN"}})) == []


@pytest.mark.parametrize("listen", ["127.0.0.1:9090", "[::1]:9090", "localhost:9090"])
def test_an_admin_listener_for_this_machine_needs_none(listen: str) -> None:
    assert said_of(document(admin={"listen": listen})) == []


def test_two_listeners_on_one_address_are_found() -> None:
    assert said_of(document(admin={"listen": "127.0.0.1:8080"})) == [
        "admin.listen: is an address that is used already; choose another port"
    ]


def issuing(**fields: Any) -> Document:
    return {
        "name": "t",
        "path": "/auth/ticket",
        "methods": ["POST"],
        "auth": ["p"],
        "issues": "door",
        **fields,
    }


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, []),
        ({"limits": ["few"]}, []),
        ({"upstream": "a"}, ["issues: is the end of the route; take `models` and `upstream` away"]),
        ({"methods": []}, ["methods: tickets are made by POST only; write methods: [POST]"]),
        ({"issues": "p"}, ["issues: is not a provider of type ticket"]),
        ({"issues": "dor"}, ["issues: there is no provider 'dor'; did you mean 'door'?"]),
        (
            {"auth": "anonymous"},
            ["auth: a ticket speaks for somebody, so it cannot be anonymous"],
        ),
        ({"auth": ["p", "door"]}, ["auth[1]: a ticket cannot be had for a ticket"]),
        ({"limits": ["tokens"]}, ["limits[0]: counts models or tokens; here are none"]),
    ],
)
def test_a_route_that_issues_tickets(tmp_path: Path, fields: Document, expected: list[str]) -> None:
    keys_in(tmp_path)
    sections = {
        "auth": {
            **provider(algorithm="HS256", secret={"file": "secret"}),
            "door": {"type": "ticket"},
        },
        "limits": {
            "few": {"key": "subject", "requests": "1/second"},
            "tokens": {"key": "subject", "tokens": "1/second"},
        },
        "routes": [issuing(**fields)],
    }
    said = said_of(document(**sections), tmp_path)
    assert said == [f"routes[0].{line}" for line in expected]


def test_keys_in_a_store_that_is_one_process_are_found() -> None:
    auth = {"keys": {"type": "api_key"}}
    assert said_of(document(auth=auth)) == [
        "auth.keys: keeps its keys in the store, which is the memory of one process; "
        "give it a `file`, or set store.url to SQLite or a Redis"
    ]
    assert said_of(document(auth=auth, store={"url": "redis://10.0.0.1"})) == []


def test_scopes_on_a_route_that_asks_nobody() -> None:
    assert said_of(document(routes=[route(scopes=["chat"])])) == [
        "routes[0]: scopes are for known callers, but the route is anonymous"
    ]


def test_a_model_with_scopes_on_a_route_that_asks_nobody() -> None:
    models = {"open": {"upstream": "a"}, "paid": {"upstream": "a", "scopes": ["paid"]}}
    assert said_of(document(models=models, routes=[route(models=["open", "paid"])])) == [
        "routes[0]: model 'paid' is for known callers, but the route is anonymous"
    ]


@pytest.mark.parametrize("key", ["ip", "route"])
def test_a_limit_by_address_or_route_fits_a_route_that_asks_nobody(key: str) -> None:
    limits = {"l": {"key": key, "requests": "1/second"}}
    assert said_of(document(limits=limits, routes=[route(limits=["l"])])) == []


def test_two_routes_for_the_same_requests() -> None:
    routes = [route(), route(name="s")]
    assert said_of(document(routes=routes)) == [
        "routes[1].path: serves the same requests as route 'r'"
    ]


def test_two_routes_of_one_name() -> None:
    routes = [route(), route(path="/v2/")]
    assert said_of(document(routes=routes)) == ["routes[1].name: is another route's name too"]


def test_two_routes_that_share_one_host_and_method() -> None:
    routes = [
        route(hosts=["a.test", "b.test"], methods=["GET", "POST"]),
        route(name="s", hosts=["b.test", "c.test"], methods=["POST"]),
    ]
    assert said_of(document(routes=routes)) == [
        "routes[1].path: serves the same requests as route 'r'"
    ]


def test_an_exact_path_and_the_prefix_below_it_are_two() -> None:
    routes = [route(path="/v1"), route(name="s", path="/v1/")]
    assert said_of(document(routes=routes)) == []


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


@pytest.mark.parametrize(
    ("path", "dialect", "spoken", "expected"),
    [
        ("/v1/chat/completions", "openai", "anthropic", None),
        ("/v1/", "openai", "anthropic", None),
        ("/v1/responses", "openai", "openai", None),
        ("/v1/responses", "openai", "anthropic", "anthropic"),
        ("/v1/embeddings", "openai", "ollama", None),
        ("/v1/embeddings", "openai", "anthropic", "anthropic"),
        ("/v1/messages", "anthropic", "openai", None),
        ("/api/generate", "ollama", "openai", None),
        ("/api/show", "ollama", "openai", "openai"),
    ],
)
def test_a_route_of_which_nothing_can_be_translated(
    path: str, dialect: str, spoken: str, expected: str | None
) -> None:
    sections = {
        "upstreams": {"b": {"dialect": spoken, "endpoints": [{"url": "http://10.0.0.1"}]}},
        "models": {"m": {"upstream": "b"}},
    }
    said = said_of(
        document(
            **sections, routes=[route(path=path, models=["m"], upstream=None, dialect=dialect)]
        )
    )
    why = "nothing that callers ask for here can be translated for"
    assert said == ([f"routes[0].dialect: {why} {expected}"] if expected else [])


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"dialect": "openai", "continues": "continue_final_message"}, []),
        (
            {"dialect": "anthropic", "continues": "continue_final_message"},
            ["continues: is a field that anthropic does not have; write continues: prefill"],
        ),
        ({"dialect": "anthropic", "translation": {"max_tokens": 8192}}, []),
        (
            {"dialect": "openai", "translation": {"max_tokens": 8192}},
            ["translation.max_tokens: is for upstreams that speak anthropic"],
        ),
        ({"dialect": "openai", "stream_options": False, "translation": {"base": ""}}, []),
        (
            {"dialect": "ollama", "stream_options": False},
            ["stream_options: is for upstreams that speak openai"],
        ),
        (
            {"dialect": "ollama", "translation": {"efforts": ["low"], "base": "/x"}},
            ["translation.efforts: is for upstreams that speak openai or anthropic"],
        ),
    ],
)
def test_what_an_upstream_of_that_dialect_knows_nothing_of(
    fields: dict[str, Any], expected: list[str]
) -> None:
    upstream = {"endpoints": [{"url": "http://10.0.0.1"}], **fields}
    said = said_of(document(upstreams={"b": upstream}, routes=[route(upstream="b")]))
    assert said == [f"upstreams.b.{one}" for one in expected]


def test_what_is_asked_of_models_is_asked_of_their_fallbacks() -> None:
    models = {
        "m": {"upstream": "a", "fallbacks": ["n"], "price": {"input": 1, "output": 1}},
        "n": {"upstream": "a", "scopes": ["s"]},
    }
    said = said_of(
        document(
            models=models,
            limits={"l": {"key": "ip", "budget": "1 USD/day"}},
            store={"url": "sqlite:///x.db"},
            routes=[route(upstream=None, models=["m"], limits=["l"])],
        )
    )
    assert said == [
        "routes[0]: model 'n' is for known callers, but the route is anonymous",
        "routes[0].limits[0]: is a budget in USD, but these models have no price in it: n; "
        "give each a `price`, of 0 if it costs nothing",
    ]


def test_models_without_a_price_are_told_of_in_one_problem() -> None:
    models = {name: {"upstream": "a"} for name in "abcdefg"}
    said = said_of(
        document(
            models=models,
            limits={"l": {"key": "ip", "budget": "1 USD/day"}},
            store={"url": "sqlite:///x.db"},
            routes=[route(upstream=None, models=list(models), limits=["l"])],
        )
    )
    (one,) = (problem for problem in said if "price" in problem)
    assert "have no price in it: a, b, c, d, e and more; " in one


def test_a_limit_that_lets_nothing_through() -> None:
    limits = {"l": {"key": "ip", "requests": "0/second"}}
    (said,) = said_of(document(limits=limits))
    assert said.startswith("limits.l.requests: has to let at least one ")


def test_the_demo_backend_at_the_gateways_own_address() -> None:
    said = said_of(document(demo={"listen": "127.0.0.1:8080"}))
    assert said == ["demo.listen: is the gateway's own address; choose another port"]


# -- upstreams ---------------------------------------------------------------------------------


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


# -- providers ---------------------------------------------------------------------------------


def keys_in(folder: Path) -> None:
    (folder / "short").write_text("short")
    (folder / "secret").write_text("s" * 32)
    for name, key in (
        ("rsa.pem", rsa.generate_private_key(public_exponent=65537, key_size=2048)),
        ("weak.pem", rsa.generate_private_key(public_exponent=65537, key_size=1024)),  # noqa: S505
        ("ec.pem", ec.generate_private_key(ec.SECP256R1())),
        ("ed.pem", ed25519.Ed25519PrivateKey.generate()),
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


@pytest.mark.parametrize(
    ("algorithm", "least_bytes"), [("HS256", 32), ("HS384", 48), ("HS512", 64)]
)
def test_a_shared_secret_is_as_long_as_its_hash(
    tmp_path: Path, algorithm: str, least_bytes: int
) -> None:
    for length, expected in ((least_bytes, 0), (least_bytes - 1, 1)):
        (tmp_path / "secret").write_bytes(b"s" * length)
        fields = provider(algorithm=algorithm, secret={"file": "secret"})
        said = said_of(document(auth=fields), tmp_path)
        assert said == [f"auth.p.secret: is shorter than {least_bytes} bytes"] * expected


@pytest.mark.parametrize(
    ("algorithm", "file", "expected"),
    [
        ("PS384", "rsa.pem", []),
        ("ES256", "ec.pem", []),
        ("EdDSA", "ed.pem", []),
        ("ES384", "ec.pem", ["is on another curve than ES384 needs"]),
        ("ES256", "rsa.pem", ["is not of the kind ES256 needs"]),
        ("EdDSA", "ec.pem", ["is not of the kind EdDSA needs"]),
        ("PS256", "ed.pem", ["is not of the kind PS256 needs"]),
    ],
)
def test_a_public_key_is_of_its_algorithms_kind(
    tmp_path: Path, algorithm: str, file: str, expected: list[str]
) -> None:
    keys_in(tmp_path)
    fields = provider(algorithm=algorithm, public_key={"file": file})
    assert said_of(document(auth=fields), tmp_path) == [
        f"auth.p.public_key: {reason}" for reason in expected
    ]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"issuer": "https://sso.test", "jwks": "auto"}, []),
        ({"jwks": "https://sso.test/keys"}, []),
        ({"jwks": "http://127.0.0.1:8080/keys"}, []),
        ({"jwks": "https://sso.test/keys", "algorithms": ["RS256", "ES256"]}, []),
        ({}, ["auth.p: needs `jwks`, or `algorithm` with its key"]),
        (
            {"jwks": "http://sso.test/keys"},
            ["auth.p.jwks: keys cannot be fetched safely without TLS; use https"],
        ),
        (
            {"issuer": "http://sso.test", "jwks": "auto"},
            [
                "auth.p.jwks: keys cannot be fetched safely without TLS; "
                "use https, or `jwks` with a URL"
            ],
        ),
        (
            {"jwks": "https://sso.test/keys", "algorithm": "HS256", "secret": {"file": "secret"}},
            [
                "auth.p.algorithm: is not used with `jwks`; take one of them away",
                "auth.p.secret: is not used with `jwks`; take one of them away",
            ],
        ),
        (
            {"jwks": "https://sso.test/keys", "public_key": {"file": "rsa.pem"}},
            ["auth.p.public_key: is not used with `jwks`; take one of them away"],
        ),
        (
            {"jwks": "https://sso.test/keys", "ca": "none.pem"},
            ["auth.p.ca: cannot be used: No such file or directory"],
        ),
        (
            {"algorithm": "RS256", "public_key": {"file": "rsa.pem"}, "algorithms": ["RS256"]},
            ["auth.p.algorithms: is used with `jwks` only"],
        ),
    ],
)
def test_keys_come_from_one_source(tmp_path: Path, fields: Document, expected: list[str]) -> None:
    keys_in(tmp_path)
    assert said_of(document(auth=provider(**fields)), tmp_path) == expected


def test_a_claim_cannot_fill_a_header_that_is_the_gateways(tmp_path: Path) -> None:
    keys_in(tmp_path)
    fields = provider(
        algorithm="HS256", secret={"file": "secret"}, headers={"x-user": "sub", "Host": "sub"}
    )
    assert said_of(document(auth=fields), tmp_path) == [
        "auth.p.headers.Host: is the gateway's to set"
    ]


def test_a_key_cannot_stand_in_a_header_that_is_the_gateways() -> None:
    keys = {"k": {"type": "api_key", "file": "keys.yaml", "header": "Connection"}}
    assert said_of(document(auth=keys)) == ["auth.k.header: cannot carry a key"]


def test_a_provider_of_no_known_type_lists_the_types() -> None:
    (said,) = said_of(document(auth={"p": {"type": "oauth"}}))
    assert said.startswith("auth.p: ")
    assert "'jwt', 'api_key'" in said


# -- bridges -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, []),
        ({"auth": ["door", "p"]}, []),
        ({"bridge": {"to": "s"}}, ["bridge.to: there is no route 's'"]),
        (
            {"bridge": {"to": "b"}},
            ["bridge.to: serves no generations; name a route with `models` or `upstream`"],
        ),
        (
            {"upstream": "a"},
            ["bridge: is the end of the route; take `models`, `upstream` and `issues` away"],
        ),
        ({"resume": {}}, ["resume: is what the route says that the bridge leads to"]),
        ({"dialect": "ollama"}, ["dialect: is what the route says that the bridge leads to"]),
        (
            {"path": "/v1/stream/"},
            ["path: is the address of one socket; take the slash at its end away"],
        ),
        (
            {"methods": ["POST"]},
            ["websocket: begins with a GET, which the route does not serve; add GET to `methods`"],
        ),
        ({"auth": "anonymous"}, ["auth: lets anybody in, and route 'r' does not"]),
        ({"auth": ["q"]}, ["auth: lets callers of 'q' in, and route 'r' does not"]),
        (
            {"limits": ["spent"]},
            ["limits[0]: counts models or tokens; here are handshakes; put it on route 'r'"],
        ),
    ],
)
def test_a_bridge_stands_in_front_of_a_route_with_the_same_callers(
    tmp_path: Path, fields: Document, expected: list[str]
) -> None:
    keys_in(tmp_path)
    known = provider(algorithm="HS256", secret={"file": "secret"})
    bridge = {"name": "b", "path": "/v1/stream", "auth": ["p"], "bridge": {"to": "r"}, **fields}
    said = said_of(
        document(
            auth={**known, "q": known["p"], "door": {"type": "ticket"}},
            limits={"spent": {"key": "subject", "tokens": "5/day"}},
            routes=[route(auth=["p"]), bridge],
        ),
        tmp_path,
    )
    assert [each.removeprefix("routes[1].") for each in said] == expected
