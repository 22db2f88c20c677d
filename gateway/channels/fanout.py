"""Fan-out: wake the followers of channels that have news, a bounded number in each turn of the
event loop.

A round visits each follower of a channel once. Events that arrive during a round reach those whom
it has not visited yet at once, and the others in the next round. Under load, rounds get longer, and
each follower receives several events in one write.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator

from gateway.channels.channel import Channel, Follower

TURN_FOLLOWERS = 200
"""Followers in one turn. Each takes one system call, some 10 µs."""
Visit = Callable[[Follower], None]


class Fanout:
    """Rounds of one process."""

    def __init__(self) -> None:
        self._rounds: deque[_Round] = deque()
        self._by_key: dict[tuple[Channel, str], _Round] = {}
        self._scheduled = False

    def news(self, channel: Channel) -> None:
        """Wake all followers: the channel has new events."""
        self._begin(channel, "wake", lambda follower: follower.wake())

    def note(self, channel: Channel) -> None:
        """Tell all followers how many they are."""
        self._begin(channel, "note", lambda follower: follower.note())

    def visit(self, channel: Channel, name: str, visit: Visit) -> None:
        """Call `visit` with all followers. Rounds of one `name` follow one another."""
        self._begin(channel, name, visit)

    def close(self) -> None:
        """Drop all rounds."""
        self._rounds.clear()
        self._by_key.clear()

    def _begin(self, channel: Channel, name: str, visit: Visit) -> None:
        running = self._by_key.get((channel, name))
        if running is not None:
            running.again = True
            return
        if not (channel.followers or channel.mirrors):
            return
        self._by_key[channel, name] = begun = _Round(channel, name, visit)
        self._rounds.append(begun)
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        """Visit some followers of the channel whose turn it is."""
        self._scheduled = False
        if not self._rounds:
            return
        current = self._rounds.popleft()
        if current.advance():
            self._rounds.append(current)
        else:
            del self._by_key[current.channel, current.name]
            if current.again:
                self._begin(current.channel, current.name, current.visit)
        if self._rounds and not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._turn)


class _Round:
    __slots__ = ("_left", "again", "channel", "name", "visit")

    def __init__(self, channel: Channel, name: str, visit: Visit) -> None:
        self.channel = channel
        self.name = name
        self.visit = visit
        self.again = False
        """True if another round has to follow."""
        # Other workers first: they have followers of their own to write to.
        self._left: Iterator[Follower] = iter((*channel.mirrors, *channel.followers))

    def advance(self) -> bool:
        """Visit some followers. Return False once all were visited."""
        visit = self.visit
        for _ in range(TURN_FOLLOWERS):
            follower = next(self._left, None)
            if follower is None:
                return False
            visit(follower)
        return True
