"""Server of one process."""

from __future__ import annotations

import socket
from contextlib import ExitStack

from tests.support.gateway import StartGateway, simple_config

CLIENTS = 300
"""More than asyncio lets wait by default."""


async def test_many_clients_may_connect_in_one_turn_of_the_loop(
    start_gateway: StartGateway,
) -> None:
    gateway = await start_gateway(simple_config("http://127.0.0.1:9"))
    with ExitStack() as stack:
        for _ in range(CLIENTS):  # no await: the loop accepts none of them meanwhile
            client = stack.enter_context(socket.socket())
            client.settimeout(0.5)
            client.connect(("127.0.0.1", gateway.port))
