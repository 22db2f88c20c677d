"""Fixtures for every test: uvloop as in production, gateways, and the figures of the run."""

from __future__ import annotations

import asyncio
import copy
import faulthandler
import gc
import itertools
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_asyncio
import uvloop
from hypothesis import settings
from hypothesis.internal.conjecture import providers
from playwright.async_api import Browser, async_playwright

from tests.support.browser import CHROMIUM_OPTIONS, browser_program
from tests.support.figures import Figure, Report, table
from tests.support.fork_server import ForkServer
from tests.support.gateway import (
    Footprint,
    GatewayProcess,
    RunningGateway,
    StartGateway,
    StartGatewayProcess,
)
from tests.support.nginx import Nginx, StartNginx
from tests.support.patient_stores import make_patient
from tests.support.prometheus import Prometheus, StartPrometheus
from tests.support.redis import Redis, StartRedis
from tests.support.tokens import CORP, SECRET, SECRET_VARIABLE, Auth

LONGEST_TEARDOWN_S = 90.0
_FIGURE = "figure"
_figures: list[Figure] = []
"""Figures of the run. Each comes with the report of its test, from the process that ran it."""

# No deadline: the duration of an example depends on how busy the machine is.
settings.register_profile("any machine", deadline=None, max_examples=50)
settings.register_profile("nightly", deadline=None, max_examples=1000)
settings.load_profile("any machine")
# Otherwise each process parses every file of the gateway, for constants to try: of some thousands.
providers._get_local_constants = lambda: providers.GLOBAL_CONSTANTS

# Tests start dozens of gateway processes. Without bytecode files, each would compile its imports.
# Those of the tests themselves take a process of pytest ten seconds.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return the number of cores plus two, since most tests sometimes wait for programs or timers:
    with one more than cores, a third of the time of two cores is idle.
    """
    mine = getattr(os, "sched_getaffinity", None)  # not on macOS
    return (len(mine(0)) if mine else os.cpu_count() or 1) + 2


def pytest_collection(session: pytest.Session) -> None:
    """Exclude tests and their imports from garbage collection, since they live until the end."""
    gc.disable()


def pytest_collection_finish(session: pytest.Session) -> None:
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run long tests first, so that no single test is waited for at the end."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.fixture
def patient_stores(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stores of this process wait for their answers, though the machine is busy."""
    make_patient(monkeypatch)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Iterator[None]:
    """End a process whose teardown hangs: pytest-timeout no longer watches a test that has failed.
    uvloop waits without end for a program that such a test has left running.
    """
    faulthandler.dump_traceback_later(LONGEST_TEARDOWN_S, exit=True)
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


@pytest.fixture
async def start_gateway() -> AsyncIterator[StartGateway]:
    before = Footprint()
    running: list[RunningGateway] = []

    async def start(config: Mapping[str, Any] | str, **sections: Any) -> RunningGateway:
        gateway = RunningGateway(config, sections)
        await gateway.start()
        running.append(gateway)
        return gateway

    yield start
    faults = [fault for gateway in reversed(running) for fault in await gateway.stop()]
    faults += await before.leaks()
    assert not faults, "; ".join(faults)


@pytest.fixture(scope="session", autouse=True)
def temporary_folder() -> Iterator[None]:
    """Programs have a temporary folder of their own, since those that are killed leave files."""
    tempfile.gettempdir()  # tests keep theirs
    with (
        tempfile.TemporaryDirectory(prefix="tests-", ignore_cleanup_errors=True) as folder,
        pytest.MonkeyPatch.context() as environment,
    ):
        environment.setenv("TMPDIR", folder)
        yield


@pytest.fixture(scope="session")
def fork_server(temporary_folder: None) -> Iterator[ForkServer]:
    """Starts gateway processes sooner."""
    server = ForkServer()
    yield server
    server.close()


@pytest.fixture
async def start_gateway_process(
    request: pytest.FixtureRequest, tmp_path: Path, fork_server: ForkServer
) -> AsyncIterator[StartGatewayProcess]:
    forked = request.node.get_closest_marker("own_program") is None
    running: list[GatewayProcess] = []
    numbers = itertools.count()  # several may start at the same time

    async def start(
        config: Mapping[str, Any] | str,
        *,
        nofile: int | None = None,
        first: str = "",
        **sections: Any,
    ) -> GatewayProcess:
        file = tmp_path / f"gateway-{next(numbers)}.yaml"
        gateway = GatewayProcess(
            config,
            sections,
            file,
            nofile=nofile,
            first=first,
            fork_server=fork_server if forked else None,
        )
        await gateway.start()
        running.append(gateway)
        return gateway

    yield start
    for gateway in running:
        await gateway.stop()
        assert b"Traceback" not in gateway.errors, gateway.errors.decode()
        assert gateway.log.malformed == []


@pytest.fixture
async def start_nginx(tmp_path: Path) -> AsyncIterator[StartNginx]:
    running: list[Nginx] = []

    async def start(
        gateway_port: int,
        keepalive: int = 256,
        *,
        site: Mapping[str, str] | None = None,
        main: str | None = None,
    ) -> Nginx:
        folder = tmp_path / f"nginx-{len(running)}"
        folder.mkdir()
        nginx = Nginx(folder, gateway_port, keepalive, site, main)
        running.append(nginx)
        await nginx.start()
        return nginx

    yield start
    for nginx in running:
        await nginx.stop()


@pytest.fixture
async def start_redis(tmp_path: Path) -> AsyncIterator[StartRedis]:
    running: list[Redis] = []

    async def start(*options: str) -> Redis:
        folder = tmp_path / f"redis-{len(running)}"
        folder.mkdir()
        redis = Redis(folder, *options)
        running.append(redis)
        await redis.start()
        return redis

    yield start
    for redis in running:
        await redis.stop()


@pytest.fixture
async def start_prometheus(tmp_path: Path) -> AsyncIterator[StartPrometheus]:
    running: list[Prometheus] = []

    async def start(admin_port: int, token: str | None = None) -> Prometheus:
        prometheus = Prometheus(tmp_path / f"prometheus-{len(running)}", admin_port, token)
        running.append(prometheus)
        await prometheus.start()
        return prometheus

    yield start
    for prometheus in running:
        await prometheus.stop()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=browser_program(), args=CHROMIUM_OPTIONS
        )
        yield browser
        await browser.close()


@pytest.fixture
def auth(monkeypatch: pytest.MonkeyPatch) -> Auth:
    """Return an `auth` section that accepts the tokens of `tests.support.tokens.bearer`."""
    monkeypatch.setenv(SECRET_VARIABLE, SECRET)
    return copy.deepcopy(CORP)


@pytest.fixture
def report(record_property: Callable[[str, object], None]) -> Report:
    def add(case: str, name: str, value: float | str) -> None:
        record_property(_FIGURE, (case, name, value))

    return add


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--slow-readers", type=int, default=500, help="S3: how many streams nobody reads in time"
    )
    parser.addoption(
        "--chaos-seconds", type=float, default=30.0, help="how long the chaos run lasts"
    )
    parser.addoption(
        "--fuzz-examples", type=int, default=40, help="how many requests each surface is sent"
    )


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "teardown":
        for name, figure in report.user_properties:
            if name == _FIGURE:
                _figures.append(Figure(*cast(tuple[str, str, float | str], figure)))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _figures:
        terminalreporter.section("Reliability figures")
        for line in table(_figures):
            terminalreporter.write_line(line)
