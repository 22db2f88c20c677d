"""Registers of the API keys of a configuration, by the names of their providers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from aiohttp import web

from gateway.admin.record_requests import opened_records
from gateway.auth.key_register import FileRegister, KeyRegister, StoreRegister
from gateway.config import Config, models


def providers_of(config: Config) -> Mapping[str, models.ApiKeyProviderSettings]:
    """Return the providers of API keys by their names."""
    return {
        name: options
        for name, options in config.auth.items()
        if isinstance(options, models.ApiKeyProviderSettings)
    }


def register_of(config: Config, name: str | None) -> KeyRegister:
    """Return the register of a provider, of the first one for None. Raise HTTPNotFound or
    HTTPServiceUnavailable.
    """
    found = providers_of(config)
    name = next(iter(found), None) if name is None else name
    if name is None or name not in found:
        raise web.HTTPNotFound(reason="there is no such provider of type api_key in `auth`")
    file = found[name].file
    if file is not None:
        return FileRegister(Path(file))
    if not config.store.location.is_shared:
        reason = f"auth.{name}: set `file`, or a store that all processes share"
        raise web.HTTPServiceUnavailable(reason=reason)
    return StoreRegister(lambda: opened_records(config), name)
