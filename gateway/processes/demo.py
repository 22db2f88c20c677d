"""The demo backend as a process of its own."""

from __future__ import annotations

from gateway.config import models
from gateway.demo.backend import DemoBackend
from gateway.processes.child import orders, say_ready, say_why
from gateway.processes.sockets import cannot_listen, split_address


async def serve_demo(options: models.Demo, said: int, master: int) -> None:
    """Serve until told to stop; `said` and `master` are the pipes of a child."""
    host, port = split_address(options.listen)
    backend = DemoBackend(pace_s=options.pace)
    try:
        await backend.start(host, port)
    except OSError as exc:
        why = cannot_listen(options.listen, exc, "demo.listen")
        say_why(said, f"gateway: the demo backend {why}", 3)
        return
    stop = orders(master)
    say_ready(said, backend.url)
    await stop.get()
    await backend.stop()
