"""A gateway in odd surroundings: streams that are closed, folders that cannot be written."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.client import ask, request
from tests.support.commands import Said, call, run
from tests.support.fork_server import ForkServer
from tests.support.gateway import StartGatewayProcess, config_text, simple_config
from tests.support.upstream import ScriptedUpstream, json_reply


async def test_a_folder_for_traces_that_cannot_be_made_is_said_at_the_start(
    start_gateway_process: StartGatewayProcess, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("no folder")
    path = tmp_path / "file" / "sub" / "traces.db"
    async with ScriptedUpstream(json_reply({"ok": True})) as upstream:
        config = simple_config(upstream.url)
        gateway = await start_gateway_process(
            config, telemetry={"log": {"format": "json"}, "traces": {"local": str(path)}}
        )
        line = await gateway.log.wait_for(lambda line: line["event"] == "trace_store")
        assert (await ask(gateway.port, request())).json() == {"ok": True}
    assert (line["state"], line["file"]) == ("failing", str(path))
    assert line["reason"] == f"{path.parent}: Not a directory"


async def test_a_missing_folder_for_the_store_is_a_problem_with_its_line(
    tmp_path: Path, fork_server: ForkServer
) -> None:
    (tmp_path / "file").write_text("no folder")
    file, path = tmp_path / "config.yaml", tmp_path / "file" / "sub" / "store.db"
    config = simple_config("http://127.0.0.1:9")
    file.write_text(config_text(config, {"store": {"url": f"sqlite://{path}"}}))
    said = await run(fork_server, "serve", "--config", str(file))
    assert said.code == 1
    assert said.err.startswith(f"{file}:")
    why = "there is no such folder: make it, or correct store.url"
    assert said.err.endswith(f"store.url: cannot be used: {path.parent}: {why}\n")


def test_a_key_file_whose_folder_cannot_be_made_is_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("no folder")
    file, keys = tmp_path / "config.yaml", tmp_path / "file" / "sub" / "keys.yaml"
    config = simple_config("http://127.0.0.1:9", auth=["keys"])
    file.write_text(config_text(config, {"auth": {"keys": {"type": "api_key", "file": str(keys)}}}))
    said = call(capsys, "keys", "create", "--owner", "ann", "--config", str(file))
    assert said == Said(3, "", f"gateway: {keys.parent}: Not a directory\n")
