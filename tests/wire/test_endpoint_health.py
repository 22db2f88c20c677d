"""Which endpoints are asked at all: outliers, probes, pauses, checks, drains (U17, U18, U19)."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from gateway.upstream.health import EndpointState
from tests.support.backend_process import BackendProcess
from tests.support.client import RawClient, Response, request
from tests.support.exchange import EVENTS, POST, ask
from tests.support.figures import Report, percentile
from tests.support.gateway import RunningGateway, StartGateway, simple_config
from tests.support.peers import (
    endpoint_at,
    endpoints,
    idle,
    ranked,
    refusing_endpoint,
    state_of,
    upstream_of,
)
from tests.support.refusal import assert_error
from tests.support.upstream import (
    LAST_CHUNK,
    STREAM_HEAD,
    Request,
    Script,
    ScriptedUpstream,
    UpstreamConnection,
    chunk,
    hang,
    json_reply,
    raw_reply,
    reply,
    reply_then_close,
    reply_then_reset,
)
from tests.support.waiting import PATIENCE_S, SLACK_S, eventually

OK = json_reply({})
ERROR = reply(b"{}", status="500 Internal Server Error")
NO_RETRIES: dict[str, Any] = {"attempts": 0}


async def get(gateway: RunningGateway, *headers: str) -> Response:
    return await ask(gateway.port, request("GET", headers=headers), "GET")


async def told(gateway: RunningGateway, url: str, state: EndpointState, *, times: int = 1) -> str:
    """Why an endpoint is in a state, once the log has said so as often."""
    seen = 0

    def says(line: dict[str, Any]) -> bool:
        nonlocal seen
        said = (line["event"], line.get("endpoint"), line.get("state"))
        if said != ("endpoint", url, state.value):
            return False
        seen += 1
        return seen == times

    return str((await gateway.wait_for_log(says))["reason"])


# -- failures ----------------------------------------------------------------------------------


async def answers_then_breaks_off(connection: UpstreamConnection) -> None:
    await connection.read_request()
    await connection.send(STREAM_HEAD + chunk(EVENTS[0]))


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (raw_reply(ERROR), "status 500"),
        (reply_then_reset(), "upstream_reset"),
        (reply_then_close(b"no http\r\n\r\n"), "upstream_invalid_response"),
        (hang, "upstream_first_byte_timeout"),
        (answers_then_breaks_off, "broke off: upstream_reset"),
    ],
    ids=["500", "reset", "garbage", "hang", "cut"],
)
async def test_an_endpoint_that_fails_five_times_in_a_row_is_left_out(
    start_gateway: StartGateway, script: Script, reason: str
) -> None:
    async with ScriptedUpstream(script) as bad, ScriptedUpstream(OK) as good:
        document = ranked(
            bad.url, good.url, retries=NO_RETRIES, timeouts={"first_byte": "400ms", "idle": "1s"}
        )
        gateway = await start_gateway(document)
        for _ in range(5):
            assert state_of(gateway, bad.url) is EndpointState.HEALTHY
            await get(gateway)
        assert [(await get(gateway)).status for _ in range(5)] == [200] * 5
        assert (len(bad.requests), len(good.requests)) == (5, 5)
        assert (await told(gateway, bad.url, EndpointState.EJECTED)).startswith(reason)
        logged = next(line for line in gateway.log_lines if line["event"] == "endpoint")
    assert (logged["level"], logged["upstream"]) == ("warning", "main")


async def test_an_endpoint_that_refuses_is_left_out(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(OK) as good:
        with refusing_endpoint() as refusing:
            gateway = await start_gateway(ranked(refusing, good.url))
            for _ in range(8):
                assert (await get(gateway)).status == 200
            tried = [line.get("attempts", 1) for line in gateway.log.requests]
            reason = await told(gateway, refusing, EndpointState.EJECTED)
    assert tried == [2] * 5 + [1] * 3
    assert reason.startswith("upstream_connect_failed")


@pytest.mark.parametrize("kind", ["leaves", "stalls-its-upload"])
async def test_what_clients_do_is_not_held_against_an_endpoint(
    start_gateway: StartGateway, kind: str
) -> None:
    async def early(connection: UpstreamConnection) -> None:
        """Begin the answer before the request's body is here."""
        await connection.read_head()
        await connection.send(STREAM_HEAD + chunk(EVENTS[0]))
        await connection.wait_client_gone()

    upload = request("PUT", headers=["Transfer-Encoding: chunked"]) + b"1\r\na\r\n"
    async with ScriptedUpstream(early) as upstream, ScriptedUpstream(OK) as other:
        document = ranked(upstream.url, other.url, outliers={"failures": 2})
        gateway = await start_gateway(document, server={"body_timeout": "100ms"})
        for _ in range(4):
            async with RawClient(gateway.port) as client:
                await client.send(upload if kind == "stalls-its-upload" else POST)
                await client.read_head()
                if kind == "stalls-its-upload":
                    await client.wait_closed()
        await idle(gateway)
        assert state_of(gateway, upstream.url) is EndpointState.HEALTHY
        assert other.requests == []


# -- U17: slow ---------------------------------------------------------------------------------


async def latencies_s(gateway: RunningGateway, enough: asyncio.Event, at_once: int) -> list[float]:
    """How long requests took, so many at once, until it is enough; all are served."""
    took_s: list[float] = []

    async def client() -> None:
        while not enough.is_set():
            started = time.perf_counter()
            assert (await get(gateway)).status == 200
            took_s.append(time.perf_counter() - started)

    async with asyncio.TaskGroup() as clients:
        for _ in range(at_once):
            clients.create_task(client())
    return took_s


async def test_u17_a_peer_that_begins_late_is_left_out(
    start_gateway: StartGateway, report: Report
) -> None:
    slow_s, usual_s = 0.3, 0.02

    def beginning_after(seconds: float) -> Script:
        async def script(connection: UpstreamConnection) -> None:
            while True:
                await connection.read_request()
                await asyncio.sleep(seconds)
                await connection.send(STREAM_HEAD + chunk(EVENTS[0]) + LAST_CHUNK)

        return script

    async with (
        ScriptedUpstream(beginning_after(slow_s)) as peer,
        ScriptedUpstream(beginning_after(usual_s)) as one,
        ScriptedUpstream(beginning_after(usual_s)) as other,
    ):
        outliers = {"slow_floor": "100ms", "slow_factor": 3.0, "slow_answers": 4}
        gateway = await start_gateway(endpoints(peer.url, one.url, other.url, outliers=outliers))
        enough = asyncio.Event()
        load = asyncio.create_task(latencies_s(gateway, enough, at_once=2))
        started = time.perf_counter()
        reason = await told(gateway, peer.url, EndpointState.EJECTED)
        report("U17", "s until a peer slower by 0.3 s is out", time.perf_counter() - started)
        enough.set()
        before = percentile(await load, 99)
        seen = len(peer.requests)
        enough = asyncio.Event()
        load = asyncio.create_task(latencies_s(gateway, enough, at_once=8))
        await one.wait_requests(len(one.requests) + 100)
        enough.set()
        after = percentile(await load, 99)
        assert len(peer.requests) == seen
    assert reason.startswith("slow: first byte ")
    report("U17", "p99 before, ms", before * 1e3)
    report("U17", "p99 after, ms", after * 1e3)
    assert before >= slow_s


async def test_u17_the_time_an_upload_takes_is_not_the_endpoints(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(OK) as one, ScriptedUpstream(OK) as other:
        outliers = {"slow_floor": "50ms"}
        hedge = {"after": "60s"}  # or nobody would look how soon answers begin
        gateway = await start_gateway(ranked(one.url, other.url, outliers=outliers, hedge=hedge))
        upstream = upstream_of(gateway)

        async def upload() -> None:
            async with RawClient(gateway.port) as client:
                await client.send(request("PUT", headers=["Transfer-Encoding: chunked"]))
                await client.send(b"1\r\na\r\n")
                await asyncio.sleep(slow_uplink_s)
                await client.send(b"0\r\n\r\n")
                assert (await client.read_response()).status == 200

        slow_uplink_s = 0.6
        await asyncio.gather(*(upload() for _ in range(20)))
        longest_s = upstream.begin_s.at(1.0)
        assert longest_s is not None
        assert longest_s < slow_uplink_s


async def test_every_request_is_answered_when_one_is_killed_while_the_other_is_ejected(
    start_gateway: StartGateway,
) -> None:
    """The ejected one is slow, and works. Once the other is ejected instead, it serves again."""
    async with BackendProcess(first_byte_s=0.15) as late, BackendProcess() as quick:
        outliers = {"slow_floor": "50ms", "slow_factor": 3.0, "slow_answers": 3}
        gateway = await start_gateway(endpoints(late.url, quick.url, outliers=outliers))
        while state_of(gateway, late.url) is not EndpointState.EJECTED:
            assert (await ask(gateway.port)).status == 200
        await quick.kill()
        answers = await asyncio.gather(*(ask(gateway.port) for _ in range(30)))
        assert {answer.status for answer in answers} == {200}
        assert state_of(gateway, quick.url) is EndpointState.EJECTED
        assert state_of(gateway, late.url) is EndpointState.WARMING
        assert (await ask(gateway.port)).status == 200


async def test_every_request_is_answered_when_one_is_killed_while_the_other_fails_its_checks(
    start_gateway: StartGateway,
) -> None:
    async with BackendProcess() as one, BackendProcess() as other:
        gateway = await start_gateway(endpoints(one.url, other.url))
        for each in endpoint_at(gateway, one.url), endpoint_at(gateway, other.url):
            for _ in range(3):
                upstream_of(gateway).checked(each, "status 500")
        await one.kill()
        answers = await asyncio.gather(*(ask(gateway.port) for _ in range(20)))
        assert {answer.status for answer in answers} == {200}


async def test_the_last_retry_goes_to_an_endpoint_that_is_ejected_for_failures(
    start_gateway: StartGateway,
) -> None:
    unavailable = raw_reply(reply(b"{}", status="503 Service Unavailable"))
    async with ScriptedUpstream(unavailable) as well, ScriptedUpstream(OK) as ejected:
        gateway = await start_gateway(ranked(ejected.url, well.url))
        for _ in range(5):
            upstream_of(gateway).failed(endpoint_at(gateway, ejected.url), "test")
        assert state_of(gateway, ejected.url) is EndpointState.EJECTED
        assert (await get(gateway)).status == 200
        assert (len(well.requests), len(ejected.requests)) == (2, 1)


# -- U18: the way back -------------------------------------------------------------------------


async def test_u18_an_endpoint_comes_back_by_a_few_probes_at_once(
    start_gateway: StartGateway, report: Report
) -> None:
    probes = 2
    well, at_once, most = False, 0, 0

    async def recovering(connection: UpstreamConnection) -> None:
        nonlocal at_once, most
        while True:
            await connection.read_request()
            if not well:
                await connection.send(ERROR)
                continue
            at_once += 1
            if state_of(gateway, connection.upstream.url) is EndpointState.PROBING:
                most = max(most, at_once)
            await asyncio.sleep(0.02)
            at_once -= 1
            await connection.send(reply(b"{}"))

    async with ScriptedUpstream(recovering) as peer, ScriptedUpstream(OK) as other:
        outliers = {"base": "1s", "probes": probes, "successes": 3, "slow_start": "200ms"}
        gateway = await start_gateway(endpoints(peer.url, other.url, outliers=outliers))
        async with asyncio.timeout(PATIENCE_S):
            while state_of(gateway, peer.url) is not EndpointState.EJECTED:
                await get(gateway)
        ejected_at = time.perf_counter()
        seen = len(peer.requests)
        assert {(await get(gateway)).status for _ in range(10)} == {200}
        assert len(peer.requests) == seen
        well = True
        enough = asyncio.Event()
        load = asyncio.create_task(latencies_s(gateway, enough, at_once=8))
        await told(gateway, peer.url, EndpointState.PROBING)
        probing_at = time.perf_counter()
        await told(gateway, peer.url, EndpointState.WARMING)
        admitted_at = time.perf_counter()
        await told(gateway, peer.url, EndpointState.HEALTHY)
        enough.set()
        await load
    report("U18", "s out, where the base is 1 s", probing_at - ejected_at)
    report("U18", "s from half-open to let in again", admitted_at - probing_at)
    report("U18", "probes at once, of 2 allowed", most)
    assert probing_at - ejected_at >= 0.95
    assert 1 <= most <= probes


async def test_u18_a_probe_that_fails_puts_it_out_for_longer(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(raw_reply(ERROR)) as bad, ScriptedUpstream(OK) as good:
        outliers = {"base": "300ms", "failures": 2}
        gateway = await start_gateway(ranked(bad.url, good.url, outliers=outliers))
        lengths_s = []
        for times in (1, 2, 3):  # the first takes two failures, each other one failed probe
            async with asyncio.timeout(PATIENCE_S):
                while state_of(gateway, bad.url) is not EndpointState.EJECTED:
                    await get(gateway)
                out_at = time.perf_counter()
                assert (await get(gateway)).status == 200
                await eventually(lambda: state_of(gateway, bad.url) is not EndpointState.EJECTED)
            lengths_s.append(time.perf_counter() - out_at)
            assert endpoint_at(gateway, bad.url).health.ejections == times
        await told(gateway, bad.url, EndpointState.EJECTED, times=3)
        assert len(bad.requests) == 4
    assert lengths_s[1] >= 0.55
    assert lengths_s[2] >= 0.85


async def test_u18_streams_from_before_do_not_keep_probes_away(
    start_gateway: StartGateway,
) -> None:
    failures = 2

    async def script(connection: UpstreamConnection) -> None:
        nonlocal failures
        while True:
            seen = await connection.read_request()
            if seen.method == "POST":
                await connection.send(STREAM_HEAD + chunk(EVENTS[0]))
                await connection.wait_client_gone()
            failures -= 1
            await connection.send(ERROR if failures >= 0 else reply(b"{}"))

    async with ScriptedUpstream(script) as peer, ScriptedUpstream(OK) as other:
        outliers = {"base": "100ms", "failures": 2, "slow_start": "0s"}
        gateway = await start_gateway(ranked(peer.url, other.url, outliers=outliers))
        async with RawClient(gateway.port) as one, RawClient(gateway.port) as another:
            for client in (one, another):
                await client.send(POST)
                await client.read_head()
            assert [(await get(gateway)).status for _ in range(2)] == [500, 500]
            await told(gateway, peer.url, EndpointState.EJECTED)
            async with asyncio.timeout(PATIENCE_S):
                while state_of(gateway, peer.url) is not EndpointState.HEALTHY:
                    assert (await get(gateway)).status == 200
            assert endpoint_at(gateway, peer.url).in_flight == 2


async def test_u18_a_retry_does_not_wait_for_an_endpoint_that_is_being_probed(
    start_gateway: StartGateway,
) -> None:
    answers = [ERROR, ERROR]

    async def silent_after_errors(connection: UpstreamConnection) -> None:
        while True:
            await connection.read_request()
            if not answers:
                break
            await connection.send(answers.pop())
        await connection.wait_client_gone()

    failed_once = False

    def flaky(_: Request) -> bytes:
        nonlocal failed_once
        failed, failed_once = failed_once, True
        return reply(b"{}") if failed else reply(b"{}", status="503 Unavailable")

    async with (
        ScriptedUpstream(silent_after_errors) as bad,
        ScriptedUpstream(raw_reply(flaky)) as good,
    ):
        outliers = {"base": "100ms", "failures": 2}
        gateway = await start_gateway(ranked(bad.url, good.url, outliers=outliers))
        assert [(await get(gateway)).status for _ in range(2)] == [500, 500]
        async with RawClient(gateway.port) as probe:
            await eventually(lambda: state_of(gateway, bad.url) is not EndpointState.EJECTED)
            await probe.send(request("GET"))
            await bad.wait_requests(3)
            assert state_of(gateway, bad.url) is EndpointState.PROBING
            started = time.perf_counter()
            response = await get(gateway)
            took_s = time.perf_counter() - started
        assert (response.status, len(good.requests)) == (200, 2)
        assert took_s < SLACK_S


# -- U19: it asks for a pause ------------------------------------------------------------------


async def test_u19_a_429_is_passed_on_and_others_are_preferred_for_as_long_as_it_asks(
    start_gateway: StartGateway, report: Report
) -> None:
    busy = reply(b'{"busy":1}', status="429 Too Many Requests", headers=["Retry-After: 1"])
    async with ScriptedUpstream(raw_reply(busy)) as first, ScriptedUpstream(OK) as second:
        gateway = await start_gateway(ranked(first.url, second.url, retries={"rotate": []}))
        began = time.perf_counter()
        passed = await get(gateway)
        paused_at = time.perf_counter()
        assert (passed.status, passed.value("retry-after")) == (429, b"1")
        assert passed.json() == {"busy": 1}
        preferred = []
        for _ in range(20):
            told_now = ((await get(gateway)).status, len(first.requests))
            if time.perf_counter() - began >= 1.0:
                break  # the pause may be over: the machine is busy
            preferred.append(told_now)
        assert set(preferred) == {(200, 1)}
        assert (await told(gateway, first.url, EndpointState.COOLING)).startswith(
            "asked for a pause"
        )
        async with asyncio.timeout(PATIENCE_S):
            while (await get(gateway)).status == 200:
                pass
        report("U19", "s without requests after Retry-After: 1", time.perf_counter() - paused_at)
        ejections = endpoint_at(gateway, first.url).health.ejections
    assert ejections == 0
    assert time.perf_counter() - paused_at >= 0.9


@pytest.mark.parametrize("headers", [["Retry-After: 60"], []], ids=["pause", "none"])
async def test_u19_any_number_of_429_ejects_nobody(
    start_gateway: StartGateway, report: Report, headers: list[str]
) -> None:
    busy = reply(b"{}", status="429 Too Many Requests", headers=headers)
    async with ScriptedUpstream(raw_reply(busy)) as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        passed = [await get(gateway) for _ in range(20)]
        state = state_of(gateway, upstream.url)
        assert len(upstream.requests) == 20
        ejected = upstream_of(gateway).counts.ejected
    assert {response.status for response in passed} == {429}
    assert state is (EndpointState.COOLING if headers else EndpointState.HEALTHY)
    assert ejected == 0
    report("U19", "ejections by 20 answers of 429", ejected)


# -- active checks -----------------------------------------------------------------------------


class Checked:
    """An endpoint whose health can be set; everything else it answers with {}."""

    def __init__(self) -> None:
        self.health: bytes | None = reply(b"all is well", content_type="text/plain")
        """What it says of itself; None: nothing at all."""
        self.checks: list[Request] = []
        self.served = 0

    async def __call__(self, connection: UpstreamConnection) -> None:
        while True:
            seen = await connection.read_request()
            if seen.target != "/base/health":
                self.served += 1
                await connection.send(reply(b"{}"))
                continue
            self.checks.append(seen)
            health = self.health
            if health is None:
                break
            # In two packets, as it may come.
            await connection.send(health[:-6])
            await asyncio.sleep(0.005)
            await connection.send(health[-6:])
        await connection.wait_client_gone()


CHECKS = {"path": "/health", "interval": "30ms", "timeout": "1s", "healthy": 2, "unhealthy": 2}
"""A well backend on a busy machine answers within the timeout."""


def checked(*urls: str, **checks: Any) -> dict[str, Any]:
    return ranked(
        *(f"{url}/base" for url in urls),
        health={**CHECKS, **checks},
        outliers={"slow_start": "0s"},
    )


@pytest.mark.parametrize(
    ("health", "reason"),
    [
        (reply(b"", status="500 Internal Server Error"), "check: status 500"),
        (reply(b"", status="404 Not Found"), "check: status 404"),
        (reply(b"loading the model", content_type="text/plain"), "check: the body is not"),
        (None, "check: no answer within 1 s"),
        (b"\x00\x01 no http", "check: "),
    ],
    ids=["500", "404", "body", "timeout", "garbage"],
)
async def test_who_fails_its_checks_is_left_out_until_it_passes_them(
    start_gateway: StartGateway, report: Report, health: bytes | None, reason: str
) -> None:
    sick, other = Checked(), Checked()
    async with ScriptedUpstream(sick) as first, ScriptedUpstream(other) as second:
        gateway = await start_gateway(checked(first.url, second.url, body="well"))
        url = f"{first.url}/base"
        assert (await get(gateway)).status == 200
        assert (sick.served, other.served) == (1, 0)
        well, sick.health = sick.health, health
        assert (await told(gateway, url, EndpointState.UNHEALTHY)).startswith(reason)
        assert {(await get(gateway)).status for _ in range(5)} == {200}
        assert (sick.served, other.served) == (1, 5)
        sick.health = well
        started = time.perf_counter()
        await told(gateway, url, EndpointState.HEALTHY)
        report("check", "s from well to let in, a check each 30 ms", time.perf_counter() - started)
        assert (await get(gateway)).status == 200
        assert (sick.served, other.served) == (2, 5)


async def test_a_check_asks_as_it_is_configured_and_shows_no_credential(
    start_gateway: StartGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BACKEND_TOKEN", "backend-secret")
    asked = Checked()
    asked.health = reply(b"", status="418 Teapot")
    async with ScriptedUpstream(asked) as upstream:
        document = checked(upstream.url, statuses=[418])
        document["upstreams"]["main"]["credentials"] = {"bearer": {"env": "BACKEND_TOKEN"}}
        gateway = await start_gateway(document)
        async with asyncio.timeout(PATIENCE_S):
            while len(asked.checks) < 4:
                await upstream.request_seen.wait()
                upstream.request_seen.clear()
        assert state_of(gateway, f"{upstream.url}/base") is EndpointState.HEALTHY
    check = asked.checks[0]
    assert (check.method, check.target) == ("GET", "/base/health")
    assert check.value("host") == upstream.url.removeprefix("http://").encode()
    assert b"backend-secret" not in check.raw


async def test_where_nobody_passes_its_checks_requests_are_served_still(
    start_gateway: StartGateway,
) -> None:
    sick = Checked()
    sick.health = reply(b"", status="500 Internal Server Error")
    async with ScriptedUpstream(sick) as upstream:
        gateway = await start_gateway(checked(upstream.url))
        await told(gateway, f"{upstream.url}/base", EndpointState.UNHEALTHY)
        assert (await get(gateway)).status == 200
        assert upstream_of(gateway).panicking


async def test_a_server_that_is_away_is_left_out_before_a_request_finds_out(
    start_gateway: StartGateway,
) -> None:
    with refusing_endpoint() as refusing:
        asked = Checked()
        async with ScriptedUpstream(asked) as upstream:
            gateway = await start_gateway(checked(refusing, upstream.url))
            reason = await told(gateway, f"{refusing}/base", EndpointState.UNHEALTHY)
            assert (await get(gateway)).status == 200
            logged = await gateway.wait_for_log(lambda line: line["event"] == "request")
    assert reason == "check: ClientConnectorError"
    assert "attempts" not in logged


# -- an operator -------------------------------------------------------------------------------


async def test_a_drained_endpoint_ends_what_it_carries_and_gets_nothing_new(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream() as first, ScriptedUpstream(OK) as second:
        gateway = await start_gateway(ranked(first.url, second.url))
        upstream, drained = upstream_of(gateway), endpoint_at(gateway, first.url)
        async with RawClient(gateway.port) as client:
            await client.send(POST)
            connection = await first.accept()
            await connection.read_request()
            await connection.send(STREAM_HEAD + chunk(EVENTS[0]))
            await client.read_head()
            upstream.drain(drained, out=True)
            assert (
                await told(gateway, first.url, EndpointState.DRAINING)
            ) == "drained by an operator"
            assert {(await get(gateway)).status for _ in range(5)} == {200}
            assert len(second.requests) == 5
            await connection.send(chunk(EVENTS[1]) + LAST_CHUNK)
            assert [await client.read_chunk() for _ in range(3)] == [*EVENTS, None]
        await idle(gateway)
        assert len(first.requests) == 1
        upstream.drain(endpoint_at(gateway, second.url), out=True)
        refused = await get(gateway)
        assert_error(refused, 503, code="upstream_unavailable")
        assert refused.value("retry-after") is not None
        upstream.drain(endpoint_at(gateway, second.url), out=False)
        assert (await get(gateway)).status == 200
