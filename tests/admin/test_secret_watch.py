"""Secrets that rotate: new requests use the new value, and an error keeps the old one."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import structlog

from gateway.admin.secret_watch import SecretWatch
from gateway.config.secret_sources import SecretSources
from tests.support.admin import admin, until
from tests.support.client import ask
from tests.support.figures import Report
from tests.support.gateway import GatewayProcess, StartGatewayProcess, simple_config
from tests.support.patient_stores import stores_wait
from tests.support.redis import StartRedis
from tests.support.upstream import ScriptedUpstream, json_reply
from tests.support.waiting import SLACK_S, eventually

GET = b"GET /v1/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def replace(path: Path, value: str) -> None:
    """Replace a file at once, as a tool that rotates secrets does."""
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(value)
    fresh.replace(path)


def with_key(upstream: ScriptedUpstream, secret: dict[str, Any]) -> dict[str, Any]:
    credentials = {"credentials": {"bearer": secret}}
    return simple_config(upstream.url, server={"workers": 2}, upstream=credentials)


async def credential(gateway: GatewayProcess, upstream: ScriptedUpstream) -> bytes:
    """Return the credential that a new request sends."""
    assert (await ask(gateway.port, GET)).status == 200
    return upstream.requests[-1].values("Authorization")[0]


async def test_new_requests_send_the_key_that_the_file_holds_now(
    start_gateway_process: StartGatewayProcess, tmp_path: Path, report: Report
) -> None:
    key = tmp_path / "key"
    key.write_text("old-key")
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway_process(with_key(upstream, {"file": "key"}))
        assert await credential(gateway, upstream) == b"Bearer old-key"
        # A change of the configuration that nobody has applied stays unapplied.
        gateway.file.write_text(gateway.file.read_text().replace("/v1/", "/v2/"))
        began = time.monotonic()
        replace(key, "new-key\n")
        line = await gateway.log.wait_for(lambda line: line["event"] == "reloaded")
        took_s = time.monotonic() - began
        report("secrets", "a secret file changed to served by 2 workers, s", round(took_s, 2))
        assert took_s < 2.0 + SLACK_S
        assert line["why"] == "a secret changed"
        assert line["changed"] == ["upstreams.main.credentials.bearer"]
        sent = await asyncio.gather(*(credential(gateway, upstream) for _ in range(8)))
        assert set(sent) == {b"Bearer new-key"}
        assert b"new-key" not in gateway.log.raw

        key.unlink()
        failed = await gateway.log.wait_for(lambda line: line["event"] == "reload_failed")
        assert failed["problems"][0].endswith("bearer: cannot read key: No such file or directory")
        assert await credential(gateway, upstream) == b"Bearer new-key"
        gateway.log.lines.clear()
        replace(key, "third-key")
        await gateway.log.wait_for(lambda line: line["event"] == "reloaded")
        assert await credential(gateway, upstream) == b"Bearer third-key"


async def test_a_worker_that_restarts_has_the_value_of_the_others(
    start_gateway_process: StartGatewayProcess, tmp_path: Path
) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\ncat value\necho run >>runs\n")
    program.chmod(0o755)
    (tmp_path / "value").write_text("one")
    secret = {"command": ["./program"], "every": "1s", "timeout": "5s"}
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway_process(with_key(upstream, secret))
        assert (tmp_path / "runs").read_text().split() == ["run"]  # one for all processes
        assert await credential(gateway, upstream) == b"Bearer one"
        replace(tmp_path / "value", "two")
        await gateway.log.wait_for(lambda line: line["event"] == "reloaded")
        assert await credential(gateway, upstream) == b"Bearer two"
        for pid in gateway.worker_pids:
            os.kill(pid, 9)
        await until(gateway, "/readyz", lambda found: found.get("ready"))
        sent = await asyncio.gather(*(credential(gateway, upstream) for _ in range(4)))
        assert set(sent) == {b"Bearer two"}

        replace(tmp_path / "value", "")
        line = await gateway.log.wait_for(lambda line: line["event"] == "secret")
        assert line["reason"] == "./program printed nothing"
        assert await credential(gateway, upstream) == b"Bearer two"


async def test_the_admin_token_rotates_and_ends_sessions(
    start_gateway_process: StartGatewayProcess, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("old-" * 8)
    listen = {"listen": "127.0.0.1:0", "token": {"file": "token"}}
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway_process(simple_config(upstream.url), admin=listen)

        async def status(value: str) -> int:
            line = f"Authorization: Bearer {value}"
            return (await admin(gateway, "GET", "/api/config", None, line)).status

        assert await status("old-" * 8) == 200
        replace(token, "new-" * 8)
        line = await gateway.log.wait_for(lambda line: line["event"] == "reloaded")
        assert line["needs_restart"] == []
        assert await status("new-" * 8) == 200
        assert await status("old-" * 8) == 401


async def test_limits_go_on_in_a_redis_whose_password_changes(
    start_gateway_process: StartGatewayProcess, start_redis: StartRedis, tmp_path: Path
) -> None:
    redis = await start_redis("--requirepass", "old")
    redis.password = "old"
    url = tmp_path / "url"
    url.write_text(redis.url.replace("://", "://:old@"))
    limit = {"key": "ip", "requests": "2/day", "on_store_error": "closed"}
    async with ScriptedUpstream(json_reply({})) as upstream:
        config = simple_config(upstream.url, server={"workers": 2}, limits=["two"])
        config |= {"store": {"url": {"file": "url"}}, "limits": {"two": limit}}
        gateway = await start_gateway_process(config, first=stores_wait())
        assert (await ask(gateway.port, GET)).status == 200
        await redis.command("CONFIG", "SET", "requirepass", "new")
        redis.password = "new"
        await redis.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        assert (await ask(gateway.port, GET)).status == 503
        replace(url, redis.url.replace("://", "://:new@"))
        await gateway.log.wait_for(lambda line: line["event"] == "reloaded")
        assert [(await ask(gateway.port, GET)).status for _ in range(2)] == [200, 429]


async def test_a_value_that_was_not_served_is_tried_again_later(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("a")
    secrets = SecretSources(tmp_path)
    secrets.from_file("key", generate=False)
    now = 100.0
    watch = SecretWatch(secrets, structlog.get_logger(), lambda: now)
    assert watch.changed() is None
    replace(tmp_path / "key", "b")
    assert watch.changed() is not None
    assert watch.changed() is None
    now = 131.0
    assert watch.changed() is not None
    again = SecretSources(tmp_path)
    again.from_file("key", generate=False)
    watch.serve(again)
    assert watch.changed() is None


async def test_a_slow_command_runs_once_and_what_a_reload_has_read_later_wins(
    tmp_path: Path,
) -> None:
    def sources(value: str) -> SecretSources:
        found = SecretSources(tmp_path)
        (tmp_path / "value").write_text(value)
        found.from_command(("sh", "-c", "cat value; sleep 0.2"), 5.0, 1.0)
        return found

    now = 100.0
    watch = SecretWatch(sources("one"), structlog.get_logger(), lambda: now)
    (tmp_path / "value").write_text("two")
    now = 102.0
    assert watch.changed() is None  # starts to read
    assert watch.changed() is None
    await asyncio.sleep(0.05)
    reloaded = await asyncio.to_thread(sources, "three")
    watch.serve(reloaded)
    await eventually(lambda: bool(watch.changed()) or not watch.is_reading)
    assert watch.changed() is None
