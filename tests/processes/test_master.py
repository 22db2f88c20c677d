"""Workers: several processes on one port, and what happens when one dies."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.admin import admin, told, until
from tests.support.client import RawClient, ask
from tests.support.commands import run
from tests.support.figures import Report
from tests.support.fork_server import ForkServer
from tests.support.gateway import StartGatewayProcess, simple_config
from tests.support.processes import children_of
from tests.support.upstream import ScriptedUpstream, json_reply, stepped_stream
from tests.support.waiting import PATIENCE_S, SLACK_S, eventually

ROOT = Path(__file__).parents[2]
GET = b"GET /v1/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
STREAM = b"GET /v1/x HTTP/1.1\r\nHost: localhost\r\n\r\n"


def admin_pid(master: int) -> int:
    """Return the process that the master has started last: that of the admin listener."""
    return max(children_of(master))


@pytest.mark.own_program
async def test_a_worker_shares_the_memory_of_what_its_master_loaded(
    start_gateway_process: StartGatewayProcess, report: Report
) -> None:
    gateway = await start_gateway_process(simple_config("http://127.0.0.1:1"))
    report("workers", "RSS of an idle one, MiB", gateway.rss_bytes / 2**20)
    report("workers", "of these, shared with no other, MiB", gateway.own_bytes / 2**20)
    assert gateway.own_bytes < gateway.rss_bytes / 3


async def test_connections_spread_over_the_workers(
    start_gateway_process: StartGatewayProcess, report: Report
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway_process(simple_config(upstream.url, server={"workers": 2}))
        answers = await asyncio.gather(*(ask(gateway.port, GET) for _ in range(100)))
        await gateway.log.wait_for(lambda _: len(gateway.log.requests) == 100)
    assert {answer.status for answer in answers} == {200}
    served = Counter(line["worker"] for line in gateway.log.requests)
    report("workers", "share of 100 connections to the busier of 2, %", max(served.values()))
    assert served.total() == 100
    assert min(served.values()) >= 20


async def test_r1_limits_in_memory_hold_for_all_workers_together(
    start_gateway_process: StartGatewayProcess, report: Report
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway_process(
            simple_config(upstream.url, server={"workers": 2}, limits=["few"]),
            limits={"few": {"key": "ip", "requests": "20/day", "burst": 20}},
        )
        answers = await asyncio.gather(*(ask(gateway.port, GET) for _ in range(100)))
    statuses = Counter(answer.status for answer in answers)
    report("R1", "2 workers, memory://, limit 20: admitted of 100", statuses[200])
    assert statuses == {200: 20, 429: 80}


async def test_o5_a_killed_worker_is_replaced_and_the_other_goes_on(
    start_gateway_process: StartGatewayProcess, report: Report
) -> None:
    async with ScriptedUpstream(stepped_stream()) as upstream:
        gateway = await start_gateway_process(simple_config(upstream.url, server={"workers": 2}))
        clients: dict[int, RawClient] = {}
        async with contextlib.AsyncExitStack() as stack:
            while len(clients) < 2:  # one stream in each worker
                client = await stack.enter_async_context(RawClient(gateway.port))
                await client.send(STREAM)
                await upstream.release(b"data: 1\n\n")
                await client.read_head()
                rows = (await told(gateway, "/api/requests"))["requests"]
                clients[min(rows, key=lambda row: row["age_s"])["worker"]] = client
                upstream.script = stepped_stream()
            workers = {
                row["worker"]: row for row in (await told(gateway, "/api/workers"))["workers"]
            }
            killed_at = time.perf_counter()
            os.kill(workers[0]["pid"], signal.SIGKILL)
            await gateway.log.wait_for(lambda line: line["event"] == "restarted")
            respawned_s = time.perf_counter() - killed_at
            await until(gateway, "/livez", lambda document: document["live"])
            serving_s = time.perf_counter() - killed_at
            report("O5", "killed to restarted, s", respawned_s)
            report("O5", "killed to serving, s", serving_s)
            assert serving_s < SLACK_S
            died = await gateway.log.wait_for(lambda line: line["event"] == "died")
            assert (died["process"], died["status"]) == ("worker 0", -signal.SIGKILL)
            now = {row["worker"]: row for row in (await told(gateway, "/api/workers"))["workers"]}
            assert now[1]["pid"] == workers[1]["pid"]
            assert now[1]["requests"] >= 1
            assert now[0]["pid"] != workers[0]["pid"]


async def test_a_killed_admin_process_is_replaced_and_loses_no_reload(
    start_gateway_process: StartGatewayProcess,
) -> None:
    async with ScriptedUpstream(stepped_stream()) as upstream:
        gateway = await start_gateway_process(simple_config(upstream.url))
        async with RawClient(gateway.port) as client:
            await client.send(STREAM)
            await upstream.release(b"data: 1\n\n")
            await client.read_head()
            os.kill(admin_pid(gateway.master_pid), signal.SIGKILL)
            died = await gateway.log.wait_for(lambda line: line["event"] == "died")
            assert (died["process"], died["status"]) == ("admin", -signal.SIGKILL)
            gateway.signal(signal.SIGHUP)  # it cannot hear it yet, unless the test is slow
            await gateway.log.wait_for(lambda line: line["event"] == "reloaded")
            assert len((await told(gateway, "/api/requests"))["requests"]) == 1
            await upstream.release(b"data: 2\n\n")
            await upstream.finish()
            assert await client.read_chunk() == b"data: 1\n\n"
            assert await client.read_chunk() == b"data: 2\n\n"
            assert await client.read_chunk() is None


@pytest.mark.skipif(sys.platform != "linux", reason="needs niceness and policies of Linux")
async def test_the_admin_process_gives_way_to_workers(
    start_gateway_process: StartGatewayProcess,
) -> None:
    gateway = await start_gateway_process(simple_config("http://127.0.0.1:1"))
    admins = admin_pid(gateway.master_pid)
    (worker,) = (row["pid"] for row in (await told(gateway, "/api/workers"))["workers"])
    assert os.getpriority(os.PRIO_PROCESS, admins) > os.getpriority(os.PRIO_PROCESS, worker)
    assert os.sched_getscheduler(admins) == os.SCHED_BATCH
    assert os.sched_getscheduler(worker) != os.SCHED_BATCH


async def test_o5_requests_go_on_while_workers_are_killed(
    start_gateway_process: StartGatewayProcess, report: Report
) -> None:
    """What waits in the queue of a worker that dies is served by the next one."""
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway_process(simple_config(upstream.url, server={"workers": 2}))
        outcomes: Counter[str] = Counter()

        async def ask_on() -> None:
            while len(done) < 3:
                try:
                    outcomes[str((await ask(gateway.port, GET)).status)] += 1
                except (OSError, AssertionError, asyncio.IncompleteReadError):
                    outcomes["cut"] += 1

        done: list[int] = []
        askers = [asyncio.create_task(ask_on()) for _ in range(4)]
        for _ in range(3):
            rows = (await told(gateway, "/api/workers"))["workers"]
            os.kill(rows[0]["pid"], signal.SIGKILL)
            await until(gateway, "/api/workers", _other_than(rows[0]["pid"]))
            done.append(1)
        await asyncio.gather(*askers)
    report("O5", f"requests cut by 3 kills, of {outcomes.total()}", outcomes["cut"])
    assert outcomes["cut"] <= 3 * 4  # those that were in its hands
    assert set(outcomes) <= {"200", "cut"}


async def test_a_crash_loop_is_noticed_and_slowed_down(
    start_gateway_process: StartGatewayProcess,
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway_process(simple_config(upstream.url, server={"workers": 2}))
        for death in range(1, 6):
            row = (await until(gateway, "/api/workers", _all_there))["workers"][0]
            os.kill(row["pid"], signal.SIGKILL)
            await gateway.log.wait_for(partial(_death, number=death))
        line = await gateway.log.wait_for(lambda line: line["event"] == "crash_loop")
        assert line["process"] == "worker 0"
        assert "it ended 5 times" in line["reason"]
        said = await admin(gateway, "GET", "/readyz")
        assert said.status == 503
        assert said.json()["reasons"] == ["worker 0: does not answer"]
        # Nothing waits in the queue of the one that is away.
        answers = await asyncio.gather(*(ask(gateway.port, GET) for _ in range(40)))
        assert {answer.status for answer in answers} == {200}
        # What mends it can be reloaded: it begins with that.
        document = yaml.safe_load(gateway.file.read_text())
        document["server"]["keepalive"] = "33s"
        gateway.file.write_text(yaml.safe_dump(document))
        assert (await admin(gateway, "POST", "/api/reload")).json()["ok"]
        config = (await told(gateway, "/api/config"))["config"]
        assert config["server"]["keepalive"] == 33.0


@pytest.mark.own_program
async def test_a_worker_in_a_crash_loop_comes_back_with_a_share(
    start_gateway_process: StartGatewayProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import gateway.processes.master as master\nmaster._PAUSE_S = 1.0\n"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(ROOT)]))
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway_process(simple_config(upstream.url, server={"workers": 2}))
        for death in range(1, 6):
            row = (await until(gateway, "/api/workers", _all_there))["workers"][0]
            os.kill(row["pid"], signal.SIGKILL)
            await gateway.log.wait_for(partial(_death, number=death))
        back = (await until(gateway, "/api/workers", _all_there))["workers"][0]["pid"]
        while not any(line["worker"] == 0 for line in gateway.log.requests):
            assert (await ask(gateway.port, GET)).status == 200
        assert Path(f"/proc/{back}").exists()


def _other_than(pid: int) -> Callable[[Any], bool]:
    return lambda document: document["workers"][0]["pid"] not in (None, pid)


def _death(line: dict[str, Any], *, number: int) -> bool:
    return bool(line["event"] == "died" and line["deaths"] == number)


def _all_there(document: Any) -> bool:
    return all(row["pid"] is not None for row in document["workers"])


async def test_workers_end_when_their_master_is_killed(
    start_gateway_process: StartGatewayProcess,
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway_process(simple_config(upstream.url, server={"workers": 2}))
        gateway.signal(signal.SIGKILL)
        await gateway.wait()
        async with asyncio.timeout(PATIENCE_S):
            left = [Path(f"/proc/{pid}") for pid in gateway.worker_pids]
            await eventually(lambda: not any(path.exists() for path in left))


async def test_o7_a_worker_whose_loop_is_blocked_fails_the_health_check(
    start_gateway_process: StartGatewayProcess, report: Report
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway_process(simple_config(upstream.url))
        await until(gateway, "/livez", lambda document: document["live"])  # its loop runs
        stopped_at = time.perf_counter()
        os.kill(gateway.pid, signal.SIGSTOP)
        said = await admin(gateway, "GET", "/livez")
        report("O7", "blocked to found dead, s", time.perf_counter() - stopped_at)
        assert said.status == 503
        assert said.json() == {"live": False, "reasons": ["worker 0 does not answer"]}
        assert (await admin(gateway, "GET", "/readyz")).status == 503
        await asyncio.sleep(1.0)  # blocked for long enough to be worth a line
        os.kill(gateway.pid, signal.SIGCONT)
        await until(gateway, "/livez", lambda document: document["live"])
        line = await gateway.log.wait_for(lambda line: line["event"] == "loop_blocked")
        assert line["seconds"] > 1.0


async def test_a_process_that_is_full_refuses_and_what_is_under_way_goes_on(
    start_gateway_process: StartGatewayProcess,
) -> None:
    async with ScriptedUpstream(stepped_stream()) as upstream:
        gateway = await start_gateway_process(
            simple_config(upstream.url, server={"max_requests": 1})
        )
        async with RawClient(gateway.port) as client:
            await client.send(STREAM)
            await upstream.release(b"data: 1\n\n")
            await client.read_head()
            refused = await ask(gateway.port, GET)
            assert refused.status == 503
            assert refused.json()["error"]["code"] == "overloaded"
            assert refused.value("retry-after") == b"1"
            await upstream.release(b"data: 2\n\n")
            await upstream.finish()
            assert await client.read_chunk() == b"data: 1\n\n"
            assert await client.read_chunk() == b"data: 2\n\n"
            assert await client.read_chunk() is None
            workers = await until(
                gateway, "/api/workers", lambda found: not found["workers"][0]["requests"]
            )
            assert workers["workers"][0]["refused"] == 1


async def test_a_process_with_too_much_memory_refuses_and_is_not_ready(
    start_gateway_process: StartGatewayProcess,
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway_process(
            simple_config(upstream.url, server={"max_memory": "1MiB"})
        )
        refused = await ask(gateway.port, GET)
        assert refused.json()["error"]["code"] == "overloaded"
        said = await admin(gateway, "GET", "/readyz")
        assert said.json()["reasons"] == ["worker 0: overloaded: memory"]
        assert (await admin(gateway, "GET", "/livez")).status == 200


async def test_a_configuration_that_cannot_be_built_is_told_once_with_its_line(
    tmp_path: Path, fork_server: ForkServer
) -> None:
    (tmp_path / "config.yaml").write_text(
        "server: {listen: '127.0.0.1:0', workers: 2}\n"
        "admin: {listen: '127.0.0.1:0'}\n"
        "upstreams: {a: {endpoints: [{url: 'http://127.0.0.1:1'}]}}\n"
        "routes:\n  - {name: r, path: /, auth: anonymous, upstream: a,\n"
        "     middleware: [{use: nowhere.to.be.found}]}\n"
    )
    said = await run(fork_server, "serve", folder=tmp_path)
    assert said.code == 1
    assert said.err.splitlines() == [
        "config.yaml:6:20: routes[0].middleware[0].use: cannot import nowhere.to.be: "
        "ModuleNotFoundError: No module named 'nowhere'"
    ]
