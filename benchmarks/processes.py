"""Programs under test: started on one core, waited for, stopped by pid."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_START_S = 15.0
_STOP_S = 5.0


def cores() -> tuple[set[int], set[int]]:
    """One core for what is measured, one for the backend and the load."""
    available = sorted(os.sched_getaffinity(0))
    return {available[0]}, {available[-1]}


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def compile_tools(folder: Path) -> tuple[Path, Path]:
    """The backend and the load, built into a folder."""
    built = []
    for name in ("mockllm", "sseload"):
        source = Path(__file__).with_name(f"{name}.c")
        command = ["cc", "-O2", "-w", "-o", str(folder / name), str(source)]
        subprocess.run(command, check=True)
        built.append(folder / name)
    return built[0], built[1]


@contextmanager
def running(
    command: Sequence[str], port: int, *, core: set[int], log: Path, stdout: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A program on one core, from when it listens on `port` to the end of the block."""
    with log.open("ab") as errors, (stdout or log).open("ab") as out:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=errors,
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


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"{process.args!r} does not listen: {log.read_text()[-2000:]}")
