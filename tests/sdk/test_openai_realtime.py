"""openai-python's Realtime client, with only base_url and the key changed."""

from __future__ import annotations

import base64
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import openai
import pytest
from openai.resources.realtime.realtime import AsyncRealtimeConnection
from openai.types.websocket_connection_options import WebSocketConnectionOptions
from websockets.exceptions import ConnectionClosedError, InvalidStatus

from tests.support.gateway import RunningGateway, StartGateway
from tests.support.nginx import StartNginx
from tests.support.realtime import USAGE, WORDS, RealtimeBackend
from tests.support.tokens import Auth, bearer


@pytest.fixture
async def backend() -> AsyncIterator[RealtimeBackend]:
    async with RealtimeBackend() as backend:
        yield backend


@pytest.fixture
async def gateway(
    backend: RealtimeBackend, start_gateway: StartGateway, auth: Auth, tmp_path: Path
) -> RunningGateway:
    return await start_gateway(
        {
            "server": {"trusted_proxies": ["127.0.0.1/32"]},
            "auth": auth,
            "store": {"url": f"sqlite:///{tmp_path}/store.db"},
            "limits": {"daily": {"key": "subject", "tokens": "20/day"}},
            "upstreams": {
                "main": {
                    "endpoints": [{"url": backend.url}],
                    "credentials": {"bearer": {"env": "GATEWAY_TEST_JWT_SECRET"}},
                }
            },
            "models": {"voice": {"upstream": "main", "model": "gpt-realtime"}},
            "routes": [
                {
                    "name": "realtime",
                    "path": "/v1/realtime",
                    "auth": ["corp"],
                    "models": ["voice"],
                    "limits": ["daily"],
                    "websocket": {"deflate": True},
                }
            ],
        }
    )


def client(url: str, *, token: str | None = None) -> openai.AsyncOpenAI:
    key = token or bearer().removeprefix("Authorization: Bearer ")
    return openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=key)


@pytest.fixture(params=["direct", "nginx"])
async def door(
    request: pytest.FixtureRequest,
    gateway: RunningGateway,
    start_nginx: StartNginx,
    monkeypatch: pytest.MonkeyPatch,
) -> tuple[str, WebSocketConnectionOptions]:
    """Where the SDK is pointed to, and what it needs to believe the certificate there."""
    for name in os.environ:
        if name.startswith("OPENAI_") or name.upper().endswith("_PROXY"):
            monkeypatch.delenv(name)
    if request.param == "direct":
        return gateway.url, {}
    nginx = await start_nginx(gateway.port)
    # The SDK hands on what it does not know.
    return nginx.url, cast(WebSocketConnectionOptions, {"ssl": nginx.trust()})


async def everything(connection: AsyncRealtimeConnection) -> None:
    while True:
        await connection.recv()


async def test_a_conversation_is_held_and_its_tokens_are_counted(
    door: tuple[str, WebSocketConnectionOptions], backend: RealtimeBackend, gateway: RunningGateway
) -> None:
    url, options = door
    audio = base64.b64encode(os.urandom(150_000)).decode()
    async with (
        client(url) as openai_client,
        openai_client.realtime.connect(
            model="voice", websocket_connection_options=options
        ) as connection,
    ):
        assert (await connection.recv()).type == "session.created"
        await connection.session.update(session={"type": "realtime", "output_modalities": ["text"]})
        assert (await connection.recv()).type == "session.updated"
        await connection.input_audio_buffer.append(audio=audio)
        await connection.conversation.item.create(
            item={
                "type": "message",
                "role": "user",
                "content": [{"type": "input_text", "text": "Say hello"}],
            }
        )
        await connection.response.create()
        said = ""
        async for event in connection:
            if event.type == "response.output_text.delta":
                said += event.delta
            elif event.type == "response.done":
                assert event.response.usage is not None
                assert event.response.usage.total_tokens == USAGE["total_tokens"]
                break
    assert said == "".join(WORDS)
    assert backend.audio_bytes == len(audio)
    path, headers = backend.handshakes[0]
    assert path == "/v1/realtime?model=gpt-realtime"
    assert headers["authorization"] == f"Bearer {os.environ['GATEWAY_TEST_JWT_SECRET']}"
    line = await gateway.wait_for_log(lambda line: line["event"] == "request")
    assert (line["tokens_in"], line["tokens_out"], line["model"]) == (9, 3, "voice")
    assert (line["close_code"], line["closed_by"]) == (1000, "client")


async def test_the_sdk_sees_why_it_may_not_and_why_it_may_no_more(
    door: tuple[str, WebSocketConnectionOptions],
) -> None:
    url, options = door
    async with client(url, token="bad") as stranger:
        with pytest.raises(InvalidStatus) as refused:
            async with stranger.realtime.connect(
                model="voice", websocket_connection_options=options
            ):
                pass
    assert refused.value.response.status_code == 401
    async with (
        client(url) as openai_client,
        openai_client.realtime.connect(
            model="voice", websocket_connection_options=options
        ) as connection,
    ):
        for _ in range(2):  # 24 tokens, and there are 20
            await connection.response.create()
        with pytest.raises(ConnectionClosedError) as ended:
            await everything(connection)
    assert ended.value.rcvd is not None
    assert ended.value.rcvd.code == 1008
    assert "'daily'" in ended.value.rcvd.reason
