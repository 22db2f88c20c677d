"""Position of one follower in a channel, and the lost events to report to it."""

from __future__ import annotations

from gateway.channels import notices
from gateway.channels.channel import Channel
from gateway.channels.channels import Channels
from gateway.errors import FollowerBehind


class FollowerPosition:
    """Position of a follower. Nothing is skipped without a notice."""

    __slots__ = ("after", "channel")

    def __init__(self, channel: Channel, after: int | None) -> None:
        """Start after the event with the id `after`, the last that the client has. None means new
        events only.
        """
        self.channel = channel
        self.after = channel.history.last if after is None else after
        """Id of the last event written, or skipped."""

    @property
    def is_current(self) -> bool:
        """True if there is no newer event."""
        return self.after >= self.channel.history.last

    @property
    def is_lost(self) -> bool:
        """True if events after the position are gone."""
        return self.after < self.channel.history.floor

    @property
    def is_dropped(self) -> bool:
        """True if a follower at this position, whose events are gone, is to be disconnected."""
        channel = self.channel
        return not channel.space.drops and self.after < channel.history.jumped_from

    def begin(self) -> list[bytes]:
        """Return the first event of a follower, which tells its position. An event that reports a
        loss comes before it, if events are gone that the client has not seen. The client that asks
        for everything, by position 0, has lost nothing.
        """
        after, history = self.after, self.channel.history
        told: list[bytes] = []
        # Above the last id: the store has lost events, and the client may lack those in their place
        self.after = min(max(after, history.floor), history.last)
        if after and after != self.after:
            told.append(notices.gap(after, self.after))
        followers = self.channel.present + 1 if self.channel.space.presence else None
        return [*told, notices.opened(self.after, followers)]

    def skip(self, channels: Channels) -> bytes | FollowerBehind:
        """Skip the events that are gone. Return the notice, or the error if the follower lags and
        the channel's route disconnects such followers.
        """
        channel = self.channel
        counts = channels.counts_of(channel.space.name)
        if self.is_dropped:
            counts.disconnects += 1
            return FollowerBehind()
        counts.gaps += 1
        before, self.after = self.after, channel.history.floor
        return notices.gap(before, self.after)
