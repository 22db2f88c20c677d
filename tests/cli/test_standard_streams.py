"""Standard streams that are closed, or that cannot be written."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.client import ask, request
from tests.support.gateway import config_text, simple_config
from tests.support.ports import free_port
from tests.support.upstream import ScriptedUpstream, json_reply
from tests.support.waiting import asked_until

PROGRAM = "import sys; from gateway.cli import main; sys.exit(main())"


def shell(command: str, redirections: str) -> list[str]:
    """`gateway COMMAND` by way of a shell, which can start it without some streams."""
    return ["sh", "-c", f'exec "$0" -c "$1" {command} {redirections}', sys.executable, PROGRAM]


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
            await asked_until(
                lambda: ask(port, request()), bool, unless=(ConnectionError,), patience_s=20
            )
            answers = [await ask(port, request()) for _ in range(4)]
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(60):
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
        shell("schema", redirection), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 3
    assert done.stderr == f"gateway: cannot write to standard output: {why}\n"
