"""Listening sockets: several on one address, and why there are none."""

from __future__ import annotations

import errno
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from gateway.processes.sockets import beside, bind, cannot_listen, listens_on, split_address


@pytest.fixture
def open_sockets() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("127.0.0.1:80", ("127.0.0.1", 80)),
        (":8080", (None, 8080)),
        ("[::1]:443", ("::1", 443)),
        ("gateway.internal:0", ("gateway.internal", 0)),
    ],
)
def test_an_address_is_a_host_and_a_port(address: str, parts: tuple[str | None, int]) -> None:
    assert split_address(address) == parts


@pytest.mark.skipif(sys.platform != "linux", reason="other kernels do not spread connections")
def test_workers_have_a_socket_each_on_one_address(open_sockets: ExitStack) -> None:
    sockets = [open_sockets.enter_context(one) for one in bind("127.0.0.1:0", 3)]
    sockets += [open_sockets.enter_context(one) for one in beside(sockets[0], 1)]
    assert len({one.getsockname() for one in sockets}) == 1
    assert len(sockets) == 4


def test_a_socket_is_found_by_the_address_it_listens_on(open_sockets: ExitStack) -> None:
    one = open_sockets.enter_context(bind("127.0.0.1:0", 1)[0])
    port = one.getsockname()[1]
    assert listens_on(one, f"127.0.0.1:{port}")
    assert listens_on(one, "127.0.0.1:0")
    assert not listens_on(one, f"127.0.0.1:{port - 1}")
    assert not listens_on(one, f"[::1]:{port}")
    assert not listens_on(one, f"nobody.invalid:{port}")


@pytest.mark.parametrize(
    ("exc", "text"),
    [
        (OSError(errno.EADDRINUSE, "x"), "Address already in use. Is another process there?"),
        (OSError(errno.EACCES, "x"), "Permission denied. Ports below 1024 are for"),
        (OSError(errno.EADDRNOTAVAIL, "x"), "It has to be an address of this machine."),
        (socket.gaierror(-2, "Name or service not known"), "Name or service not known. It has"),
    ],
)
def test_a_failure_says_what_to_change(exc: OSError, text: str) -> None:
    said = cannot_listen("host:80", exc, "server.listen")
    assert said.startswith("cannot listen on host:80: ")
    assert text in said
    assert said.endswith("Change server.listen.")
