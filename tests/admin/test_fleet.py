"""The client of all workers: one reply for each, whatever a worker does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web

from gateway.admin.fleet import Fleet, WorkerReply

Handler = Callable[[web.Request], Awaitable[web.Response]]


class Workers:
    """Workers of the test's own, and the fleet that asks them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._paths: list[str] = []
        self._runners: list[web.AppRunner] = []

    async def add(self, handler: Handler | None) -> None:
        """Add a worker that answers GET /status; without a handler, one that does not run."""
        path = str(self._folder / f"{len(self._paths)}.sock")
        self._paths.append(path)
        if handler is None:
            return
        application = web.Application()
        application.router.add_get("/status", handler)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        self._runners.append(runner)
        await runner.setup()
        await web.UnixSite(runner, path).start()

    def fleet(self) -> Fleet:
        return Fleet(self._paths)

    async def close(self) -> None:
        for runner in self._runners:
            await runner.cleanup()


@pytest.fixture
async def workers(tmp_path: Path) -> AsyncIterator[Workers]:
    made = Workers(tmp_path)
    yield made
    await made.close()


async def well(_: web.Request) -> web.Response:
    return web.json_response({"pid": 1})


async def hanging(_: web.Request) -> web.Response:
    await asyncio.Event().wait()
    raise AssertionError


async def test_each_worker_has_a_reply_in_its_place(workers: Workers) -> None:
    for handler in (well, None, hanging):
        await workers.add(handler)
    fleet = workers.fleet()
    first, absent, late = await fleet.ask("GET", "/status", timeout_s=0.1)
    await fleet.close()
    assert (first.ok, first.document, first.absent) == (True, {"pid": 1}, False)
    assert (absent.ok, absent.status, absent.absent) == (False, 0, True)
    assert (late.ok, late.status, late.absent) == (False, 0, False)
    assert [one.worker for one in (first, absent, late)] == [0, 1, 2]


async def test_a_path_that_a_worker_does_not_know_is_a_reply_without_a_document(
    workers: Workers,
) -> None:
    await workers.add(well)
    fleet = workers.fleet()
    [reply] = await fleet.ask("GET", "/nowhere")
    await fleet.close()
    assert (reply.status, reply.document, reply.ok) == (404, None, False)


async def test_a_fleet_that_is_closed_has_no_answer(workers: Workers) -> None:
    await workers.add(well)
    fleet = workers.fleet()
    await fleet.close()  # while a task of the admin process still asks

    assert await fleet.ask("GET", "/status") == [WorkerReply(0, 0, None)]
