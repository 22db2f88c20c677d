"""Load generator: runs sseload and reads its figures."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.answers import WrongAnswer

_COUNTED = 1 / 1.2
"""Share of the time that sseload counts; it warms up before."""
UNARY, STREAM = "mock-20-0", "mock-50-20000"
"""Models of mockllm: an immediate answer, and 50 events at intervals of 20 ms."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures of one peer in one round. Times are in µs."""

    rps: float
    single_p50: float
    ttft_p50: float
    ttft_p99: float
    relay_p50: float
    relay_p99: float


class Load:
    """Load from one core."""

    def __init__(self, tool: Path, core: set[int], seconds: float) -> None:
        self._tool = tool
        self._core = core
        self._seconds = seconds

    def measure(self, port: int, token: str | None) -> Figures:
        """Return all figures of a peer. Raise WrongAnswer."""
        many = self._run(port, token, connections=64)
        one = self._run(port, token, connections=1)
        streams = self._run(port, token, connections=200, stream=True)
        return Figures(
            rps=many["rps"],
            single_p50=one["total_us"]["p50"],
            ttft_p50=streams["ttfb_us"]["p50"],
            ttft_p99=streams["ttfb_us"]["p99"],
            relay_p50=streams["relay_us"]["p50"],
            relay_p99=streams["relay_us"]["p99"],
        )

    def events(self, port: int, connections: int) -> int:
        """Return the approximate number of events of so many concurrent streams. Raise
        WrongAnswer.
        """
        counted = self._run(port, None, connections=connections, stream=True)["events"]
        return int(counted / _COUNTED)

    def requests(self, port: int, token: str, connections: int) -> int:
        """Return the approximate number of requests answered. Raise WrongAnswer."""
        counted = self._run(port, token, connections=connections)["reqs"]
        return int(counted / _COUNTED)

    def _run(
        self, port: int, token: str | None, *, connections: int, stream: bool = False
    ) -> dict[str, Any]:
        command = [str(self._tool), "-p", str(port), "-c", str(connections)]
        command += ["-d", str(self._seconds), "-m", STREAM if stream else UNARY]
        command += ["-s"] if stream else []
        command += ["-a", token] if token else []
        said = subprocess.run(
            command,
            check=True,
            capture_output=True,
            text=True,
            preexec_fn=lambda: os.sched_setaffinity(0, self._core),
        )
        figures: dict[str, Any] = json.loads(said.stdout)
        # Requests in flight at the end count neither as errors nor as requests.
        if figures["errors"] or figures["non200"] or not figures["reqs"]:
            raise WrongAnswer(f"under load: {said.stdout}")
        # For a stream that ends just when the warm-up ends, sseload may count the end without its
        # [DONE].
        if stream and figures["done"] < figures["reqs"] - connections:
            raise WrongAnswer(f"streams without [DONE]: {said.stdout}")
        for needed in ("total_us", "ttfb_us", "relay_us")[: 3 if stream else 1]:
            if needed not in figures:
                raise WrongAnswer(f"nothing to tell of {needed}, is it too slow?: {said.stdout}")
        return figures
