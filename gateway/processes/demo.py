"""Demo backend as a separate process."""

from __future__ import annotations

import socket

from gateway.config import models
from gateway.demo.backend import DemoBackend
from gateway.processes.child import report_ready, stop_signals
from gateway.processes.sockets import split_address


async def serve_demo(
    options: models.Demo, listening: socket.socket, status: int, master: int
) -> None:
    """Serve until SIGTERM or the end of the master. `status` and `master` are its pipes."""
    backend = DemoBackend(pace_s=options.pace)
    await backend.start(split_address(options.listen)[0], listening=listening)
    stop = stop_signals(master)
    report_ready(status, backend.url)
    await stop.get()
    await backend.stop()
