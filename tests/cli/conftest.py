"""Fixtures of commands: a configuration file, and backends that answer as they are told."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiohttp import web
from pytest_aiohttp import AiohttpServer

from tests.support.commands import NOWHERE, Answers, StartBackend
from tests.support.gateway import config_text, simple_config
from tests.support.tokens import Auth


@pytest.fixture
def file(tmp_path: Path, auth: Auth) -> Path:
    """Valid configuration of one route to a backend that is not there."""
    path = tmp_path / "config.yaml"
    path.write_text(config_text(simple_config(NOWHERE), {"auth": auth}))
    return path


@pytest.fixture
def start_backend(aiohttp_server: AiohttpServer) -> StartBackend:
    """Start a server that answers these paths with JSON, and 404 to others."""

    async def start(answers: Answers) -> str:
        async def answer(request: web.Request) -> web.Response:
            found = answers.get(request.path)
            if found is None:
                return web.json_response({"error": "not found"}, status=404)
            if callable(found):
                response = found(request)
                assert isinstance(response, web.Response)
                return response
            return web.json_response(found)

        application = web.Application()
        application.router.add_route("*", "/{path:.*}", answer)
        server = await aiohttp_server(application)
        return str(server.make_url("")).rstrip("/")

    return start
