"""The watch over a stream whose credential expires."""

from __future__ import annotations

import asyncio
import time

from gateway.errors import CredentialExpired, GatewayError
from gateway.server.expiry import Expiry


class Writer:
    def __init__(self, *, is_stream: bool = True) -> None:
        self.is_stream = is_stream

    def pause(self) -> None:
        pass

    def resume(self) -> None:
        pass

    def fail(self, error: GatewayError) -> None:
        raise AssertionError("the connection fails it")

    def probe(self) -> bool:
        return True


async def end_of(writer: Writer, in_s: float) -> list[GatewayError]:
    """What a stream is ended with, whose credential expires in so many seconds."""
    ended: list[GatewayError] = []
    done = asyncio.Event()

    def end(error: GatewayError) -> None:
        ended.append(error)
        done.set()

    expiry = Expiry(asyncio.get_running_loop(), writer, time.time() + in_s, end)
    try:
        async with asyncio.timeout(0.1):
            await done.wait()
    except TimeoutError:
        pass
    expiry.close()
    return ended


async def test_a_stream_ends_when_its_credential_expires() -> None:
    [error] = await end_of(Writer(), 0.01)
    assert isinstance(error, CredentialExpired)


async def test_an_expired_credential_ends_a_stream_after_it_was_attached() -> None:
    ended: list[GatewayError] = []
    Expiry(asyncio.get_running_loop(), Writer(), time.time() - 1, ended.append)
    assert ended == []
    await asyncio.sleep(0)
    assert len(ended) == 1


async def test_a_response_that_is_no_stream_is_not_ended() -> None:
    assert await end_of(Writer(is_stream=False), -1.0) == []


async def test_a_closed_watch_ends_nothing() -> None:
    ended: list[GatewayError] = []
    expiry = Expiry(asyncio.get_running_loop(), Writer(), time.time() - 1, ended.append)
    expiry.close()
    await asyncio.sleep(0)
    assert ended == []
