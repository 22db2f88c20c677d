"""Plug-ins by dotted name, as the documentation describes them."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.config.plug_in import PlugInUnusable
from gateway.middleware.plugin import Plugin, load_plugin
from tests.support.client import RawClient, ask, request
from tests.support.gateway import StartGateway, simple_config
from tests.support.tokens import Auth, bearer
from tests.support.upstream import ScriptedUpstream, json_reply

Install = Callable[[str, str], str]
PAGE = Path(__file__).parents[2] / "docs/plugins.md"
GET = b"GET /v1/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Installs a module, until the test ends: its name and its code to its name."""
    known = set(sys.modules)
    monkeypatch.syspath_prepend(str(tmp_path))

    def install(name: str, code: str) -> str:
        file = tmp_path / (name.replace(".", "/") + ".py")
        file.parent.mkdir(exist_ok=True)
        file.write_text(code)
        return name

    yield install
    for name in set(sys.modules) - known:
        origin = getattr(sys.modules[name], "__file__", None) or ""
        if origin.startswith(str(tmp_path)) or name == "acme":
            del sys.modules[name]


def documented_code() -> str:
    return "\n".join(re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL))


@pytest.fixture
def documented(installed: Install) -> str:
    """A module with all the code of the page; its name."""
    return installed("documented_plugins", documented_code())


async def test_the_documented_plug_ins_work(start_gateway: StartGateway, documented: str) -> None:
    use = [
        {"use": f"{documented}.no_store"},
        {"use": f"{documented}.Stamp", "options": {"header": "X-Acme"}},
    ]
    async with ScriptedUpstream(json_reply({"a": 1})) as upstream:
        gateway = await start_gateway(simple_config(upstream.url, middleware=use))
        response = await ask(gateway.port, GET)
    assert response.value("x-acme") == b"yes"
    assert response.value("cache-control") == b"no-store"
    assert response.json() == {"a": 1}


async def test_plug_ins_run_in_the_order_they_are_listed(
    start_gateway: StartGateway, documented: str
) -> None:
    use = [
        {"use": f"{documented}.Stamp", "options": {"header": "X-Order", "value": value}}
        for value in ("outer", "inner")
    ]
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway(simple_config(upstream.url, middleware=use))
        response = await ask(gateway.port, GET)
    assert response.values("x-order") == [b"outer"]


@pytest.mark.parametrize(
    ("name", "options", "reason", "path"),
    [
        ("no_such_package.x", {}, "cannot import no_such_package: ModuleNotFound", ("use",)),
        ("odd_plugins.missing", {}, "odd_plugins has no missing", ("use",)),
        ("odd_plugins.plain", {}, "neither an async function nor a class", ("use",)),
        ("odd_plugins.Deaf", {}, "no async __call__", ("use",)),
        ("odd_plugins.simple", {"a": 1}, "a function takes no options", ("options",)),
        ("odd_plugins.Picky", {"size": "big"}, "has to be a whole number", ("options", "size")),
        ("odd_plugins.Picky", {}, "is missing", ("options", "size")),
        ("odd_plugins.Picky", {"size": 13}, "cannot be made: RuntimeError: unlucky", ("options",)),
        ("odd_plugins_broken.x", {}, "cannot import odd_plugins_broken: SyntaxError", ("use",)),
    ],
)
def test_one_that_cannot_be_used_says_why_and_which_key_is_meant(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    options: dict[str, object],
    reason: str,
    path: tuple[str, ...],
) -> None:
    (tmp_path / "odd_plugins_broken.py").write_text("def (:")
    (tmp_path / "odd_plugins.py").write_text("""
from pydantic import BaseModel

def plain(request, handler): ...

async def simple(request, handler): ...

class Deaf:
    class Options(BaseModel): ...
    def __init__(self, options): ...

class Picky:
    class Options(BaseModel):
        size: int

    def __init__(self, options):
        if options.size == 13:
            raise RuntimeError("unlucky")

    async def __call__(self, request, handler): ...
""")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(PlugInUnusable) as caught:
        load_plugin(name, options)
    assert reason in caught.value.message
    assert caught.value.path == path


# -- what the page says a plug-in may count on -----------------------------------------------------

POST = request(
    "POST",
    "/v1/chat/completions",
    headers=["Content-Type: application/json", "Connection: close"],
    body=b'{"model":"llama-3"}',
)


async def test_the_documented_yaml_is_served_as_it_stands(
    start_gateway: StartGateway, auth: Auth, installed: Install
) -> None:
    installed("acme.gateway", documented_code())
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    async with ScriptedUpstream(json_reply({"a": 1})) as upstream:
        config: dict[str, Any] = {
            **yaml.safe_load(block),
            "upstreams": {"llama": {"endpoints": [{"url": upstream.url}]}},
            "models": {"llama-3": {"upstream": "llama"}},
            "auth": auth,
        }
        gateway = await start_gateway(config)
        known = POST.replace(b"Connection:", bearer().encode() + b"\r\nConnection:", 1)
        response = await ask(gateway.port, known)
        refused = await ask(gateway.port, POST)
    assert response.status == 200
    assert response.value("x-acme") == b"yes"
    assert response.value("cache-control") == b"no-store"
    assert refused.status == 401
    assert refused.values("x-acme") == [], "plug-ins run after authentication"


@pytest.fixture
def counting(installed: Install) -> str:
    """A module with plug-ins that use what they may count on; its name."""
    return installed("counting_plugins", COUNTING)


COUNTING = """
from aiohttp import web
from gateway.errors import RequestError

ended = []

async def read(request, handler):
    body = await request.read()
    assert body == b'{"model":"llama-3"}', body
    return await handler(request)

async def watch(request, handler):
    exchange = request.exchange
    exchange.at_end(lambda e: ended.append((e.request_id, str(e.end_reason))))
    response = await handler(request)
    response.headers["X-Seen"] = f"{exchange.route} {exchange.client_ip} {exchange.request_id}"
    return response

async def refuse(request, handler):
    raise RequestError("Not on Sundays.", code="closed")

async def forbid(request, handler):
    raise web.HTTPForbidden(text="Not you.")

async def answer(request, handler):
    return web.json_response({"from": "plug-in"})
"""


async def test_a_body_a_plug_in_has_read_is_still_forwarded(
    start_gateway: StartGateway, counting: str
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        use = [{"use": f"{counting}.read"}]
        gateway = await start_gateway(simple_config(upstream.url, middleware=use))
        response = await ask(gateway.port, POST)
        (received,) = upstream.requests
    assert response.status == 200
    assert received.body == b'{"model":"llama-3"}'


async def test_a_plug_in_knows_the_exchange_and_when_it_ended(
    start_gateway: StartGateway, counting: str
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        use = [{"use": f"{counting}.watch"}]
        gateway = await start_gateway(simple_config(upstream.url, middleware=use))
        response = await ask(gateway.port, POST)
        (request_id,) = (value.decode() for value in response.values("x-request-id"))
        await gateway.log.wait_for(lambda line: line.get("request_id") == request_id)
    assert response.value("x-seen") == f"main 127.0.0.1 {request_id}".encode()
    module = importlib.import_module(counting)
    assert module.ended == [(request_id, "complete")]


@pytest.mark.parametrize(
    ("plugin", "status", "code", "message"),
    [("refuse", 400, "closed", "Not on Sundays."), ("forbid", 403, "http_403", "Not you.")],
)
async def test_a_plug_in_s_refusal_has_the_shape_of_the_dialect(
    start_gateway: StartGateway, counting: str, plugin: str, status: int, code: str, message: str
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        use = [{"use": f"{counting}.{plugin}"}]
        gateway = await start_gateway(simple_config(upstream.url, middleware=use))
        response = await ask(gateway.port, POST)
        assert upstream.requests == []
    error = response.json()["error"]
    assert (response.status, error["code"], error["message"]) == (status, code, message)


async def test_a_plug_in_may_answer_by_itself(start_gateway: StartGateway, counting: str) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        use = [{"use": f"{counting}.answer"}]
        gateway = await start_gateway(simple_config(upstream.url, middleware=use))
        response = await ask(gateway.port, POST)
        assert upstream.requests == []
    assert response.json() == {"from": "plug-in"}


# -- more that cannot be used ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["", "x", ".", ".x", "x.", "..", "json.", "os.path.", "a b.c", "é.x"]
)
def test_a_name_that_is_no_dotted_name_is_an_error_of_the_file(name: str) -> None:
    with pytest.raises(PlugInUnusable) as caught:
        load_plugin(name, {})
    assert caught.value.path == ("use",)


def test_an_unknown_option_is_refused_by_its_name(documented: str) -> None:
    with pytest.raises(PlugInUnusable, match="unknown key") as caught:
        load_plugin(f"{documented}.Stamp", {"header": "X-A", "vlaue": "typo"})
    assert caught.value.path == ("options", "vlaue")


def test_what_an_option_holds_is_not_repeated(documented: str) -> None:
    with pytest.raises(PlugInUnusable) as caught:
        load_plugin(f"{documented}.Stamp", {"header": ["canary"]})
    assert "canary" not in caught.value.message


def test_an_aiohttp_middleware_is_one() -> None:
    assert isinstance(load_plugin("tests.support.faulty_plugin.fail", {}), Plugin)


@pytest.mark.parametrize("before", [[], ["look"]], ids=["alone", "behind another"])
async def test_a_plug_in_sees_the_body_and_length_of_each_request_of_a_connection(
    start_gateway: StartGateway, installed: Install, before: list[str]
) -> None:
    use = installed(
        "acme_length",
        "from aiohttp import web\n"
        "@web.middleware\n"
        "async def tell(request, handler):\n"
        "    body = b''.join([piece async for piece in request.content.iter_any()])\n"
        "    return web.json_response([request.content_length, body.decode()])\n"
        "@web.middleware\n"
        "async def look(request, handler):\n"
        "    return await handler(request)\n",
    )
    chain = [{"use": f"{use}.{name}"} for name in (*before, "tell")]
    async with ScriptedUpstream(json_reply({})) as upstream:
        settings = simple_config(upstream.url, middleware=chain)
        gateway = await start_gateway(settings)
        async with RawClient(gateway.port) as client:
            for body in ("a", "bcd", "", "ef"):
                await client.send(request("POST", body=body.encode()))
                answer = await client.read_response("POST")
                assert answer.json() == [len(body), body]
