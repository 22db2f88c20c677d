"""A channel with many followers on one worker: latency of an event, CPU time, and memory.

One publisher publishes ten events a second. Latency is from the moment before an event is sent to
the gateway, to the moment when a follower has read it. The load reads all followers with one thread
on a core of its own, so that its share of the latency of the last followers is large.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.answers import WrongAnswer
from benchmarks.peers import JWT, gateway
from benchmarks.processes import cores, free_ports, running
from benchmarks.processor import cpu_us, pss_kib, worker_of
from benchmarks.tokens import bearer, public_pem

_PER_S = 10
_OPENING_S = 30.0
_WARM_SHARE = 0.2
"""Share of its duration in which the load counts nothing, before that."""
_TOPIC = "/v1/channels/news"


@dataclass(frozen=True, slots=True)
class Broadcast:
    """Result for one number of followers. Times are in milliseconds."""

    followers: int
    events: int
    """Events that followers have read."""
    expected: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float
    cpu_percent: float
    """CPU time of the worker, in percent of a core."""
    lag_ms: float
    """Longest lag of the worker's event loop."""
    before_kib: int
    after_kib: int
    """Memory of the worker without and with followers."""


def measure(sseload: Path, folder: Path, followers: int, seconds: float) -> list[Broadcast]:
    """Return the results for a tenth of the followers, half of them, and all. Raise WrongAnswer."""
    counts = sorted({max(1, followers // 10), max(1, followers // 2), followers})
    return [_measure(sseload, folder, count, seconds) for count in counts]


def render(found: Sequence[Broadcast]) -> str:
    """Return the results as a table."""
    lines = [
        "| Followers | received | p50 | p90 | p99 | max | loop lag | CPU | memory | per follower |",
        "|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for one in found:
        each_kib = (one.after_kib - one.before_kib) / one.followers
        lines.append(
            f"| {one.followers:,} | {one.events / one.expected:.1%} | {one.p50_ms:.0f} ms "
            f"| {one.p90_ms:.0f} ms | {one.p99_ms:.0f} ms | {one.max_ms:.0f} ms "
            f"| {one.lag_ms:.0f} ms | {one.cpu_percent:.0f} % | {one.after_kib / 1024:.0f} MiB "
            f"| {each_kib:.1f} KiB |"
        )
    return "\n".join(lines)


def _measure(sseload: Path, folder: Path, followers: int, seconds: float) -> Broadcast:
    ours, theirs = cores()
    port, nowhere, admin = free_ports(3)
    (folder / "public.pem").write_bytes(public_pem())
    room = followers + 100
    command = gateway(
        folder,
        port,
        nowhere,
        server={"max_connections": room, "max_requests": room},
        route={
            "path": "/v1/",
            "auth": ["bench"],
            "channels": {
                "publish": ["publish"],
                "max_followers": room,
                "max_per_caller": room,
                "events": None,
            },
        },
        auth={"bench": JWT},
        admin={"listen": f"127.0.0.1:{admin}"},
        telemetry={"log": {"access": False}},
    )
    log = folder / "log"
    publisher = bearer(scope="publish")
    opening_s = max(4.0, followers / 1000)
    total_s = (opening_s + seconds) / (1 - _WARM_SHARE)
    load = [str(sseload), "-p", str(port), "-g", "-c", str(followers), "-u", _TOPIC]
    load += ["-d", f"{total_s / 1.2:.1f}", "-a", bearer()]
    with running(command, port, core=ours, log=log):
        worker = worker_of(admin, theirs)
        _publish(port, publisher, 1, 0.0)
        before_kib = pss_kib([worker])
        with subprocess.Popen(
            load,
            stdout=subprocess.PIPE,
            preexec_fn=lambda: os.sched_setaffinity(0, theirs),
        ) as process:
            begun = time.monotonic()
            while _followers(port, publisher) < followers:
                if time.monotonic() - begun > _OPENING_S:
                    process.kill()
                    raise WrongAnswer(f"not all of {followers} followers are connected")
                time.sleep(0.1)
            warm_s = total_s * _WARM_SHARE + opening_s / 2
            time.sleep(max(0.0, begun + warm_s - time.monotonic()))
            after_kib = pss_kib([worker])
            spent_us, since = cpu_us([worker]), time.monotonic()
            count = int(_PER_S * (begun + total_s - 1.0 - time.monotonic()))
            _publish(port, publisher, count, 1 / _PER_S)
            percent = (cpu_us([worker]) - spent_us) / (time.monotonic() - since) / 1e4
            lag_ms = _lag_ms(admin)
            said = json.loads(process.communicate()[0])
    if said["errors"] or said["non200"]:
        raise WrongAnswer(f"followers were refused or cut: {said}")
    relay_ms = {name: value / 1e3 for name, value in said["relay_us"].items() if name != "cdf"}
    return Broadcast(
        followers,
        events=said["events"],
        expected=count * followers,
        p50_ms=relay_ms["p50"],
        p90_ms=relay_ms["p90"],
        p99_ms=relay_ms["p99"],
        max_ms=relay_ms["max"],
        cpu_percent=percent,
        lag_ms=lag_ms,
        before_kib=before_kib,
        after_kib=after_kib,
    )


def _publish(port: int, token: str, count: int, every_s: float) -> None:
    """Publish events that tell the time at which they are sent. Raise WrongAnswer."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    headers = {"Authorization": f"Bearer {token}"}
    due = time.monotonic()
    padding = "x" * 150
    for _ in range(count):
        time.sleep(max(0.0, due - time.monotonic()))
        due += every_s
        connection.request("POST", _TOPIC, f"t={time.monotonic_ns()} {padding}", headers)
        response = connection.getresponse()
        if response.status != 201:
            raise WrongAnswer(f"an event was answered {response.status}")
        response.read()
    connection.close()


def _followers(port: int, token: str) -> int:
    asked = urllib.request.Request(
        f"http://127.0.0.1:{port}{_TOPIC}/presence", headers={"Authorization": f"Bearer {token}"}
    )
    with urllib.request.urlopen(asked) as said:  # noqa: S310 -- a port of this machine
        return int(json.load(said)["followers"])


def _lag_ms(admin: int) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{admin}/metrics") as said:
        lines = said.read().decode().splitlines()
    name = "gateway_event_loop_lag_seconds{"
    return max(1e3 * float(line.split()[-1]) for line in lines if line.startswith(name))
