"""Checks of a route's channels that involve more than one value."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.config import models
from gateway.config.findings import Finding
from gateway.config.problems import ConfigPath


def check_channels(
    path: ConfigPath, route: models.Route, channels: models.ChannelSettings, config: models.Config
) -> Iterator[Finding]:
    """Yield every problem of a route's channels."""
    if route.issues is not None or route.bridge is not None:
        yield path, "needs a route of its own", "put it on another route"
    for key in ("publish", "follow"):
        if getattr(channels, key) and route.auth == "anonymous":
            said = "needs scopes, so callers must be known, but the route is anonymous"
            yield (*path, key), said, "name the providers in `auth`"
    if channels.public and channels.per_tenant:
        hint = "write per_tenant: false"
        yield (*path, "public"), "followers without a credential have no tenant", hint
    if channels.public and channels.follow:
        yield (*path, "follow"), "needs scopes, but `public` lets anybody follow", None
    if channels.max_event > channels.history_bytes:
        yield (*path, "max_event"), "is larger than `history_bytes`", None
    if channels.events is not None and int(channels.events.split("/")[0]) == 0:
        yield (*path, "events"), "has to let at least one through", None
    anonymous = route.auth == "anonymous"
    places = {
        "publish_limits": (channels.publish_limits, anonymous),
        "follow_limits": (channels.follow_limits, anonymous or channels.public),
    }
    for key, (names, strangers) in places.items():
        for index, name in enumerate(names):
            limit = config.limits.get(name)
            if limit is None:
                continue
            where = (*path, key, index)
            keys = limit.key if isinstance(limit.key, tuple) else (limit.key,)
            if limit.tokens or limit.budget or "model" in keys:
                yield where, "counts models or tokens; channels have none", None
            personal = [one for one in keys if one not in ("ip", "route", "model")]
            if personal and strangers:
                yield where, f"counts by {personal[0]}, but callers are unknown", "count by ip"
