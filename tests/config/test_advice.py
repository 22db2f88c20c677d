"""Warnings: each for its case, and none for what is as it should be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.config import load_source_text
from tests.support.tokens import SECRET, SECRET_VARIABLE


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECRET_VARIABLE, SECRET)


def config(**changes: Any) -> dict[str, Any]:
    """A configuration that nobody would warn of, with these sections changed."""
    return {
        "auth": {
            "corp": {
                **{"type": "jwt", "algorithm": "HS256", "issuer": "i", "audience": "a"},
                **{"secret": {"env": SECRET_VARIABLE}, "claims": {"tenant": "org"}},
            }
        },
        "limits": {"per-tenant": {"key": "tenant", "requests": "1/second"}},
        "upstreams": {"u": {"endpoints": [{"url": "http://10.0.0.5:8000"}]}},
        "models": {"m": {"upstream": "u"}},
        "routes": [route()],
        **changes,
    }


def route(**changes: Any) -> dict[str, Any]:
    return {
        **{"name": "r", "path": "/v1/", "auth": ["corp"], "limits": ["per-tenant"]},
        **{"models": ["m"], **changes},
    }


def warnings(document: dict[str, Any]) -> list[str]:
    loaded = load_source_text(yaml.safe_dump(document), name="c.yaml", base=Path())
    return [f"{'.'.join(map(str, one.path))}: {one.message}" for one in loaded.warnings()]


def test_a_sensible_file_has_no_warning() -> None:
    assert warnings(config()) == []


@pytest.mark.parametrize(
    ("network", "warned"),
    [("0.0.0.0/0", True), ("::/0", True), ("10.0.0.0/8", False), ("2001:db8::/32", False)],
)
def test_trusting_nearly_everybody_is_warned_of(network: str, warned: bool) -> None:
    found = warnings(config(server={"trusted_proxies": [network]}))
    assert [one.startswith("server.trusted_proxies.0: ") for one in found] == [True] * warned


@pytest.mark.parametrize("path", ["/v1", "/openai"])
def test_an_exact_path_that_no_call_asks_for_is_warned_of(path: str) -> None:
    [found] = warnings(config(routes=[route(path=path)]))
    assert f"serves exactly {path}" in found


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/chat/completions", "/v1/"])
def test_a_path_that_calls_ask_for_is_fine(path: str) -> None:
    assert warnings(config(routes=[route(path=path)])) == []


def test_a_limit_by_tenant_without_a_tenant_is_warned_of() -> None:
    document = config()
    del document["auth"]["corp"]["claims"]
    [found] = warnings(document)
    assert "no provider of this route tells a caller's tenant" in found


def test_api_keys_have_a_tenant() -> None:
    document = config(auth={"keys": {"type": "api_key", "file": "keys.yaml"}})
    document["routes"] = [route(auth=["keys"])]
    assert warnings(document) == []


def test_an_open_door_to_a_paid_backend_is_warned_of() -> None:
    document = config(routes=[route(auth="anonymous", limits=[])])
    assert warnings(document) == []
    document["upstreams"]["u"]["credentials"] = {"bearer": {"env": SECRET_VARIABLE}}
    [found] = warnings(document)
    assert "anybody may spend the credentials of u" in found


@pytest.mark.parametrize(("strip", "warned"), [(False, True), (True, False)])
def test_a_url_that_doubles_v1_is_warned_of(strip: bool, warned: bool) -> None:
    document = config(routes=[route(strip=strip)])
    document["upstreams"]["u"]["endpoints"] = [{"url": "http://10.0.0.5:8000/v1"}]
    assert [("/v1/v1/" in one) for one in warnings(document)] == [True] * warned


def test_a_url_that_doubles_the_base_of_another_dialect_is_warned_of() -> None:
    document = config(routes=[route(path="/api/")])
    document["upstreams"]["u"] |= {
        "dialect": "ollama",
        "endpoints": [{"url": "http://10.0.0.5:11434/api"}],
    }
    [found] = warnings(document)
    assert "the backend gets /api/api/..." in found


def test_a_url_with_a_base_is_fine_for_callers_whose_requests_are_translated() -> None:
    document = config(routes=[route(dialect="anthropic")])
    document["upstreams"]["u"]["endpoints"] = [{"url": "http://10.0.0.5:8000/v1"}]
    assert warnings(document) == []


@pytest.mark.parametrize("told", [{"cost_in_usage": True}, {"served_headers": ["cost"]}])
def test_a_cost_without_a_price_is_warned_of(told: dict[str, Any]) -> None:
    (key,) = told
    why = "tells nothing, because no model of the route has a price"
    assert warnings(config(routes=[route(**told)])) == [f"routes.0.{key}: {why}"]
    priced = {"m": {"upstream": "u", "price": {"input": 1, "output": 2}}}
    assert warnings(config(routes=[route(**told)], models=priced)) == []
    assert warnings(config(routes=[route(served_headers=["model"])])) == []


def test_a_header_of_a_cache_that_is_not_there_is_warned_of() -> None:
    why = "tells nothing of `cache`, because the route has no cache"
    told = {"served_headers": ["cache"]}
    assert warnings(config(routes=[route(**told)])) == [f"routes.0.served_headers: {why}"]
    assert warnings(config(routes=[route(**told, cache={})])) == []


def test_an_error_rate_without_metrics_is_warned_of() -> None:
    alerts = {"a": {"url": "https://a.test/x"}}
    (said,) = warnings(config(alerts=alerts, telemetry={"metrics": None}))
    assert "alerts.a: is not told of `error_rate`" in said
    assert warnings(config(alerts=alerts)) == []


@pytest.mark.parametrize(
    ("audit", "options", "why"),
    [
        ({}, None, "prompt_audit: records nothing"),
        ({}, {"redact": False}, "routes.0.audit_prompts.redact: records prompts as they are"),
        ({"s3": "http://s3.test"}, {}, "prompt_audit.s3.endpoint: sends prompts without TLS"),
        ({"s3": "http://127.0.0.1:9000"}, {}, None),
        ({"s3": "https://s3.test"}, {}, None),
        ({"encryption": {"keys": {"p": {"public_key": "p.pem"}}}}, {"redact": False}, None),
    ],
)
def test_prompts_that_others_can_read_are_warned_of(
    audit: dict[str, Any], options: dict[str, Any] | None, why: str | None
) -> None:
    if "s3" in audit:
        key = {"env": SECRET_VARIABLE}
        bucket = {"endpoint": audit["s3"], "bucket": "prompts"}
        audit = {"s3": {**bucket, "access_key": key, "secret_key": key}}
    said = warnings(config(routes=[route(audit_prompts=options)], prompt_audit=audit))
    assert [one.startswith(why or "") for one in said] == ([True] if why else [])


@pytest.mark.parametrize(
    ("path", "warned"),
    [
        ("/store.db", "is the file /store.db in the root folder"),
        ("/no/such/folder/store.db", "there is no folder /no/such/folder here"),
        ("{folder}/store.db", None),
    ],
)
def test_a_store_in_a_strange_place_is_warned_of(
    tmp_path: Path, path: str, warned: str | None
) -> None:
    url = f"sqlite://{path.format(folder=tmp_path)}"
    assert warnings(config(store={"url": url})) == ([f"store.url: {warned}"] if warned else [])
