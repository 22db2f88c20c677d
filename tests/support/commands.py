"""Runs of the commands of `gateway`, and what they print or write."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.cli import main
from tests.support.fork_server import ForkServer
from tests.support.waiting import PATIENCE_S

NOWHERE = "http://127.0.0.1:1"
"""URL of a backend that is not there."""
VLLM: Any = {
    "object": "list",
    "data": [
        {
            "id": "meta-llama/Llama-3.1-8B-Instruct",
            "object": "model",
            "created": 1764460800,
            "owned_by": "vllm",
            "root": "meta-llama/Llama-3.1-8B-Instruct",
            "parent": None,
            "max_model_len": 131072,
            "permission": [],
        }
    ],
}
"""List of the models of a vLLM, as it answers it."""
Answers = Mapping[str, Any]
"""Answers of a backend by path: a JSON document, or a function of the request."""
StartBackend = Callable[[Answers], Awaitable[str]]
"""Type of the fixture `start_backend`, which returns the URL of the backend."""


@dataclass
class Said:
    """Exit code and output of a command."""

    code: int
    out: str
    err: str


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> Said:
    """Run a command."""
    try:
        code = main(arguments)
    except SystemExit as exc:  # as argparse ends
        code = int(exc.code or 0)
    out, err = capsys.readouterr()
    return Said(code, out, err)


async def called(*arguments: str) -> Said:
    """Run a command in another thread, beside gateways that run in the event loop."""
    out, err = io.StringIO(), io.StringIO()

    def call_main() -> int:
        try:
            return main(arguments)
        except SystemExit as exc:  # as argparse ends
            return int(exc.code or 0)

    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = await asyncio.to_thread(call_main)
    return Said(code, out.getvalue(), err.getvalue())


async def run(server: ForkServer, *arguments: str, folder: Path | None = None) -> Said:
    """Run a command in a process of its own, in a folder. It must print no traceback."""
    process = await server.start(arguments, folder=folder)
    async with asyncio.timeout(PATIENCE_S):
        out, err, code = await asyncio.gather(
            process.stdout.read(), process.stderr.read(), process.wait()
        )
    assert b"Traceback" not in err, err.decode()
    return Said(code, out.decode(), err.decode())


def environment() -> dict[str, str]:
    """Return the environment of a command that runs this source tree."""
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}


@contextlib.contextmanager
def taken_address() -> Iterator[str]:
    """Yield an address at which something else listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield f"127.0.0.1:{taken.getsockname()[1]}"


async def init(*arguments: str) -> int:
    """Return the exit code of `gateway init`, which runs an event loop of its own."""
    return await asyncio.to_thread(main, ["init", *arguments])


async def written(tmp_path: Path, *urls: str, options: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the configuration that `gateway init` writes for these backends. It must succeed."""
    file = tmp_path / "config.yaml"
    upstreams = [part for url in urls for part in ("--upstream", url)]
    assert await init(*upstreams, "--output", str(file), *options) == 0
    document = yaml.safe_load(file.read_text())
    assert isinstance(document, dict)
    return document
