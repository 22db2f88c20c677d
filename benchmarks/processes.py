"""Processes of the benchmark: started on one core, awaited, and stopped by pid."""

from __future__ import annotations

import os
import resource
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
"""This checkout."""
_START_S = 90.0
_STOP_S = 5.0


class CannotRun(Exception):
    """A required program is missing or does not start. The text says which."""


def raise_file_limit() -> None:
    """Raise the limit of open files to the system's maximum, for this process and its children."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def cores() -> tuple[set[int], set[int]]:
    """Return one core for the measured program, and one for the backend and the load. Raise
    CannotRun.
    """
    available = sorted(os.sched_getaffinity(0))
    if len(available) < 2:
        raise CannotRun("needs two cores: one for what is measured, one for the load")
    return {available[0]}, {available[-1]}


def free_ports(count: int) -> list[int]:
    """Return different ports that are free now."""
    with ExitStack() as stack:
        held = [stack.enter_context(socket.socket()) for _ in range(count)]
        for sock in held:
            sock.bind(("127.0.0.1", 0))
        return [int(sock.getsockname()[1]) for sock in held]


def program(name: str, *elsewhere: str) -> str:
    """Return the path of a program, from PATH or one of the other places. Raise CannotRun."""
    for place in (name, *elsewhere):
        if found := shutil.which(place):
            return found
    raise CannotRun(f"{name} is not installed")


def compile_tools(folder: Path) -> tuple[Path, Path]:
    """Compile the backend and the load generator into a folder. Return both paths. Raise
    CannotRun.
    """
    built = []
    for name in ("mockllm", "sseload"):
        source = Path(__file__).with_name(f"{name}.c")
        command = [program("cc"), "-O2", "-w", "-o", str(folder / name), str(source)]
        if subprocess.run(command).returncode != 0:
            raise CannotRun(f"{source.name} does not compile")
        built.append(folder / name)
    return built[0], built[1]


@contextmanager
def running(
    command: Sequence[str],
    port: int,
    *,
    core: set[int],
    log: Path,
    stdout: Path | None = None,
    root: Path | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program on the cores `core` during the block, which begins when it listens on `port`.

    Python modules come from the checkout `root`, by default from this one. Raise
    CannotRun if it does not listen in time.
    """
    with log.open("ab") as errors, (stdout or log).open("ab") as out:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=errors,
            cwd=root or ROOT,
            env={**os.environ, "PYTHONPATH": str(root or ROOT)},
            preexec_fn=lambda: os.sched_setaffinity(0, core),
        )
    try:
        _wait(process, port, log)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def redis_server(folder: Path, core: set[int], port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run a private Redis during the block."""
    command = [program("redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    log = folder / "redis.log"
    with running([*command, "--dir", str(folder)], port, core=core, log=log) as process:
        yield process


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise CannotRun(f"{process.args!r} does not listen: {log.read_text()[-2000:]}")
