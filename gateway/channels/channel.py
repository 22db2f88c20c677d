"""Channel in this process: its history, its followers, and its events as they are written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from gateway.channels import notices
from gateway.channels.history import ChannelHistory
from gateway.channels.space import ChannelAddress, ChannelSpace, Once
from gateway.errors import GatewayError, IdempotencyConflict
from gateway.resume.log import Budget

PIECE_BYTES = 64 * 1024
"""Maximum size of one write to a follower that lags."""
_MOST_ONCE = 1000
_REMEMBERED = 4
"""Encoded pieces that are kept. Followers that keep up are all at one of two positions."""


class Follower(Protocol):
    """Follower of a channel, at its own position."""

    @property
    def validity_holds(self) -> bool:
        """False if the follower's credential was revoked or has expired."""

    def wake(self) -> None:
        """Write the events after the follower's position, unless its client lags. Must return at
        once.
        """

    def note(self) -> None:
        """Write the number of followers, unless the client lags."""

    def fail(self, error: GatewayError) -> None:
        """Disconnect the follower with this error."""


class Encoded:
    """Events of a channel as one kind of follower writes them. Each piece is encoded once, and all
    followers at one position write the same bytes.
    """

    __slots__ = ("_encode", "_history", "_last", "_pieces", "_presence", "_present")

    def __init__(self, history: ChannelHistory, encode: Callable[[Sequence[bytes]], bytes]) -> None:
        self._history = history
        self._encode = encode
        self._last = 0
        self._pieces: dict[int, tuple[bytes, int, int]] = {}
        self._present = -1
        self._presence = b""

    def presence(self, followers: int) -> bytes:
        """Return the encoded event with this number of followers."""
        if followers != self._present:
            self._present = followers
            self._presence = self._encode([notices.presence(followers)])
        return self._presence

    def after(self, position: int) -> tuple[bytes, int, int]:
        """Return the encoded events after a position, which is before `history.last`; the id of the
        last of them; and their number.
        """
        history = self._history
        if self._last != history.last:
            self._last = history.last
            self._pieces.clear()
        piece = self._pieces.get(position)
        if piece is None:
            events, last = history.after(position, PIECE_BYTES)
            piece = self._encode(events), last, len(events)
            if len(self._pieces) < _REMEMBERED:
                self._pieces[position] = piece
        return piece


class Channel:
    """Channel with history and followers. It does not know where its events come from."""

    def __init__(self, address: ChannelAddress, floor: int, budget: Budget) -> None:
        """`floor` is the position of a channel in which nothing was published yet."""
        self.key = address.key
        self.address = address
        self.history = ChannelHistory(floor, budget)
        self.followers: dict[Follower, None] = {}
        """Followers in this process, in the order in which they came."""
        self.mirrors: dict[Follower, int] = {}
        """Other processes that follow, with their numbers of followers."""
        self.elsewhere = 0
        """Number of followers in other processes, at most some seconds old."""
        self.idle_since = 0.0
        """Time at which the last follower left, in seconds of the loop's clock."""
        self.published = False
        """True if an event was published in this process's own channel."""
        self.gone = False
        """True once this object is no longer kept up to date."""
        self.told = -1
        """Number of followers that was last sent to the followers."""
        self._once: dict[str, tuple[str, list[int] | None]] = {}
        """Content and ids of publications, by their key; the oldest first."""
        self._encoded: dict[Callable[[Sequence[bytes]], bytes], Encoded] = {}

    def repeated(self, once: Once) -> list[int] | None:
        """Return the ids of a publication that was made before, else None. Raise
        IdempotencyConflict if it was another event.
        """
        content, ids = self._once.get(once.key, (once.content, None))
        if content != once.content:
            raise IdempotencyConflict
        return ids

    def remember(self, once: Once, ids: list[int]) -> None:
        """Remember a publication that may be repeated."""
        if len(self._once) >= _MOST_ONCE:
            del self._once[next(iter(self._once))]  # the oldest entry
        self._once[once.key] = once.content, ids

    @property
    def space(self) -> ChannelSpace:
        """Options of the channel."""
        return self.address.space

    @property
    def present(self) -> int:
        """Number of followers in all processes, as far as known here."""
        return len(self.followers) + self.elsewhere

    def encoded(self, encode: Callable[[Sequence[bytes]], bytes]) -> Encoded:
        """Return the events encoded by this function, shared by all that pass the same one."""
        found = self._encoded.get(encode)
        if found is None:
            found = self._encoded[encode] = Encoded(self.history, encode)
        return found
