"""Application of the admin listener, as the admin process builds it."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from aiohttp import web

from gateway.admin.api import AdminApi
from gateway.config import keep, load_source
from gateway.config.secret_sources import KnownSecrets
from gateway.processes.admin import serve_admin
from tests.support.gateway import config_text, simple_config


async def application(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> web.Application:
    """Return the application as the admin process builds it, before it is served."""

    class Built(Exception):
        pass

    found: list[web.Application] = []
    build = AdminApi.application

    def built(api: AdminApi) -> web.Application:
        found.append(build(api))
        raise Built

    monkeypatch.setattr(AdminApi, "application", built)
    file = tmp_path / "config.yaml"
    file.write_text(config_text(simple_config("http://127.0.0.1:1"), {}))
    keep(load_source(file), tmp_path / "kept")
    with socket.socket() as listening, pytest.raises(Built):
        await serve_admin(
            tmp_path / "kept", KnownSecrets(), [], listening, "http://127.0.0.1:1", 0, 0
        )
    return found[0]
