"""Unread: what the kernel holds for a socket that nobody has read."""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Iterator

import pytest

from gateway.upstream.unread import unread_check

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Two ends of one TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        near = socket.create_connection(listening.getsockname())
        far, _ = listening.accept()
    with near, far:
        yield near, far


def test_a_connection_on_which_nothing_came_has_nothing_unread(pair: Pair) -> None:
    near, _ = pair
    unread = unread_check(near.fileno())
    assert [unread() for _ in range(3)] == [0] * 3


def test_data_is_unread_until_it_was_read(pair: Pair) -> None:
    near, far = pair
    unread = unread_check(near.fileno())
    far.sendall(b"x")
    near.recv(1, socket.MSG_PEEK)  # it has arrived
    assert unread()
    near.recv(1)
    assert not unread()


def test_the_end_of_the_stream_is_unread(pair: Pair) -> None:
    near, far = pair
    far.shutdown(socket.SHUT_WR)
    near.recv(1, socket.MSG_PEEK)
    assert unread_check(near.fileno())()


def test_a_reset_is_unread(pair: Pair) -> None:
    near, far = pair
    far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    far.close()
    select.select([near], [], [], 5)
    assert unread_check(near.fileno())()
