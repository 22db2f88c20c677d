"""The reader of a response, for coroutines."""

from __future__ import annotations

import asyncio

import pytest

from gateway.errors import GatewayError, UpstreamReset
from gateway.upstream.head import ResponseHead
from gateway.upstream.reader import FutureReader
from gateway.upstream.response import UpstreamResponse


class Source:
    """Records that the exchange was aborted."""

    silent_s = None
    aborted = False

    def pause(self) -> None:
        pass

    def resume(self) -> None:
        pass

    def fail(self, error: GatewayError) -> None:
        pass

    def abort(self) -> None:
        self.aborted = True


def response(source: Source) -> UpstreamResponse:
    return UpstreamResponse(ResponseHead(200, b"OK", [], "1.1"), source)


async def test_a_coroutine_awaits_the_response() -> None:
    reader = FutureReader(asyncio.get_running_loop())
    answer = response(Source())
    reader.answered(answer)
    assert await reader is answer


async def test_a_coroutine_gets_the_error() -> None:
    reader = FutureReader(asyncio.get_running_loop())
    reader.failed(UpstreamReset("lost"))
    with pytest.raises(UpstreamReset):
        await reader


@pytest.mark.parametrize("complete", [False, True])
async def test_a_response_that_arrives_right_after_a_cancellation_is_dropped(
    complete: bool,
) -> None:
    """The coroutine learns of its cancellation one turn of the event loop later."""
    source = Source()
    answer = response(source)
    reader = FutureReader(asyncio.get_running_loop())

    async def wait() -> UpstreamResponse:
        return await reader

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    if complete:
        answer.finish(None)
    reader.answered(answer)
    reader.failed(UpstreamReset("lost"))
    with pytest.raises(asyncio.CancelledError):
        await task
    assert source.aborted is not complete
