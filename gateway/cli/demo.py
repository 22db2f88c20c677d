"""`gateway demo`: run the demo backend alone."""

from __future__ import annotations

import argparse
import asyncio
import signal

import uvloop

from gateway.cli.failures import EXIT_OK, WrongUsage
from gateway.config.types import check_listen
from gateway.config.units import parse_duration
from gateway.demo import DemoBackend, faults
from gateway.processes.sockets import cannot_listen, split_address
from gateway.server.cannot_start import CannotStart


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments of `gateway demo`."""
    parser.description = (
        "Plays OpenAI, Anthropic and Ollama without a model. A model named demo-FAULT, "
        "or the header `x-demo-fault: FAULT`, makes it fail: "
        f"{', '.join(faults.FaultKind)}; `reset@5` after five tokens."
    )
    parser.add_argument("--listen", default="127.0.0.1:8081", help="HOST:PORT (%(default)s)")
    parser.add_argument("--pace", default="20ms", help="time between two tokens (%(default)s)")
    parser.set_defaults(run=_demo)


def _demo(arguments: argparse.Namespace) -> int:
    try:
        pace_s = parse_duration(arguments.pace)
        host, port = split_address(check_listen(arguments.listen))
    except ValueError as exc:
        raise WrongUsage(str(exc)) from exc

    async def serve() -> None:
        backend = DemoBackend(pace_s=pace_s)
        try:
            await backend.start(host or "0.0.0.0", port)  # noqa: S104 -- asked for by name
        except OSError as exc:
            raise CannotStart(cannot_listen(arguments.listen, exc, "--listen")) from exc
        print(f"demo backend on {backend.url}", flush=True)
        ended = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, ended.set)
        await ended.wait()
        await backend.stop()

    uvloop.run(serve())
    return EXIT_OK
