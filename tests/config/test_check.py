"""What is wrong between values that are each fine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.config.documents import Document, document, keys_in, said_of


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
        "set admin.token or admin.sign_in, or listen on 127.0.0.1"
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


def test_streams_that_another_process_continues_need_a_store_and_an_upstream() -> None:
    here = "routes[0].resume.continues"
    routes = [route(resume={"continues": True})]
    said = said_of(document(routes=routes, store={"url": "sqlite:///x.db"}))
    assert said == [
        f"{here}: needs a store that outlives the process; set store.url to a Redis",
        f"{here}: needs an upstream that can continue an answer; set its `continues`",
    ]
    whole = document(routes=routes, store={"url": "redis://a"})
    whole["upstreams"]["a"]["continues"] = "prefill"
    assert said_of(whole) == []


def test_the_demo_backend_at_the_gateways_own_address() -> None:
    said = said_of(document(demo={"listen": "127.0.0.1:8080"}))
    assert said == ["demo.listen: is the gateway's own address; choose another port"]


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
            {"check_requests": True},
            ["check_requests: is what the route says that the bridge leads to"],
        ),
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


@pytest.mark.parametrize(
    "fields",
    [{"auth": "anonymous", "upstream": "a"}, {"auth": ["k"], "issues": "t", "methods": ["POST"]}],
)
def test_self_service_is_for_authenticated_callers_of_routes_that_forward(
    fields: Document,
) -> None:
    route = {"name": "r", "path": "/v1/", "self_service": True, **fields}
    auth = {"k": {"type": "api_key", "file": "keys.yaml"}, "t": {"type": "ticket"}}
    [said] = said_of(document(auth=auth, routes=[route]))
    assert "self_service" in said
