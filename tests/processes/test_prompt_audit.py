"""Several workers record prompts in files of their own, and one that is killed loses nothing that
was written.
"""

from __future__ import annotations

import json
import os
import signal
import stat
from pathlib import Path

import pytest

from tests.support.client import ask, request
from tests.support.commands import called
from tests.support.gateway import StartGatewayProcess
from tests.support.upstream import ScriptedUpstream, json_reply
from tests.support.waiting import asked_until, eventually

ANSWER = {"choices": [{"message": {"content": "Hi"}}]}
SECRET = "0f" * 32


@pytest.mark.timeout(180)
async def test_workers_write_files_of_their_own_and_a_killed_one_leaves_its_records(
    start_gateway_process: StartGatewayProcess, tmp_path: Path
) -> None:
    (tmp_path / "key").write_text(SECRET)
    folder = tmp_path / "prompts"
    secret = ["--secret", f"k={tmp_path / 'key'}"]

    async def asked() -> list[str]:
        said = await called("prompts", "read", str(folder), *secret)
        lines = [json.loads(line) for line in said.out.splitlines()]
        return [line["request"]["body"]["user"] for line in lines]

    async with ScriptedUpstream(json_reply(ANSWER)) as upstream:
        config = {
            "server": {"workers": 2},
            "prompt_audit": {
                "directory": str(folder),
                "flush": "10ms",
                "encryption": {"keys": {"k": {"secret": {"file": str(tmp_path / "key")}}}},
            },
            "upstreams": {"u": {"endpoints": [{"url": upstream.url}]}},
            "models": {"m": {"upstream": "u"}},
            "routes": [
                {
                    "name": "main",
                    "path": "/v1/",
                    "auth": "anonymous",
                    "models": ["m"],
                    "audit_prompts": {},
                }
            ],
        }
        gateway = await start_gateway_process(config)

        async def post(number: int) -> int:
            body = json.dumps({"model": "m", "user": str(number)}).encode()
            data = request("POST", "/v1/chat/completions", body=body)
            return (await ask(gateway.port, data, "POST")).status

        def by_worker() -> set[str]:
            return {path.name.split("-")[-2] for path in folder.iterdir()}

        sent = 0
        while sent < 20 or len(by_worker()) < 2:
            assert await post(sent) == 200
            sent += 1
        numbers = [str(number) for number in range(sent)]
        await asked_until(asked, lambda found: sorted(found) == sorted(numbers), patience_s=40)
        killed = gateway.worker_pids[0]
        os.kill(killed, signal.SIGKILL)
        left = [path for path in folder.iterdir() if f"-{killed}-" in path.name]
        # Its successor closes its file.
        await eventually(lambda: not any(path.exists() for path in left), patience_s=40)
        assert sorted(await asked()) == sorted(numbers)
        assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
        await gateway.stop()
    assert not any(path.suffix == ".open" for path in folder.iterdir())
    said = await called("prompts", "read", str(folder), *secret, "--count")
    assert said.out.strip() == str(sent)
    assert "ends early" in said.err  # the file of the worker that was killed
