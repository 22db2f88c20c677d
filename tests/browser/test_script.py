"""`/client.js` of the public listener."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from gateway.browser.script import FILE
from gateway.config import ConfigError, load_text
from gateway.wiring.routes import shown
from tests.support.client import request
from tests.support.exchange import ask
from tests.support.gateway import StartGateway, config_text, simple_config
from tests.support.refusal import assert_error

SERVED = simple_config("http://127.0.0.1:9", server={"client_js": True})


async def test_any_page_may_import_the_client_and_keep_it(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(SERVED)
    answer = await ask(gateway.port, request(target="/client.js"), "GET")
    assert (answer.status, answer.body) == (200, FILE.read_bytes())
    assert answer.value("content-type") == b"text/javascript; charset=utf-8"
    assert answer.value("access-control-allow-origin") == b"*"
    assert answer.value("cache-control") == b"public, max-age=3600"
    assert answer.value("x-content-type-options") == b"nosniff"
    zipped = await ask(
        gateway.port, request(target="/client.js", headers=["Accept-Encoding: gzip"]), "GET"
    )
    assert zipped.value("content-encoding") == b"gzip"
    assert gzip.decompress(zipped.body) == answer.body


async def test_a_client_that_has_this_version_gets_304(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(SERVED)
    tag = (await ask(gateway.port, request(target="/client.js"), "GET")).value("etag")
    assert tag is not None
    headers = ["If-None-Match: " + tag.decode()]
    again = await ask(gateway.port, request(target="/client.js", headers=headers), "GET")
    assert (again.status, again.body) == (304, b"")
    [line] = [one for one in gateway.log.requests if one["status"] == 304]
    assert (line["route"], line["end"]) == ("client.js", "complete")


async def test_other_methods_are_refused(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(SERVED)
    answer = await ask(gateway.port, request("POST", "/client.js", body=b"{}"))
    assert_error(answer, 405, code="method_not_allowed")
    head = await ask(gateway.port, request("HEAD", "/client.js"), "HEAD")
    assert (head.status, head.body) == (200, b"")


async def test_it_is_not_served_unless_asked_for(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(simple_config("http://127.0.0.1:9"))
    answer = await ask(gateway.port, request(target="/client.js"), "GET")
    assert_error(answer, 404, code="not_found")


async def test_routes_list_it(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(SERVED)
    rows = shown(gateway.config, gateway.server.runtime.routes)
    row = next(row for row in rows if row["route"] == "client.js")
    assert json.dumps(row)
    assert (row["path"], row["methods"], row["auth"]) == ("/client.js", "GET,HEAD", "anonymous")


@pytest.mark.parametrize("route", [{"path": "/client.js"}, {"name": "client.js"}])
def test_a_route_in_its_place_is_a_fault(route: dict[str, Any]) -> None:
    config = simple_config("http://127.0.0.1:9", server={"client_js": True}, **route)
    with pytest.raises(ConfigError, match=r"client.js|another route"):
        load_text(config_text(config, {}))
