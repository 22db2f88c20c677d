"""Record what a LiteLLM proxy does with the cases of `litellm_cases.py`.

Needs a virtual environment with `litellm[proxy]`, which is no dependency of this project:

    python -m tests.support.record_litellm /path/to/venv/bin/litellm
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import aiohttp

from tests.support.litellm_cases import BACKENDS, CASES, MASTER, Backends, outcome
from tests.support.waiting import asked_until

FOLDER = Path(__file__).parents[1] / "cli/litellm/recorded"
_START_S = 180.0
_COOLDOWN_S = 2.0
"""More than the `cooldown_time` of the configuration: no case sees the failures of another."""


def key_variables() -> dict[str, str]:
    """Return the environment with the keys of the backends."""
    names = {f"KEY_{name.upper().replace('-', '_')}": f"sk-{name}" for name in BACKENDS}
    return {**names, "LITELLM_MASTER_KEY": MASTER}


def configuration(ports: dict[str, int]) -> str:
    """Return the text of the LiteLLM file with the ports of the backends."""
    text = (FOLDER / "config.yaml").read_text()
    for name, port in ports.items():
        text = text.replace(f"PORT_{name}/", f"{port}/").replace(f'PORT_{name}"', f'{port}"')
    return text


async def record(program: str) -> None:
    """Write the record."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    async with Backends().running() as backends:
        with tempfile.NamedTemporaryFile("w", suffix=".yaml", delete=False) as file:
            file.write(configuration(backends.ports))
        quiet = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False"}
        command = [program, "--config", file.name, "--port", str(port), "--host", "127.0.0.1"]
        environment = {**os.environ, **key_variables(), **quiet}
        proxy = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        try:
            await _answers(address)
            found = {}
            async with aiohttp.ClientSession() as session:
                for case in CASES:
                    found[case.name] = await outcome(session, address, case, case.key, backends)
                    print(case.name, found[case.name]["answer"], flush=True)
                    if case.script:
                        await asyncio.sleep(_COOLDOWN_S)
        finally:
            proxy.terminate()
            proxy.wait(20)
            os.unlink(file.name)
    (FOLDER / "record.json").write_text(json.dumps(found, indent=1) + "\n")


async def _answers(address: str) -> None:
    async with aiohttp.ClientSession() as session:

        async def is_up() -> bool:
            async with session.get(f"{address}/health/liveliness") as response:
                return response.status == 200

        await asked_until(
            is_up, bool, unless=(aiohttp.ClientError,), patience_s=_START_S, pause_s=0.5
        )


if __name__ == "__main__":
    asyncio.run(record(sys.argv[1]))
