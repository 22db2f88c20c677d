"""Construction of channels, and of their links to other processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from gateway.auth.provider import Provider
from gateway.auth.validity import CredentialValidity
from gateway.channels.channels import Channels
from gateway.channels.link import LocalLink
from gateway.channels.space import ChannelRetention, ChannelSpace
from gateway.channels.worker_link import WorkerLink
from gateway.config import Config, models
from gateway.config.problems import Fault
from gateway.heartbeat import Heartbeats
from gateway.load.offload import Offload
from gateway.load.overload import BodyBudget
from gateway.middleware.channels import ChannelOptions
from gateway.request_body.reader import BodyReader
from gateway.stores.makers import UNUSABLE, makers
from gateway.wiring.limits import per_second
from gateway.wiring.store import store_fault
from gateway.wiring.websocket import session_options

_UNLIMITED_BYTES = 2**63


def has_channels(config: Config) -> bool:
    """Tell whether any route serves channels."""
    return any(route.channels is not None for route in config.routes)


def channels(
    config: Config,
    folder: Path | None,
    slot: int,
    report: Callable[[str, str], None],
    faults: list[Fault],
) -> Channels | None:
    """Return the channels of the worker in this slot, or None if the store cannot be used; that is
    added to `faults`. `folder` is shared by the workers, if there are several. `report` is called
    when the store fails and when it works again.
    """
    cap_bytes = config.store.channel_bytes
    if not has_channels(config):
        return Channels(cap_bytes, LocalLink())
    location = config.store.location
    try:
        link = makers(location).open_channels(location, report)
        if link is None and folder is not None and config.server.workers > 1:
            link = WorkerLink(folder, slot, config.server.workers)
        return Channels(cap_bytes, link or LocalLink())
    except UNUSABLE as exc:
        faults.append(store_fault(exc))
        return None


def channels_path(route: models.Route) -> str:
    """Return the path prefix of a route's channels."""
    return route.path.removesuffix("/") + "/channels/"


def channel_options(
    config: Config,
    route: models.Route,
    settings: models.ChannelSettings,
    providers: Mapping[str, Provider],
    bodies: BodyBudget,
    offload: Offload,
    heartbeats: Heartbeats | None,
    preface: bytes,
) -> ChannelOptions:
    """Return the options of the handlers of a route's channels."""
    server = config.server
    space = ChannelSpace(
        route.name,
        ChannelRetention(settings.history, settings.history_bytes, settings.history_age),
        max_channels=settings.max_channels,
        max_followers=settings.max_followers,
        max_per_caller=settings.max_per_caller,
        drops=settings.slow == "drop",
        presence=settings.presence,
    )
    return ChannelOptions(
        space,
        channels_path(route),
        per_tenant=settings.per_tenant,
        max_event_bytes=settings.max_event,
        events=None if settings.events is None else per_second(settings.events),
        reader=BodyReader(
            settings.max_event, server.body_timeout, bodies, offload, server.body_rate or 0
        ),
        stream_reader=BodyReader(_UNLIMITED_BYTES, settings.silence, bodies, offload),
        session=session_options(sockets(route)),
        validity=lambda principal: CredentialValidity(providers, principal),
        ends_streams=route.end_on_expiry,
        heartbeats=heartbeats,
        preface=preface,
    )


def sockets(route: models.Route) -> models.WebSocket:
    """Return the WebSocket options of a route's channels, which always serve WebSockets."""
    return route.websocket if isinstance(route.websocket, models.WebSocket) else models.WebSocket()
