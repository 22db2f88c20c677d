"""A7: a key's models, and the scopes of models, hold on every route and in every kind of body."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.client import RawClient, Response, ask, request
from tests.support.gateway import RunningGateway, StartGateway
from tests.support.keys import new_key
from tests.support.refusal import assert_error
from tests.support.tokens import Auth, bearer
from tests.support.upstream import ScriptedUpstream, json_reply
from tests.support.websocket import frame, hear, join, opening

JSON, GZIP = "Content-Type: application/json", "Content-Encoding: gzip"
CHAT = "/v1/chat/completions"


def form(*fields: str) -> bytes:
    parts = [
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, _, value in (field.partition("=") for field in fields)
    ]
    return "".join([*parts, "--b--\r\n"]).encode()


def config(upstream: ScriptedUpstream, keys: Path, **route: Any) -> dict[str, Any]:
    """A route that passes on to an upstream whose models have names of their own there."""
    return {
        "auth": {"keys": {"type": "api_key", "file": str(keys)}},
        "upstreams": {"main": {"endpoints": [{"url": upstream.url}]}},
        "models": {
            "small": {"upstream": "main"},
            "big": {"upstream": "main"},
            "alias": {"upstream": "main", "model": "real/alias"},
        },
        "routes": [
            {
                "name": "r",
                "path": "/",
                "auth": ["keys"],
                "upstream": "main",
                "websocket": True,
                **route,
            }
        ],
    }


class Asking:
    """A caller whose key is for `small` and `alias`."""

    def __init__(self, gateway: RunningGateway, key: str) -> None:
        self._gateway = gateway
        self.key = key

    async def __call__(
        self, body: bytes | None, *lines: str, target: str = CHAT, method: str = "POST"
    ) -> Response:
        raw = request(method, target, headers=[*lines, self.key, "Connection: close"], body=body)
        return await ask(self._gateway.port, raw, method)


PASSES: dict[str, tuple[bytes | None, list[str], str, str]] = {
    "its model": (b'{"model":"small"}', [JSON], CHAT, "POST"),
    "its model, as the backend calls it": (b'{"model":"real/alias"}', [JSON], CHAT, "POST"),
    "the latest of Ollama's": (b'{"model":"small:latest"}', [JSON], "/api/chat", "POST"),
    "text that is JSON": (b'{"model":"small"}', ["Content-Type: text/plain"], CHAT, "POST"),
    "a form": (
        form("model=small", "file=x"),
        ["Content-Type: multipart/form-data; boundary=b"],
        "/v1/audio/transcriptions",
        "POST",
    ),
    "Azure's path": (b"{}", [JSON], "/openai/deployments/small/chat/completions", "POST"),
    "a form at Azure's path": (
        form("file=x"),
        ["Content-Type: multipart/form-data; boundary=b"],
        "/openai/deployments/small/audio/transcriptions",
        "POST",
    ),
    "an entry": (None, [], "/v1/models/small", "GET"),
    "an entry with a slash": (None, [], "/v1/models/real/alias", "GET"),
    "Gemini's path": (b"{}", [JSON], "/v1beta/models/small:generateContent", "POST"),
    "the query": (None, [], "/v1/realtime?model=small", "GET"),
    "compressed": (
        gzip.compress(b'{"model":"small"}'),
        [JSON, "Content-Encoding: gzip"],
        CHAT,
        "POST",
    ),
    "shown": (b'{"model":"small"}', [JSON], "/api/show", "POST"),
}
NAMES_ANOTHER: dict[str, tuple[bytes | None, list[str], str, str]] = {
    "another": (b'{"model":"big"}', [JSON], CHAT, "POST"),
    "what the backend calls otherwise": (b'{"model":"alias"}', [JSON], CHAT, "POST"),
    "unknown to the gateway": (b'{"model":"huge"}', [JSON], CHAT, "POST"),
    "text that is JSON": (b' {"model":"big"}', ["Content-Type: text/plain"], CHAT, "POST"),
    "a form": (
        form("file=x", "model=big"),
        ["Content-Type: multipart/form-data; boundary=b"],
        "/v1/audio/transcriptions",
        "POST",
    ),
    "a path": (b'{"model":"small"}', [JSON], "/openai/deployments/big/chat/completions", "POST"),
    "an entry": (None, [], "/v1/models/big", "GET"),
    "an entry below": (None, [], "/v1/models/small/big", "GET"),
    "a query": (b'{"model":"small"}', [JSON], CHAT + "?model=big", "POST"),
    "compressed": (
        gzip.compress(b'{"model":"big"}'),
        [JSON, "Content-Encoding: gzip"],
        CHAT,
        "POST",
    ),
    "alternatives": (b'{"model":"small","models":["big"]}', [JSON], CHAT, "POST"),
    "fallbacks": (b'{"model":"small","fallbacks":[{"model":"big"}]}', [JSON], CHAT, "POST"),
    "a query with semicolons": (b'{"model":"small"}', [JSON], CHAT + "?a=1;model=big", "POST"),
    "a path that ends there": (b'{"model":"small"}', [JSON], "/openai/deployments/big", "POST"),
    "a path in another case": (b'{"model":"small"}', [JSON], "/Deployments/big/chat", "POST"),
    "Gemini's path of a tuned model": (
        b'{"model":"small"}',
        [JSON],
        "/v1beta/tunedModels/big:generateContent",
        "POST",
    ),
    "Vertex's path": (b'{"model":"small"}', [JSON], "/v1/endpoints/big:predict", "POST"),
    "a tool": (b'{"model":"small","tools":[{"type":"x","model":"big"}]}', [JSON], CHAT, "POST"),
    "shown by its old name": (b'{"model":"small","name":"big"}', [JSON], "/api/show", "POST"),
    "made from": (b'{"model":"small","from":"big"}', [JSON], "/api/create", "POST"),
    "copied": (b'{"source":"big","destination":"small"}', [JSON], "/api/copy", "POST"),
    "large": (b'{"model":"big","x":[%b1]}' % (b"[]," * 300_000), [JSON], CHAT, "POST"),
}
CANNOT_BE_KNOWN: dict[str, tuple[bytes | None, list[str], str, str]] = {
    "no model": (b'{"messages":[]}', [JSON], CHAT, "POST"),
    "no body": (None, [], "/v1/files", "GET"),
    "a batch, whose file names models": (
        b'{"model":"small","input_file_id":"f"}',
        [JSON],
        "/v1/batches",
        "POST",
    ),
    "a batch of messages": (
        b'{"model":"small","requests":[{"params":{"model":"big"}}]}',
        [JSON],
        "/v1/messages/batches",
        "POST",
    ),
    "a file for a batch": (
        form("model=small", "purpose=batch", "file=x"),
        ["Content-Type: multipart/form-data; boundary=b"],
        "/v1/files",
        "POST",
    ),
    "an adapter": (b'{"model":"small","lora_name":"big"}', [JSON], "/v1/load_lora_adapter", "POST"),
    "audio": (b"RIFF....", ["Content-Type: audio/wav"], "/v1/audio", "POST"),
    "audio at a path with a model": (
        b"RIFF....",
        ["Content-Type: audio/wav"],
        "/openai/deployments/small/audio",
        "POST",
    ),
    "a query's format": (
        b"model=small",
        ["Content-Type: application/x-www-form-urlencoded"],
        CHAT,
        "POST",
    ),
    "a form without": (
        form("file=x"),
        ["Content-Type: multipart/form-data; boundary=b"],
        "/v1/files",
        "POST",
    ),
}


@pytest.mark.parametrize("case", PASSES)
async def test_a_restricted_key_reaches_its_models_where_nothing_else_is_read(
    start_gateway: StartGateway, tmp_path: Path, case: str
) -> None:
    body, lines, target, method = PASSES[case]
    async with ScriptedUpstream(json_reply({})) as upstream:
        key = new_key(tmp_path / "k", models=("small", "alias"))
        gateway = await start_gateway(config(upstream, tmp_path / "k"))
        asking = Asking(gateway, key)
        assert (await asking(body, *lines, target=target, method=method)).status == 200
        assert len(upstream.requests) == 1


@pytest.mark.parametrize(
    ("pattern", "status"), [("sm*", 200), ("*", 200), ("big*", 404), ("*mall", 200), ("s*x", 404)]
)
async def test_a_key_reaches_the_models_that_its_patterns_match(
    start_gateway: StartGateway, tmp_path: Path, pattern: str, status: int
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        key = new_key(tmp_path / "k", models=(pattern,))
        gateway = await start_gateway(config(upstream, tmp_path / "k", models=["small"]))
        response = await Asking(gateway, key)(b'{"model": "small"}')
        listed = await Asking(gateway, key)(None, target="/v1/models", method="GET")
    assert response.status == status
    assert ("small" in [one["id"] for one in listed.json()["data"]]) == (status == 200)


@pytest.mark.parametrize("case", NAMES_ANOTHER)
async def test_a_restricted_key_reaches_no_other_model_wherever_it_is_named(
    start_gateway: StartGateway, tmp_path: Path, case: str
) -> None:
    body, lines, target, method = NAMES_ANOTHER[case]
    async with ScriptedUpstream(json_reply({})) as upstream:
        key = new_key(tmp_path / "k", models=("small", "alias"))
        gateway = await start_gateway(config(upstream, tmp_path / "k"))
        asking = Asking(gateway, key)
        response = await asking(body, *lines, target=target, method=method)
        assert_error(response, 404, code="model_not_found")
        assert not upstream.requests


@pytest.mark.parametrize("case", CANNOT_BE_KNOWN)
@pytest.mark.parametrize("models", [[], ["small"]], ids=["upstream alone", "beside models"])
async def test_a_restricted_key_is_refused_where_the_model_cannot_be_known(
    start_gateway: StartGateway, tmp_path: Path, case: str, models: list[str]
) -> None:
    body, lines, target, method = CANNOT_BE_KNOWN[case]
    async with ScriptedUpstream(json_reply({})) as upstream:
        key = new_key(tmp_path / "k", models=("small",))
        gateway = await start_gateway(config(upstream, tmp_path / "k", models=models))
        asking = Asking(gateway, key)
        response = await asking(body, *lines, target=target, method=method)
        if case == "a form without" and models:
            assert_error(response, 400, code="model_required")
        else:
            assert_error(response, 403, code="model_unknown")
        assert not upstream.requests


@pytest.mark.parametrize("body", [b'{"model":"small"', b'{"model":"small","model":"big"}'])
async def test_what_parsers_disagree_on_is_refused_to_a_restricted_key(
    start_gateway: StartGateway, tmp_path: Path, body: bytes
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        key = new_key(tmp_path / "k", models=("small",))
        gateway = await start_gateway(config(upstream, tmp_path / "k"))
        asking = Asking(gateway, key)
        assert (await asking(body, JSON)).status == 400
        assert not upstream.requests


async def test_a_key_for_every_model_is_passed_on_unread(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        key = new_key(tmp_path / "k")
        gateway = await start_gateway(config(upstream, tmp_path / "k"))
        asking = Asking(gateway, key)
        for body in (b'{"model":"big"}', b"{", b"RIFF"):
            assert (await asking(body)).status == 200
        assert (await asking(None, target="/v1/files", method="GET")).status == 200
        assert [got.body for got in upstream.requests] == [b'{"model":"big"}', b"{", b"RIFF", b""]


async def test_on_a_route_with_models_other_places_name_no_other_model(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        document = config(upstream, tmp_path / "k", models=["small", "big"])
        key = new_key(tmp_path / "k", models=("small",))
        gateway = await start_gateway(document)
        asking = Asking(gateway, key)
        for body, target in (
            (b'{"model":"small"}', "/deployments/big/chat/completions"),
            (b'{"model":"small"}', CHAT + "?model=big"),
            (b'{"model":"small","models":["small","big"]}', CHAT),
        ):
            response = await asking(body, JSON, target=target)
            assert_error(response, 404, code="model_not_found")
        assert (await asking(b'{"model":"small"}', JSON)).status == 200


async def test_the_scopes_of_a_model_hold_where_nothing_else_is_read(
    start_gateway: StartGateway, auth: Auth, tmp_path: Path
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        document = config(upstream, tmp_path / "k", auth=["corp"])
        document["auth"] = auth
        document["models"]["big"]["scopes"] = ["gpu"]
        gateway = await start_gateway(document)
        plain, scoped = Asking(gateway, bearer()), Asking(gateway, bearer(scope="gpu"))
        assert (await plain(b'{"model":"small"}', JSON)).status == 200
        assert (await plain(b'{"model":"huge"}', JSON)).status == 200
        assert (await plain(b'{"model":"big"}', JSON)).status == 404
        assert (await plain(b"RIFF", JSON)).status == 400
        assert (await plain(None, target="/v1/files", method="GET")).status == 403
        assert (await scoped(b'{"model":"big"}', JSON)).status == 200
        assert (await scoped(None, target="/v1/files", method="GET")).status == 200


async def test_a_websocket_of_a_restricted_key_has_a_model_and_stays_with_it(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    async with ScriptedUpstream() as upstream:
        key = new_key(tmp_path / "k", models=("small",))
        gateway = await start_gateway(config(upstream, tmp_path / "k"))
        for target, status in (("/v1/realtime", 403), ("/v1/realtime?model=big", 404)):
            assert (await ask(gateway.port, opening(target, key))).status == status
        async with RawClient(gateway.port) as client:
            await client.send(opening("/v1/realtime?model=small", key))
            connection = await upstream.accept()
            await join(connection)
            await client.read_head()
            await client.send(frame('{"type":"session.update","session":{"model":"small"}}'))
            assert await connection.read_some()
            await client.send(frame(json.dumps({"type": "response.create", "model": "big"})))
            assert (await hear(client)).code == 1008
