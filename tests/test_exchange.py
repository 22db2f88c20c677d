"""What happens when an exchange ends."""

from __future__ import annotations

import asyncio
from typing import Any

from gateway.exchange import EndReason, Exchange


async def test_what_fails_at_the_end_keeps_nothing_else_from_being_done() -> None:
    told: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()
    loop.set_exception_handler(lambda _, context: told.append(context))
    exchange = Exchange("GET", "127.0.0.1", trusted_peer=False)
    done: list[int] = []

    def fail(_: Exchange) -> None:
        raise RuntimeError("of a callback")

    exchange.at_end(lambda _: done.append(1))
    exchange.at_end(fail)
    exchange.at_end(lambda _: done.append(2))
    try:
        exchange.end(EndReason.COMPLETE)
        exchange.end(EndReason.DRAIN)
    finally:
        loop.set_exception_handler(before)
    assert done == [2, 1]
    assert [str(context["exception"]) for context in told] == ["of a callback"]
    assert exchange.end_reason is EndReason.COMPLETE
