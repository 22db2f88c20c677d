"""Savings and costs of compression: bytes, CPU time and memory."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway.demo.text import tokens_of
from gateway.proxy.compression import Coding, encoded, encoder
from gateway.response_writer import BodyEncoder

_CODINGS: tuple[Coding, ...] = ("gzip", "zstd", "br")
_EVENTS = 500
_STREAMS = 200
_ROUNDS = 5
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Cost:
    """Savings and costs of one coding."""

    saved: float
    """Bytes saved of a stream of chat completion chunks, in percent."""
    event_us: float
    stream_kib: float
    body_saved: float
    """Bytes saved of a whole answer, in percent."""
    body_us: float


def measure() -> Mapping[str, Cost]:
    """Measure every coding, each in a fresh process, so that memory is comparable. Takes some
    seconds.
    """
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        return {coding: pool.apply(_measure, (coding,)) for coding in _CODINGS}


def render(costs: Mapping[str, Cost]) -> str:
    """Return the costs as a table."""
    lines = ["coding  saved %  µs/event  KiB/stream  whole body: saved %     µs"]
    lines += [
        f"{name:6}{cost.saved:9.1f}{cost.event_us:10.1f}{cost.stream_kib:12.0f}"
        f"{cost.body_saved:21.1f}{cost.body_us:7.0f}"
        for name, cost in costs.items()
    ]
    return "\n".join(lines)


def _measure(coding: Coding) -> Cost:
    events = _events()
    plain = sum(map(len, events))
    times, sent = [], 0
    for _ in range(_ROUNDS):
        one = encoder(coding)
        started = time.process_time()
        sent = sum(len(one.feed(event)) for event in events)
        times.append((time.process_time() - started) / len(events))
    before = _rss_bytes()
    kept: list[BodyEncoder] = []
    for _ in range(_STREAMS):
        one = encoder(coding)
        kept.append(one)
        for event in events[:100]:
            one.feed(event)
    grown = _rss_bytes() - before
    body = _body()
    body_times, small = [], b""
    for _ in range(_ROUNDS * 10):
        started = time.process_time()
        small = encoded(body, coding)
        body_times.append(time.process_time() - started)
    return Cost(
        saved=100 * (1 - sent / plain),
        event_us=min(times) * 1e6,
        stream_kib=grown / len(kept) / 1024,
        body_saved=100 * (1 - len(small) / len(body)),
        body_us=min(body_times) * 1e6,
    )


def _tokens() -> list[str]:
    """Return the tokens of an English text that is about as repetitive as a real answer."""
    text = Path(__file__).with_name("README.md").read_text()
    return [*tokens_of("Hello"), *(f" {word}" for word in text.split())]


def _events() -> list[bytes]:
    tokens = _tokens()
    return [
        b"data: %b\n\n"
        % json.dumps(
            {
                "id": "chatcmpl-9x8f7a6b5c4d",
                "object": "chat.completion.chunk",
                "created": 1764000000,
                "model": "meta-llama/Llama-3.1-8B-Instruct",
                "choices": [
                    {
                        "index": 0,
                        "delta": {"content": tokens[number % len(tokens)]},
                        "logprobs": None,
                        "finish_reason": None,
                    }
                ],
            },
            separators=(",", ":"),
        ).encode()
        for number in range(_EVENTS)
    ]


def _body() -> bytes:
    message = {"role": "assistant", "content": "".join(_tokens())[:6500]}
    return json.dumps({"id": "chatcmpl-1", "choices": [{"message": message}]}).encode()


def _rss_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES
