"""Workloads that every peer is measured with, and what one run of the load generator found."""

from __future__ import annotations

import json
import math
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.answers import WrongAnswer
from benchmarks.processes import cores

_SLACK_S = 20.0
"""Time for answers that are under way at the end."""
_SLOWEST_S = 5.0
"""Time after which a system without an answer has failed."""
MESSAGES = "/v1/messages"
"""Path of chats in Anthropic's API."""
_SHARES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999)
"""Shares that sseload prints the percentiles of."""


@dataclass(frozen=True, slots=True)
class Workload:
    """Load that sseload makes, from one core, in a closed loop."""

    name: str
    title: str
    connections: int
    model: str = "mock-20-0"
    """Answer of the backend: `mock-EVENTS-INTERVAL_US`. Without `stream`, one JSON document."""
    stream: bool = False
    burst: bool = False
    """Whether all connections send at one instant, and again when all are answered."""
    body_bytes: int = 0
    """Bytes added to the request's body."""
    close: bool = False
    """Whether every request has a connection of its own."""

    least_s: float = 0.0
    """Time below which a run says little: a stream takes as long."""
    most_rounds: int = 100
    """Rounds of a long run, if more are measured of others."""
    translated: bool = False
    """Whether the callers speak Anthropic's API."""

    @property
    def unit(self) -> str:
        """What the CPU time is divided by. The requests of a burst cost more than their events."""
        return "event" if self.stream and not self.burst else "request"

    @property
    def events_per_s(self) -> float:
        """Events/s of all streams together, if the backend waits between events."""
        interval_us = int(self.model.rsplit("-", 1)[1])
        return self.connections * 1e6 / interval_us if interval_us else math.inf

    def warm(self, tool: Path, port: int, token: str | None, seconds: float) -> float:
        """Run the load until there are answers. Return how many seconds that takes, `seconds` or
        more. Raise WrongAnswer.
        """
        seconds = max(seconds, self.least_s)
        while not self.run(tool, port, token, seconds).units:
            if seconds > _SLOWEST_S:
                raise WrongAnswer(f"{self.name}: nothing in {seconds:.0f} s")
            seconds *= 4
        return seconds

    def run(self, tool: Path, port: int, token: str | None, seconds: float) -> Run:
        """Run the load for some 1.2 times so many seconds, on the core of the load. Raise
        WrongAnswer.
        """
        _, core = cores()
        command = [str(tool), "-p", str(port), "-c", str(self.connections), "-d", str(seconds)]
        command += ["-m", self.model, "-k", str(self.body_bytes)]
        command += ["-s"] if self.stream else []
        command += ["-b"] if self.burst else []
        command += ["-H", "Connection: close"] if self.close else []
        command += ["-a", token] if token else []
        command += ["-u", MESSAGES, "-e", '"max_tokens":100,'] if self.translated else []
        try:
            said = subprocess.run(
                command,
                check=True,
                capture_output=True,
                text=True,
                timeout=2 * seconds + _SLACK_S,
                preexec_fn=lambda: os.sched_setaffinity(0, core),
            )
        except subprocess.TimeoutExpired as exc:
            raise WrongAnswer(f"{self.name}: no end after {exc.timeout:.0f} s") from None
        run = Run(self, json.loads(said.stdout))
        if run.faults:
            raise WrongAnswer(f"{self.name}: {said.stdout}")
        return run


@dataclass(frozen=True, slots=True)
class Run:
    """What sseload counted."""

    workload: Workload
    figures: dict[str, Any]

    @property
    def faults(self) -> bool:
        """Whether an answer failed, was refused or was cut. Requests in flight at the end are
        neither.
        """
        said = self.figures
        # For a stream that ends just when the warm-up ends, sseload may count the end without its
        # [DONE].
        cut = self.workload.stream and said["done"] < said["reqs"] - self.workload.connections
        return bool(said["errors"] or said["non200"] or cut)

    @property
    def units(self) -> int:
        """Requests or events, those of the warm-up included."""
        return int(self.figures["all_events" if self.workload.unit == "event" else "all_reqs"])

    @property
    def rate(self) -> float:
        """Requests or events for each second."""
        return float(self.figures["eps" if self.workload.unit == "event" else "rps"])

    def distribution_us(self, what: str) -> list[tuple[float, float]]:
        """Return times of `ttfb`, `cold`, `total` or `relay`, each with the share that took no
        longer.
        """
        found = self.figures.get(f"{what}_us")
        return [] if found is None else list(zip(found["cdf"], _SHARES, strict=True))

    def time_us(self, what: str, percentile: str) -> float | None:
        """Return a percentile (`p50`, `p90`, `p99` or `max`) of `ttfb`, `cold`, `total` or `relay`.
        None if there was none.
        """
        found = self.figures.get(f"{what}_us")
        return None if found is None else float(found[percentile])


WORKLOADS = {
    each.name: each
    for each in (
        Workload("unary64", "small answers, 64 connections", 64),
        Workload("unary1", "small answers, 1 connection", 1),
        Workload("unary512", "small answers, 512 connections", 512),
        Workload("unary32k", "request bodies of 32 KiB, 64 connections", 64, body_bytes=32_000),
        Workload("unary1m", "request bodies of 1 MiB, 16 connections", 16, body_bytes=2**20),
        Workload("churn", "a connection for each request, 64 at a time", 64, close=True),
        Workload("flood", "streams as fast as they come, 64", 64, "mock-100-0", stream=True),
        Workload(
            "paced", "200 streams of 50 events/s", 200, "mock-50-20000", stream=True, least_s=2.0
        ),
        Workload(
            "paced2000",
            "2 000 streams of 20 events/s",
            2000,
            "mock-60-50000",
            stream=True,
            least_s=4.0,
            most_rounds=3,
        ),
        Workload(
            "burst",
            "200 streams that begin at one instant",
            200,
            "mock-25-20000",
            stream=True,
            burst=True,
        ),
        Workload(
            "burst2000",
            "2 000 streams that begin at one instant",
            2000,
            "mock-20-50000",
            stream=True,
            burst=True,
            most_rounds=3,
        ),
        Workload("translated64", "translated answers, 64 connections", 64, translated=True),
        Workload("translated1", "translated answers, 1 connection", 1, translated=True),
        Workload(
            "translated-flood",
            "translated streams as fast as they come, 64",
            64,
            "mock-100-0",
            stream=True,
            translated=True,
        ),
    )
}
