"""Listening sockets that one master passes on to the next."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from gateway.config import Config
from gateway.processes.listeners import Listeners


@pytest.fixture
def config() -> Config:
    server = {"listen": "127.0.0.1:0", "workers": 2}
    return Config.model_validate(
        {
            "server": server,
            "admin": {"listen": "127.0.0.1:0"},
            "upstreams": {"local": {"endpoints": ({"url": "http://127.0.0.1:9"},)}},
            "routes": ({"name": "all", "path": "/v1/", "upstream": "local", "auth": "anonymous"},),
        }
    )


@pytest.fixture
def listeners(config: Config) -> Iterator[Listeners]:
    listeners = Listeners.of(config)
    yield listeners
    listeners.close()


def test_the_next_master_inherits_the_sockets(
    config: Config, listeners: Listeners, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = listeners.pass_on()["GATEWAY_SOCKETS"]
    for one in listeners.open:  # as in another process, the same sockets have other descriptors
        text = text.replace(str(one.fileno()), str(os.dup(one.fileno())), 1)
    monkeypatch.setenv("GATEWAY_SOCKETS", text)
    following = Listeners.of(config)
    assert following.urls == listeners.urls
    assert "GATEWAY_SOCKETS" not in os.environ
    following.close()


def test_a_closed_public_socket_is_replaced_on_the_same_address(listeners: Listeners) -> None:
    if len(listeners.public) < 2:
        pytest.skip("all workers share one socket here")
    closed, other = listeners.public
    closed.close()
    (replaced,) = listeners.reopen([closed])
    assert listeners.public == [replaced, other]
    assert replaced.getsockname() == other.getsockname()
