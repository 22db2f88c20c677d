from __future__ import annotations

import asyncio

from gateway.channels import fanout
from gateway.channels.channel import Channel
from gateway.channels.fanout import Fanout
from gateway.channels.space import ChannelRetention, ChannelSpace, address
from gateway.errors import GatewayError
from tests.channels.test_history import Bytes

SPACE = ChannelSpace("r", ChannelRetention(10, 10**6, 60.0), 1, 10, 10, drops=False, presence=False)


class Counting:
    """Follower that counts its visits."""

    validity_holds = True

    def __init__(self) -> None:
        self.woken = 0

    def wake(self) -> None:
        self.woken += 1

    def note(self) -> None:
        pass

    def fail(self, error: GatewayError) -> None:
        pass


def channel(count: int) -> tuple[Channel, list[Counting]]:
    made = Channel(address(SPACE, None, "c"), 0, Bytes())
    followers = [Counting() for _ in range(count)]
    made.followers.update(dict.fromkeys(followers))
    return made, followers


async def test_one_turn_of_the_loop_visits_a_bounded_number_of_followers() -> None:
    one, followers = channel(1000)
    fan = Fanout()
    fan.news(one)
    visited = []
    while sum(follower.woken for follower in followers) < 1000:
        before = sum(follower.woken for follower in followers)
        await asyncio.sleep(0)
        visited.append(sum(follower.woken for follower in followers) - before)
    assert max(visited) <= fanout.TURN_FOLLOWERS
    assert all(follower.woken == 1 for follower in followers)


async def test_news_during_a_round_reach_everybody_once_more() -> None:
    one, followers = channel(500)
    fan = Fanout()
    fan.news(one)
    await asyncio.sleep(0)
    for _ in range(5):
        fan.news(one)
    for _ in range(20):
        await asyncio.sleep(0)
    assert {follower.woken for follower in followers} == {2}


async def test_channels_take_turns() -> None:
    large, many = channel(1000)
    small, few = channel(3)
    fan = Fanout()
    fan.news(large)
    fan.news(small)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert all(follower.woken for follower in few)
    assert not all(follower.woken for follower in many)
