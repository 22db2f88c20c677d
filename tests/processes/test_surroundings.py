"""A gateway in odd surroundings: streams that are closed, folders that cannot be written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.client import ask, request
from tests.support.gateway import StartGatewayProcess, config_text, simple_config
from tests.support.upstream import ScriptedUpstream, json_reply

PROGRAM = "import sys; from gateway.cli import main; sys.exit(main())"


def shell(command: str, redirections: str) -> list[str]:
    """`gateway COMMAND` by way of a shell, which can start it without some streams."""
    return ["sh", "-c", f'exec "$0" -c "$1" {command} {redirections}', sys.executable, PROGRAM]


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


def test_a_missing_folder_for_the_store_is_a_problem_with_its_line(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_text("no folder")
    file, path = tmp_path / "config.yaml", tmp_path / "file" / "sub" / "store.db"
    config = simple_config("http://127.0.0.1:9")
    file.write_text(config_text(config, {"store": {"url": f"sqlite://{path}"}}))
    done = subprocess.run(
        shell(f"serve --config {file}", ""), capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"{file}:")
    why = "there is no such folder: make it, or correct store.url"
    assert done.stderr.endswith(f"store.url: cannot be used: {path.parent}: {why}\n")


def test_a_key_file_whose_folder_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    file, keys = tmp_path / "config.yaml", tmp_path / "file" / "sub" / "keys.yaml"
    config = simple_config("http://127.0.0.1:9", auth=["keys"])
    file.write_text(config_text(config, {"auth": {"keys": {"type": "api_key", "file": str(keys)}}}))
    done = subprocess.run(
        shell(f"keys create --owner ann --config {file}", ""),
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == f"gateway: {keys.parent}: Not a directory\n"
