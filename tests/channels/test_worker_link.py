"""Several workers without Redis: a channel is one, whichever worker a client reaches."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from gateway.channels.channel import Channel
from gateway.channels.channels import Channels
from gateway.channels.space import ChannelAddress, ChannelRetention, ChannelSpace
from gateway.channels.worker_link import WorkerLink
from gateway.errors import GatewayError, TooManyChannels
from tests.channels.clients import (
    PUBLISHER,
    Reader,
    config,
    joined_while_published,
    posting,
    publish,
    until_followed,
    until_published,
)
from tests.support.client import End, ask
from tests.support.gateway import StartGatewayProcess
from tests.support.tokens import Auth
from tests.support.waiting import eventually, settled

FOLLOWERS = 12
"""Followers, of which each worker gets some."""


def two_workers(**channels: Any) -> Mapping[str, Any]:
    return {**config(**channels), "server": {"workers": 2}}


async def test_followers_on_all_workers_receive_the_same_in_the_same_order(
    start_gateway_process: StartGatewayProcess, auth: Auth
) -> None:
    gateway = await start_gateway_process(two_workers())
    async with AsyncExitStack() as stack:
        readers = [
            await stack.enter_async_context(Reader(gateway, "news")) for _ in range(FOLLOWERS)
        ]
        for reader in readers:
            await reader.opened()
        ids = [await publish(gateway, "news", f"n{number}") for number in range(24)]
        assert ids == sorted(set(ids))
        for reader in readers:
            assert await reader.data(24) == [f"n{n}" for n in range(24)]
        for _ in range(4):
            await until_followed(gateway, "news", FOLLOWERS)
    for _ in range(FOLLOWERS):
        async with Reader(gateway, "news", query=f"?after={ids[-3]}") as reader:
            assert await (await reader.opened()).data(2) == ["n22", "n23"]
    lines = gateway.log.requests
    assert {line["worker"] for line in lines if line["method"] == "POST"} == {0, 1}


async def test_followers_that_come_while_events_are_published_miss_none(
    start_gateway_process: StartGatewayProcess, auth: Auth
) -> None:
    gateway = await start_gateway_process(two_workers())
    for name in ("a", "b"):  # each belongs to one of the workers
        await joined_while_published(gateway, name)


async def test_a_repeated_request_publishes_once_at_whichever_worker(
    start_gateway_process: StartGatewayProcess, auth: Auth
) -> None:
    gateway = await start_gateway_process(two_workers())
    key = "Idempotency-Key: one"
    ids = {await publish(gateway, "news", "a", PUBLISHER, key) for _ in range(8)}
    assert len(ids) == 1
    for _ in range(8):
        conflict = await ask(gateway.port, posting("news", b"b", PUBLISHER, key), "POST")
        assert conflict.status == 422


async def test_caps_on_channels_hold_wherever_they_are_opened(
    start_gateway_process: StartGatewayProcess, auth: Auth
) -> None:
    gateway = await start_gateway_process(two_workers(max_channels=1))
    statuses = []
    for number in range(8):
        response = await ask(gateway.port, posting(f"c{number}", b"x"), "POST")
        statuses.append(response.status)
    assert statuses.count(201) <= 2  # one of each worker
    assert set(statuses) == {201, 429}


async def test_followers_stay_when_the_worker_that_keeps_the_channel_dies(
    start_gateway_process: StartGatewayProcess, auth: Auth
) -> None:
    gateway = await start_gateway_process(two_workers())
    names = ["a", "b", "c", "d"]
    async with AsyncExitStack() as stack:
        readers = {}
        for name in names:
            await publish(gateway, name, "before")
            readers[name] = [
                await stack.enter_async_context(Reader(gateway, name, query="?after=0"))
                for _ in range(6)
            ]
            for reader in readers[name]:
                assert await (await reader.opened()).data(1) == ["before"]
        pid = gateway.worker_pids[0]
        os.kill(pid, signal.SIGKILL)
        await eventually(lambda: not is_running(pid))
        everybody = [one for some in readers.values() for one in some]
        await settled(lambda: sum(reader.client.end is not End.OPEN for reader in everybody))
        alive = [reader for reader in everybody if reader.client.end is End.OPEN]
        assert alive
        # Until its successor listens, requests for its channels are refused.
        for name in names:
            await until_published(gateway, name, b"after")
        for reader in alive:
            event = await reader.event()
            if event.type == b"gateway.gap":  # the history of this channel is lost
                event = await reader.event()
            assert event.data == b"after"


def is_running(pid: int) -> bool:
    """Tell whether a process exists, and its end has not been noticed by its parent."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class _Told:
    """Follower that notes how it was disconnected."""

    validity_holds = True

    def __init__(self, channel: Channel) -> None:
        self.error: GatewayError | None = None
        self._channel = channel

    def wake(self) -> None:
        pass

    def note(self) -> None:
        pass

    def fail(self, error: GatewayError) -> None:
        self.error = error
        del self._channel.followers[self]


async def test_a_channel_whose_place_was_taken_holds_up_no_other(tmp_path: Path) -> None:
    retention = ChannelRetention(events=10, size_bytes=1000, age_s=60.0)
    space = ChannelSpace("r", retention, 1, 9, 9, drops=True, presence=False)
    taken, free, other = (
        ChannelAddress(key, group, space)
        for key, group in (("0001a", "one"), ("0001b", "two"), ("0001c", "one"))
    )

    def worker(slot: int) -> Channels:
        channels = Channels(10_000, WorkerLink(tmp_path, slot, 2))
        channels.start()
        return channels

    here, owner = worker(0), worker(1)
    followed = [await here.open(taken), await here.open(free)]
    followers = [_Told(channel) for channel in followed]
    for channel, follower in zip(followed, followers, strict=True):
        here.join(channel, follower, b"caller")
    await owner.close()
    owner = worker(1)
    owner.own(other)
    await eventually(lambda: followers[0].error is not None)
    assert isinstance(followers[0].error, TooManyChannels)
    await owner.publish(free, [b"data: x\n\n"])
    await eventually(lambda: len(followed[1].history) == 1)
    assert followers[1].error is None
    for channels in (here, owner):
        await channels.close()
