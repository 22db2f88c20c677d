"""Server of one process."""

from __future__ import annotations

import gc
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from weakref import WeakSet

import pytest

from gateway.app import Runtime
from gateway.config import load_text
from gateway.usage import Usage
from tests.support.client import RawClient, ask, request
from tests.support.exchange import POST
from tests.support.gateway import RunningGateway, StartGateway, config_text, simple_config
from tests.support.tokens import Auth, bearer
from tests.support.upstream import STREAM_HEAD, ScriptedUpstream, chunk, json_reply
from tests.support.waiting import eventually

CLIENTS = 300
"""More than asyncio lets wait by default."""


async def test_many_clients_may_connect_in_one_turn_of_the_loop(
    start_gateway: StartGateway,
) -> None:
    gateway = await start_gateway(simple_config("http://127.0.0.1:9"))
    with ExitStack() as stack:
        for _ in range(CLIENTS):  # no await: the loop accepts none of them meanwhile
            client = stack.enter_context(socket.socket())
            client.settimeout(0.5)
            client.connect(("127.0.0.1", gateway.port))


async def test_the_kernel_probes_idle_clients_and_sends_at_once(
    start_gateway: StartGateway,
) -> None:
    gateway = await start_gateway(simple_config("http://127.0.0.1:9"))
    async with RawClient(gateway.port):
        await eventually(lambda: gateway.server.listener.open_connections == 1, patience_s=20)
        [connection] = gateway.server.listener.connections
        assert connection.transport is not None
        accepted = connection.transport.get_extra_info("socket")
        assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def reload(gateway: RunningGateway, document: dict[str, Any], folder: Path) -> None:
    """Serve another configuration."""
    await gateway.server.prepare(load_text(config_text(document, {}), base=folder))
    gateway.server.commit()


async def test_prices_change_with_the_configuration_that_is_served(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    def document(price: float) -> dict[str, Any]:
        model = {"upstream": "u", "price": {"input": price, "output": price}}
        route = {"name": "r", "path": "/v1/", "auth": "anonymous", "models": ["m"]}
        upstream = {"endpoints": [{"url": "http://127.0.0.1:9"}]}
        return {"upstreams": {"u": upstream}, "models": {"m": model}, "routes": [route]}

    gateway = await start_gateway(document(1.0))
    server, tokens = gateway.server, Usage(1_000_000, 0)
    assert server.state.records.price("m", tokens)[0] == 1.0
    await server.prepare(load_text(config_text(document(2.0), {}), base=tmp_path))
    assert server.state.records.price("m", tokens)[0] == 1.0
    server.commit()
    assert server.state.records.price("m", tokens)[0] == 2.0


class Runtimes:
    """Runtimes that a gateway has had, as long as they are in memory."""

    def __init__(self, gateway: RunningGateway) -> None:
        self._server = gateway.server
        self._known: WeakSet[Runtime] = WeakSet()
        self.note()

    def note(self) -> None:
        """Add the runtime of now."""
        self._known.add(self._server.runtime)

    def alive(self) -> int:
        """Count those in memory."""
        gc.collect()
        return len(self._known)


async def test_only_configurations_with_requests_outlive_reloads(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    async with ScriptedUpstream() as upstream:
        document = simple_config(upstream.url, resume={})
        gateway = await start_gateway(document)
        runtimes = Runtimes(gateway)
        async with RawClient(gateway.port) as client:
            await client.send(POST)
            connection = await upstream.accept()
            await connection.read_request()
            await connection.send(STREAM_HEAD + chunk(b": 1\n\n"))
            await client.read_head()
            for number in range(5):
                limits = {f"limit-{number}": {"key": "ip", "requests": "10/minute"}}
                await reload(gateway, {**document, "limits": limits}, tmp_path)
                runtimes.note()
            assert len(gateway.server.runtimes) == 2
            await eventually(lambda: runtimes.alive() == 2, patience_s=20)
            connection.close()
        await eventually(lambda: len(gateway.server.runtimes) == 1, patience_s=20)
        await eventually(lambda: runtimes.alive() == 1, patience_s=20)


async def test_a_known_head_is_served_by_the_newest_configuration(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    async with (
        ScriptedUpstream(json_reply("old")) as old,
        ScriptedUpstream(json_reply("new")) as new,
    ):
        gateway = await start_gateway(simple_config(old.url))
        async with RawClient(gateway.port) as client:
            for _ in range(2):
                await client.send(POST)
                assert (await client.read_response()).body == b'"old"'
            await reload(gateway, simple_config(new.url), tmp_path)
            await client.send(POST)
            assert (await client.read_response()).body == b'"new"'
        assert (await ask(gateway.port, POST)).body == b'"new"'


async def test_a_reload_of_trusted_proxies_applies_to_open_connections(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:

        def trusting(*networks: str) -> dict[str, Any]:
            return simple_config(upstream.url, server={"trusted_proxies": networks})

        gateway = await start_gateway(trusting("127.0.0.0/8"))
        claiming = request("POST", headers=["X-Forwarded-For: 192.0.2.1"], body=b"{}")
        async with RawClient(gateway.port) as client:
            for networks, told in (
                (["127.0.0.0/8"], b"192.0.2.1, 127.0.0.1"),
                ([], b"127.0.0.1"),
                (["127.0.0.1/32"], b"192.0.2.1, 127.0.0.1"),
            ):
                await reload(gateway, trusting(*networks), tmp_path)
                for _ in range(2):
                    await client.send(claiming)
                    await client.read_response()
                    assert upstream.requests[-1].value("x-forwarded-for") == told


async def test_the_caller_of_a_known_head_is_checked_by_the_newest_configuration(
    start_gateway: StartGateway, tmp_path: Path, auth: Auth
) -> None:
    async with ScriptedUpstream(json_reply("here")) as upstream:
        document = {**simple_config(upstream.url, auth=["corp"]), "auth": auth}
        gateway = await start_gateway(document)
        ask_again = request("POST", headers=[bearer(scope="chat")], body=b"{}")
        async with RawClient(gateway.port) as client:
            for _ in range(3):
                await client.send(ask_again)
                assert (await client.read_response()).status == 200
            for scopes, status in ((["admin"], 403), (["chat"], 200)):
                guarded = simple_config(upstream.url, auth=["corp"], scopes=scopes)
                await reload(gateway, {**guarded, "auth": auth}, tmp_path)
                for _ in range(2):
                    await client.send(ask_again)
                    assert (await client.read_response()).status == status


async def test_a_store_stays_open_for_the_oldest_configuration_that_uses_it(
    start_gateway: StartGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = []
    async with ScriptedUpstream() as upstream:
        first = simple_config(upstream.url)
        gateway = await start_gateway(first)
        stores = gateway.server.runtime.stores

        async def close(closing: object) -> None:
            closed.append(closing)

        monkeypatch.setattr(type(stores), "close", close)
        async with RawClient(gateway.port) as client:
            await client.send(POST)
            connection = await upstream.accept()
            await connection.read_request()
            await connection.send(STREAM_HEAD + chunk(b": 1\n\n"))
            await client.read_head()
            limits = {"one": {"key": "ip", "requests": "10/minute"}}
            await reload(gateway, {**first, "limits": limits}, tmp_path)
            other = {"url": f"sqlite://{tmp_path}/other.db"}
            await reload(gateway, {**first, "store": other}, tmp_path)
            assert len(gateway.server.runtimes) == 2
            assert closed == []
            connection.close()
        await eventually(lambda: closed == [stores], patience_s=20)
