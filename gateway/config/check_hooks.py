"""Checks of hooks and of the routes that have some."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gateway.config import models
from gateway.config.check_upstreams import check_proxy
from gateway.config.findings import Finding
from gateway.config.problems import ConfigPath

_TOKEN = re.compile(rb"[\x21-\x7e]+")


def check_hook(path: ConfigPath, hook: models.HookSettings) -> Iterator[Finding]:
    """Yield the problems of one hook."""
    if not isinstance(hook, models.WebhookSettings):
        return
    yield from check_proxy((*path, "proxy"), hook.proxy)
    token = None if hook.token is None else hook.token.known
    if token is not None and not _TOKEN.fullmatch(token):
        yield (*path, "token"), "has characters that no header can have", None
    if hook.model is not None and hook.format != "openai":
        yield (*path, "model"), "belongs to `format: openai`", None
    if hook.request == "none" and not hook.answer:
        yield path, "judges nothing", "set `request` or `answer`"


def check_hooked_route(
    path: ConfigPath, route: models.Route, config: models.Config
) -> Iterator[Finding]:
    """Yield the problems of a route with hooks."""
    if route.bridge is not None:
        yield (*path, "hooks"), "belong to the route that the bridge leads to", None
    elif route.issues is not None:
        yield (*path, "hooks"), "judge models, and this route gives out tickets", None
    elif route.websocket:
        hint = "use a bridge, whose generations pass the hooks of their route"
        yield (*path, "websocket"), "would let messages pass by the hooks of the route", hint
    for index, name in enumerate(route.hooks):
        if name in route.hooks[:index]:
            yield (*path, "hooks", index), "is given twice", None
