"""`gateway init` without `--upstream` asks on the terminal, and answers at once."""

from __future__ import annotations

import asyncio
import os
import pty
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml
from aiohttp import web

from tests.support.commands import StartBackend, environment

MODELS = {"object": "list", "data": [{"id": "m", "object": "model", "owned_by": "vllm"}]}
_PATIENCE_S = 20.0


class Terminal:
    """`gateway init` with a terminal of its own, on which somebody types."""

    def __init__(self, folder: Path) -> None:
        self.shown = ""
        """Everything that was printed so far."""
        self._folder = folder
        self._ours, theirs = pty.openpty()
        self._theirs = theirs

    async def answer(self, dialogue: Sequence[tuple[str, str | None]], **variables: str) -> int:
        """Type an answer to each question as it is shown; None interrupts. Return the exit code."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gateway", "init", "--output", "config.yaml"),
            stdin=self._theirs,
            stdout=self._theirs,
            stderr=self._theirs,
            cwd=self._folder,
            env={**environment(), **variables},
        )
        os.close(self._theirs)
        loop = asyncio.get_running_loop()
        printed = asyncio.Event()

        def read() -> None:
            try:
                self.shown += os.read(self._ours, 65536).decode()
            except OSError:  # the program has ended
                loop.remove_reader(self._ours)
            printed.set()

        loop.add_reader(self._ours, read)
        try:
            async with asyncio.timeout(_PATIENCE_S):
                seen = 0
                for question, typed in dialogue:
                    while question not in self.shown[seen:]:
                        printed.clear()
                        await printed.wait()
                    seen = len(self.shown)
                    if typed is None:
                        process.send_signal(signal.SIGINT)
                    else:
                        os.write(self._ours, f"{typed}\n".encode())
                return await process.wait()
        finally:
            loop.remove_reader(self._ours)
            os.close(self._ours)


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    return Terminal(tmp_path)


async def test_backends_are_asked_for_and_described_at_once(
    start_backend: StartBackend, tmp_path: Path, terminal: Terminal
) -> None:
    url = await start_backend({"/v1/models": MODELS})
    dialogue = [
        ("URL of your backend: ", "http://127.0.0.1:1"),
        ("URL of your backend: ", url),
        ("Another backend (Enter: none): ", ""),
        ("Do callers need an API key? [Y/n] ", "n"),
    ]
    assert await terminal.answer(dialogue) == 0
    assert "http://127.0.0.1:1: cannot be reached: Connection refused" in terminal.shown
    assert f"{url}: vLLM, m" in terminal.shown
    document = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert document["upstreams"]["vllm"]["endpoints"] == [{"url": url}]
    assert {route["auth"] for route in document["routes"]} == {"anonymous"}


async def test_a_backend_that_needs_a_key_is_asked_again_with_the_variable_of_its_key(
    start_backend: StartBackend, tmp_path: Path, terminal: Terminal
) -> None:
    def guarded(request: web.Request) -> web.Response:
        is_known = request.headers.get("Authorization") == "Bearer sk-secret"
        return web.json_response(MODELS if is_known else {}, status=200 if is_known else 401)

    url = await start_backend({"/v1/models": guarded})
    dialogue = [
        ("URL of your backend: ", url),
        ("Environment variable with its key: ", "BACKEND_KEY"),
        ("Another backend (Enter: none): ", ""),
        ("Do callers need an API key? [Y/n] ", ""),
    ]
    assert await terminal.answer(dialogue, BACKEND_KEY="sk-secret") == 0
    document = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert document["upstreams"]["vllm"]["credentials"] == {"bearer": {"env": "BACKEND_KEY"}}
    assert "keys" in document["auth"]


@pytest.mark.parametrize(("typed", "code"), [("\x04", 2), (None, 130)], ids=["end", "interrupt"])
async def test_a_user_who_gives_up_sees_no_traceback(
    tmp_path: Path, terminal: Terminal, typed: str | None, code: int
) -> None:
    assert await terminal.answer([("URL of your backend: ", typed)]) == code
    assert "Traceback" not in terminal.shown
    assert not (tmp_path / "config.yaml").exists()
