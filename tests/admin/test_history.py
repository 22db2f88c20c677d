"""The history of the metrics over HTTP: its ranges, and the day before."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from gateway.admin.history import RANGES, HistoryApi
from gateway.admin.operation import routes
from gateway.telemetry.metrics import instruments as table
from gateway.telemetry.metrics.history import History
from gateway.telemetry.metrics.minute import Minute
from gateway.telemetry.metrics.minutes import NAMES, MinutesInMemory
from gateway.telemetry.traces.minutes import StoredMinutes
from gateway.telemetry.traces.reader import TraceReader
from gateway.telemetry.traces.store import Retention, TraceStore
from tests.support.admin import admin, told
from tests.support.gateway import StartGatewayProcess, simple_config

NOW = 1_800_000_000.0
DAY_S = 86400.0


def minute(at: float, requests_per_s: float) -> Minute:
    return Minute(at, 60.0, {"requests": requests_per_s * 60})


async def asked(query: str, *minutes: Minute, history: History | None = None) -> dict[str, Any]:
    """Ask at NOW about the given minutes."""
    log = MinutesInMemory()
    for one in sorted(minutes, key=lambda one: one.at):
        log.add(one)
    app = web.Application()
    app.add_routes(routes(HistoryApi(history or History(), log, lambda: NOW)))
    async with (
        TestServer(app) as server,
        ClientSession() as session,
        session.get(server.make_url(f"/api/history?{query}")) as response,
    ):
        document: dict[str, Any] = await response.json()
        return {"status": response.status, **document}


@pytest.mark.parametrize("name", RANGES)
async def test_every_range_has_at_most_a_few_hundred_points_and_ends_now(name: str) -> None:
    minutes = [minute(NOW - 60 * number, 2.0) for number in range(8 * 1440)]
    history = History()
    for number in range(61):
        history.add(NOW - 300 + 5 * number, {table.REQUESTS.name: {}})
    found = await asked(f"range={name}", *minutes, history=history)
    assert found["values"].keys() == set(NAMES)
    at = found["at"]
    assert len(at) == pytest.approx(RANGES[name].seconds / RANGES[name].step_s, abs=1)
    assert len(at) <= 340
    assert at[-1] == pytest.approx(NOW, abs=RANGES[name].step_s)
    if name != "5m":
        assert {round(value, 9) for value in found["values"]["requests_per_s"]} == {2.0}


@pytest.mark.parametrize("name", ["1h", "7d"])
async def test_yesterday_lies_under_today(name: str) -> None:
    today = [minute(NOW - 60 * number, 2.0) for number in range(60)]
    yesterday = [minute(NOW - DAY_S - 60 * number, 1.0) for number in range(60)]
    found = await asked(f"range={name}&compare=yesterday", *today, *yesterday)
    assert found["values"]["requests_per_s"][-1] == pytest.approx(2.0)
    assert found["yesterday"]["requests_per_s"][-1] == pytest.approx(1.0)
    assert (await asked(f"range={name}", *today))["yesterday"] is None


async def test_a_time_without_the_gateway_is_a_gap() -> None:
    found = await asked("range=1h", minute(NOW - 1200, 1.0), minute(NOW, 1.0))
    assert found["values"]["requests_per_s"] == [1.0, None, 1.0]
    assert found["at"] == [NOW - 1200, NOW - 1140, NOW]


@pytest.mark.parametrize("query", ["range=2h", "range=", "compare=tomorrow"])
async def test_what_cannot_be_asked_says_what_can(query: str) -> None:
    found = await asked(query)
    assert found["status"] == 400
    assert "send" in found["error"]


async def test_a_gateway_shows_what_the_one_before_it_has_stored(
    start_gateway_process: StartGatewayProcess, tmp_path: Path
) -> None:
    path, end = tmp_path / "traces.db", time.time() - 120
    store = TraceStore(path, Retention(), lambda _: None)
    StoredMinutes(store, TraceReader(path)).add(minute(end, 7.0))
    assert store.flush(10.0)
    store.close(10.0)
    gateway = await start_gateway_process(
        simple_config("http://127.0.0.1:9"), telemetry={"traces": {"local": str(path)}}
    )
    found = await told(gateway, "/api/history?range=1h")
    assert found["at"][0] == end
    assert found["values"]["requests_per_s"][0] == 7.0
    assert (await admin(gateway, "GET", "/api/history?range=x")).status == 400
