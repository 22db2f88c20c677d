"""Builders of the policies and handlers of a route's channels."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gateway.channels.channels import Channels
from gateway.config import models
from gateway.middleware.auth import Authenticate
from gateway.middleware.channels import ChannelOptions, FollowChannel, PublishEvents
from gateway.middleware.limits import RequestLimits
from gateway.middleware.publish_answer import PublishAnswer
from gateway.middleware.upgrade import Upgrade
from gateway.pipeline import Handler
from gateway.wiring import websocket
from gateway.wiring.channels import sockets
from gateway.wiring.route_limits import RouteLimits


class ChannelPolicies:
    """Builders for the followers and the publishers of one route's channels."""

    def __init__(
        self,
        route: models.Route,
        settings: models.ChannelSettings,
        options: ChannelOptions,
        channels: Channels,
        limits: RouteLimits,
        authentication: Callable[[Sequence[str]], Authenticate | None],
    ) -> None:
        """`authentication` returns that of the route, with further scopes."""
        self._route = route
        self._settings = settings
        self._options = options
        self._channels = channels
        self._limits = limits
        self._authentication = authentication

    @property
    def publishes(self) -> bool:
        """True if callers may publish."""
        return bool(self._settings.publish)

    def follower_upgrade(self) -> Upgrade:
        """Check of WebSocket handshakes."""
        return websocket.upgrade(sockets(self._route))

    def follower_authentication(self) -> Authenticate | None:
        """Authentication of followers, and the scopes that they need."""
        settings = self._settings
        return None if settings.public else self._authentication(settings.follow)

    def follower_limits(self) -> RequestLimits | None:
        """Limits of followers."""
        return self._limits.of(self._settings.follow_limits)

    def follow(self) -> Handler:
        """Return what serves followers."""
        return FollowChannel(self._options, self._channels)

    def publisher_authentication(self) -> Authenticate | None:
        """Authentication of publishers, and the scopes that they need."""
        return self._authentication(self._settings.publish)

    def publisher_limits(self) -> RequestLimits | None:
        """Limits of requests that publish."""
        return self._limits.of(self._settings.publish_limits)

    def publish(self) -> Handler:
        """Return what publishes events."""
        return PublishEvents(self._options, self._channels)

    def publish_answer(self) -> PublishAnswer:
        """Publication of streamed answers."""
        return PublishAnswer(self._options, self._channels, self._settings.publish)
