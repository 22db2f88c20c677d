"""Plug-ins by dotted name, as the documentation describes them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.middleware.plugin import PluginError, load_plugin
from tests.support.client import ask
from tests.support.gateway import StartGateway, simple_config
from tests.support.upstream import ScriptedUpstream, json_reply

PAGE = Path(__file__).parents[2] / "docs/plugins.md"
GET = b"GET /v1/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


@pytest.fixture
def documented(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module with all the code of the page; its name."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (tmp_path / "documented_plugins.py").write_text("\n".join(blocks))
    monkeypatch.syspath_prepend(str(tmp_path))
    return "documented_plugins"


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
        ("odd_plugins.Picky", {"size": "big"}, "valid integer", ("options", "size")),
        ("odd_plugins.Picky", {}, "Field required", ("options", "size")),
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
    with pytest.raises(PluginError) as caught:
        load_plugin(name, options)
    assert reason in caught.value.message
    assert caught.value.path == path
