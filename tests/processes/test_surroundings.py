"""A gateway in odd surroundings: streams that are closed, folders that cannot be written."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from gateway.processes.folder import private_folder
from gateway.server.serving import CannotStart
from tests.support.client import ask, request
from tests.support.gateway import StartGatewayProcess, config_text, simple_config
from tests.support.upstream import ScriptedUpstream, json_reply

PROGRAM = "import sys; from gateway.cli import main; sys.exit(main())"


def shell(command: str, redirections: str) -> list[str]:
    """`gateway COMMAND` by way of a shell, which can start it without some streams."""
    return ["sh", "-c", f'exec "$0" -c "$1" {command} {redirections}', sys.executable, PROGRAM]


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
async def test_it_serves_without_standard_streams(tmp_path: Path, closed: str) -> None:
    file, port = tmp_path / "config.yaml", free_port()
    async with ScriptedUpstream(json_reply({"ok": True})) as upstream:
        server = {"listen": f"127.0.0.1:{port}", "workers": 2, "drain_delay": "0s"}
        file.write_text(config_text(simple_config(upstream.url, server=server), {}))
        process = await asyncio.create_subprocess_exec(
            *shell(f"serve --config {file}", closed), start_new_session=True
        )
        try:
            async with asyncio.timeout(20):
                while True:
                    try:
                        answers = [await ask(port, request()) for _ in range(4)]
                        break
                    except ConnectionError:
                        await asyncio.sleep(0.05)
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(10):
                code = await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    assert [one.json() for one in answers] == [{"ok": True}] * 4
    assert code == 0


@pytest.mark.parametrize(
    ("redirection", "why"),
    [(">&-", "Bad file descriptor"), ("> /dev/full", "No space left on device")],
)
def test_a_command_whose_output_nobody_takes_says_so(redirection: str, why: str) -> None:
    done = subprocess.run(
        shell("schema", redirection), capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode == 3
    assert done.stderr == f"gateway: cannot write to standard output: {why}\n"


@pytest.mark.parametrize("fault", ["too long", "not there"])
async def test_a_temporary_folder_that_cannot_be_used_is_replaced_and_named(
    start_gateway_process: StartGatewayProcess,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
) -> None:
    folder = tmp_path / ("x" * 100)
    if fault == "too long":
        folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    async with ScriptedUpstream(json_reply({"ok": True})) as upstream:
        gateway = await start_gateway_process(simple_config(upstream.url, server={"workers": 2}))
        assert (await ask(gateway.port, request())).json() == {"ok": True}
        line = await gateway.log.wait_for(lambda line: line["event"] == "folder")
    assert str(folder) in line["reason"]
    assert line["reason"].endswith("is used instead")
    assert not folder.exists() or not any(folder.iterdir())


def test_without_any_folder_the_reasons_and_the_remedy_are_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def read_only(*_: object, dir: str, **__: object) -> None:
        raise OSError(30, "Read-only file system", dir)

    monkeypatch.setattr(tempfile, "TemporaryDirectory", read_only)
    monkeypatch.setenv("TMPDIR", "/mine")
    with pytest.raises(CannotStart) as caught:
        private_folder(lambda _: None)
    text = str(caught.value)
    assert "/mine: Read-only file system" in text
    assert "/dev/shm: Read-only file system" in text
    assert text.endswith("Set TMPDIR to a short path where files can be written.")


def test_a_folder_on_a_full_disk_is_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Folders can be made there, files cannot."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    write = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if tmp_path in path.parents:
            raise OSError(28, "No space left on device", str(path))
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    said: list[str] = []
    with private_folder(said.append) as folder:
        assert not folder.startswith(str(tmp_path))
    assert f"{tmp_path}: No space left on device" in said[0]
    assert os.listdir(tmp_path) == []


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


def test_a_folder_for_the_store_that_cannot_be_made_is_a_problem_with_its_line(
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
    assert done.stderr.endswith(f"store.url: cannot be used: {path.parent}: Not a directory\n")


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
