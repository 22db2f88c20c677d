"""Reloads: a good file is served by all workers, a bad one changes nothing."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from typing import Any

import yaml

from tests.support.admin import admin, told, until
from tests.support.client import RawClient, ask
from tests.support.commands import called
from tests.support.figures import Report
from tests.support.gateway import GatewayProcess, StartGatewayProcess, simple_config
from tests.support.upstream import ScriptedUpstream, json_reply, stepped_stream

GET = b"GET /v1/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
STREAM = b"GET /v1/x HTTP/1.1\r\nHost: localhost\r\n\r\n"


def change(gateway: GatewayProcess, **sections: Any) -> None:
    """Write other sections into its file."""
    document = yaml.safe_load(gateway.file.read_text())
    for name, value in sections.items():
        old = document.get(name)
        both = isinstance(old, dict) and isinstance(value, dict)
        document[name] = {**old, **value} if both else value
    gateway.file.write_text(yaml.safe_dump(document))


async def reload(gateway: GatewayProcess) -> dict[str, Any]:
    response = await admin(gateway, "POST", "/api/reload")
    document: dict[str, Any] = response.json()
    assert response.status == (200 if document["ok"] else 400)
    return document


def with_two(one: ScriptedUpstream, other: ScriptedUpstream) -> dict[str, Any]:
    config = simple_config(one.url, server={"workers": 2})
    config["upstreams"]["other"] = {"endpoints": [{"url": other.url}]}
    return config


def to_other(gateway: GatewayProcess) -> None:
    change(
        gateway,
        routes=[{"name": "main", "path": "/v1/", "auth": "anonymous", "upstream": "other"}],
    )


async def test_every_worker_serves_the_new_file_and_none_the_old(
    start_gateway_process: StartGatewayProcess,
) -> None:
    async with (
        ScriptedUpstream(json_reply({"from": "one"})) as one,
        ScriptedUpstream(json_reply({"from": "other"})) as other,
    ):
        gateway = await start_gateway_process(with_two(one, other))
        assert (await ask(gateway.port, GET)).json() == {"from": "one"}
        to_other(gateway)
        assert (await reload(gateway))["ok"]
        answers = await asyncio.gather(*(ask(gateway.port, GET) for _ in range(40)))
        assert Counter(a.json()["from"] for a in answers) == {"other": 40}
        assert all(row["reloads"] == 1 for row in (await told(gateway, "/api/workers"))["workers"])


async def test_o1_a_bad_file_changes_nothing_and_says_what_is_wrong(
    start_gateway_process: StartGatewayProcess, report: Report
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway_process(simple_config(upstream.url, server={"workers": 2}))
        good = gateway.file.read_text()
        bad = [
            "routes: [",
            good.replace("upstream: main", "upstream: mian"),
            good + "\nlimts: {}\n",
            good.replace("path: /v1/", "path: /v1/\n  middleware: [{use: nowhere.at.all}]"),
        ]
        served = 0
        for text in bad:
            gateway.file.write_text(text)
            outcome = await reload(gateway)
            assert not outcome["ok"]
            assert outcome["problems"], text
            served += (await ask(gateway.port, GET)).status == 200
        shown = await told(gateway, "/api/config")
        assert not shown["last_reload"]["ok"]
        assert shown["config"]["routes"][0]["upstream"] == "main"
        await gateway.log.wait_for(
            lambda line: line["event"] == "reload_failed" and "mian" in str(line["problems"])
        )
        report("O1", f"requests served after {len(bad)} bad files", served)
        assert served == len(bad)
        gateway.file.write_text(good)
        assert (await reload(gateway))["ok"]


async def test_a_worker_that_starts_after_a_bad_file_serves_the_last_good_one(
    start_gateway_process: StartGatewayProcess,
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway_process(simple_config(upstream.url))
        gateway.file.write_text("nonsense")
        assert not (await reload(gateway))["ok"]
        os.kill(gateway.pid, signal.SIGKILL)
        await until(gateway, "/readyz", lambda found: found["ready"])
        assert (await ask(gateway.port, GET)).status == 200


async def test_a_worker_that_is_just_being_replaced_is_waited_for(
    start_gateway_process: StartGatewayProcess,
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway_process(simple_config(upstream.url))
        os.kill(gateway.pid, signal.SIGKILL)
        change(gateway, server={"keepalive": "33s"})
        assert (await reload(gateway))["ok"]
        config = (await told(gateway, "/api/config"))["config"]
        assert config["server"]["keepalive"] == 33.0


async def test_o2_streams_and_requests_go_on_through_reloads(
    start_gateway_process: StartGatewayProcess, report: Report
) -> None:
    async with (
        ScriptedUpstream(stepped_stream()) as one,
        ScriptedUpstream(json_reply({})) as other,
    ):
        gateway = await start_gateway_process(with_two(one, other))
        async with RawClient(gateway.port) as client:
            await client.send(STREAM)
            await one.release(b"data: 0\n\n")
            await client.read_head()
            to_other(gateway)
            await reload(gateway)
            failed = asked = 0
            for number in range(1, 6):
                change(gateway, server={"keepalive": f"{number}s"})
                outcome, *answers = await asyncio.gather(
                    reload(gateway), *(ask(gateway.port, GET) for _ in range(20))
                )
                assert outcome["ok"]
                asked += len(answers)
                failed += sum(answer.status != 200 for answer in answers)
                await one.release(b"data: %d\n\n" % number)
            await one.finish()
            events = [await client.read_chunk() for _ in range(6)]
            assert events == [b"data: %d\n\n" % number for number in range(6)]
            assert await client.read_chunk() is None
        report("O2", "streams cut by 5 reloads", 0)
        report("O2", f"requests that failed meanwhile, of {asked}", failed)
        assert failed == 0


async def test_what_did_not_change_survives(start_gateway_process: StartGatewayProcess) -> None:
    """Pools, buckets, ejected endpoints, those an operator drained."""
    async with (
        ScriptedUpstream(json_reply({})) as one,
        ScriptedUpstream(json_reply({}, status="500 Oops")) as other,
    ):
        config = simple_config(one.url, limits=["few"])
        config["limits"] = {"few": {"key": "ip", "requests": "20/day", "burst": 20}}
        config["upstreams"]["main"]["endpoints"].append({"url": other.url})
        config["upstreams"]["main"]["balance"] = "round_robin"
        gateway = await start_gateway_process(config)
        for _ in range(12):
            await ask(gateway.port, GET)
        before = {e["url"]: e for e in (await _main(gateway))["endpoints"]}
        assert before[other.url]["state"] == "ejected"
        assert (
            await admin(gateway, "POST", "/api/upstreams/main/drain", {"endpoint": one.url})
        ).status == 200
        connections = len(one.connections)
        change(gateway, server={"keepalive": "60s"})
        assert (await reload(gateway))["ok"]
        after = {e["url"]: e for e in (await _main(gateway))["endpoints"]}
        assert (await _main(gateway))["counts"]["ejected"] == 1
        assert after[other.url]["state"] == "ejected"
        assert after[one.url]["state"] == "draining"
        await admin(gateway, "POST", "/api/upstreams/main/undrain", {"endpoint": one.url})
        statuses = [(await ask(gateway.port, GET)).status for _ in range(10)]
        assert statuses == [200] * 8 + [429] * 2  # 12 of 20 were used before
        assert len(one.connections) == connections  # the pooled one was used


async def _main(gateway: GatewayProcess) -> Any:
    return (await told(gateway, "/api/upstreams"))["upstreams"][0]


async def test_what_takes_a_restart_is_said(start_gateway_process: StartGatewayProcess) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway_process(simple_config(upstream.url))
        change(gateway, server={"workers": 3})
        outcome = await reload(gateway)
        assert (outcome["ok"], outcome["needs_restart"]) == (True, ["server.workers"])


async def test_what_takes_a_restart_is_said_until_there_is_one(
    start_gateway_process: StartGatewayProcess,
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway_process(simple_config(upstream.url, server={"workers": 1}))
        change(gateway, server={"workers": 3})
        for _ in range(2):
            assert (await reload(gateway))["needs_restart"] == ["server.workers"]
        good = gateway.file.read_text()
        gateway.file.write_text("routes: [")
        assert (await reload(gateway))["needs_restart"] == ["server.workers"]
        gateway.file.write_text(good)
        change(gateway, server={"workers": 1})  # as many as there are
        assert (await reload(gateway))["needs_restart"] == []


async def test_sighup_and_the_command_reload(start_gateway_process: StartGatewayProcess) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway_process(simple_config(upstream.url))
        gateway.signal(signal.SIGHUP)
        line = await gateway.log.wait_for(lambda line: line["event"] == "reloaded")
        assert line["why"] == "SIGHUP"
        change(gateway, admin={"listen": f"127.0.0.1:{gateway.admin_port}"})
        good = gateway.file.read_text()
        gateway.file.write_text(good.replace("upstream: main", "upstream: mian"))
        said = await called("reload", "--config", str(gateway.file))
        assert said.code == 1
        assert "there is no upstream 'mian'; did you mean 'main'?" in said.out + said.err


async def test_a_watched_file_is_reloaded_when_it_changes(
    start_gateway_process: StartGatewayProcess,
) -> None:
    async with (
        ScriptedUpstream(json_reply({"from": "one"})) as one,
        ScriptedUpstream(json_reply({"from": "other"})) as other,
    ):
        config = with_two(one, other)
        config["server"]["watch"] = True
        gateway = await start_gateway_process(config)
        to_other(gateway)
        await gateway.log.wait_for(
            lambda line: line["event"] == "reloaded" and line["why"] == "the file changed"
        )
        assert (await ask(gateway.port, GET)).json() == {"from": "other"}


async def test_included_files_are_watched_and_so_are_new_ones(
    start_gateway_process: StartGatewayProcess,
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        config = simple_config(upstream.url, server={"watch": True, "workers": 2})
        gateway = await start_gateway_process({**config, "include": ["teams/*.yaml"]})
        teams = gateway.file.parent / "teams"
        teams.mkdir()
        route = "routes: [{name: NAME, path: /NAME/, auth: anonymous, upstream: main}]\n"
        written = teams / "a.new"
        written.write_text(route.replace("NAME", "a").replace("anonymous", "[nobody]"))
        written.rename(teams / "a.yaml")
        failed = await gateway.log.wait_for(lambda line: line["event"] == "reload_failed")
        (problem,) = failed["problems"]
        assert problem.startswith(f"{teams}/a.yaml:1:")
        written.write_text(route.replace("NAME", "a"))
        written.rename(teams / "a.yaml")
        await gateway.log.wait_for(lambda line: line["event"] == "reloaded")
        found = await told(gateway, "/api/config")
        assert found["included"] == [f"{teams}/a.yaml"]
        assert (await ask(gateway.port, GET.replace(b"/v1/", b"/a/"))).status == 200
