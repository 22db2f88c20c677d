"""The structured log: structlog to bytes, one line an event, written off the event loop.

Every line is JSON in ASCII (orjson escapes control characters; we escape the rest), so nothing a
client sends can begin a second line or colour a terminal.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, BinaryIO, Protocol, Self, cast

import orjson
import structlog
from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

from gateway.telemetry.logs.console import ConsoleRenderer, has_colours
from gateway.telemetry.logs.control import LEVELS, LogControl
from gateway.telemetry.masking import mask_event

LogSink = Callable[[bytes], None]
"""Takes one finished line, newline included. Must not block."""


class LogOptions(Protocol):
    """What the configuration says of the log."""

    @property
    def format(self) -> str:
        """auto, json or console."""

    @property
    def level(self) -> str:
        """The lowest level kept."""


_BACKLOG_CAP_BYTES = 8 * 1024 * 1024
_GATHER_S = 0.02


def make_logger(
    sink: LogSink, *, level: str, console: bool, control: LogControl | None = None
) -> FilteringBoundLogger:
    """A logger whose lines go to `sink`: text for people, or JSON. With a `control`, that
    decides on the level.
    """
    control = control or LogControl(level)
    render = ConsoleRenderer(colours=has_colours()) if console else _render_json
    logger: FilteringBoundLogger = structlog.wrap_logger(
        _SinkLogger(sink),
        wrapper_class=_Logger,
        processors=[
            control.drop_below,
            _format_exception,
            mask_event,
            _stamp,
            render,
        ],
    )
    return logger


def writes(logger: FilteringBoundLogger) -> Callable[[str, str, EventDict], None]:
    """What writes a line of a logger that `make_logger` made, given its level, event and fields:
    without the copies that keyword arguments cost on their way.
    """
    return cast(_Logger, logger.bind()).write


class _Logger(structlog.make_filtering_bound_logger(LEVELS["debug"])):  # type: ignore[misc]
    """structlog's, and a way in for those who have their fields in a dict."""

    def write(self, level: str, event: str, fields: EventDict) -> None:
        line: Any = {**self._context, **fields, "event": event}
        with contextlib.suppress(structlog.DropEvent):
            for processor in self._processors:
                line = processor(self._logger, level, line)
            getattr(self._logger, level)(line)


class _SinkLogger:
    """What structlog calls with a rendered line."""

    __slots__ = ("debug", "error", "info", "warning")

    def __init__(self, sink: LogSink) -> None:
        self.debug = self.info = self.warning = self.error = sink


def _format_exception(logger: WrappedLogger, level: str, event: EventDict) -> EventDict:
    if "exc_info" not in event:
        return event  # as nearly all
    return structlog.processors.format_exc_info(logger, level, event)


def _stamp(_: WrappedLogger, level: str, event: EventDict) -> EventDict:
    event["level"] = level
    event["time"] = datetime.now(UTC)
    return event


def _render_json(_: WrappedLogger, __: str, event: EventDict) -> bytes:
    try:
        line = orjson.dumps(
            event,
            default=str,
            option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z | orjson.OPT_NON_STR_KEYS,
        )
    except TypeError:  # half of a surrogate pair, or a number of more than 64 bits
        return json.dumps(event, default=str).encode() + b"\n"
    if line.isascii() and b"\x7f" not in line:
        return line
    # U+2028 and bidirectional controls can rewrite a line on some screens.
    return json.dumps(orjson.loads(line)).replace("\x7f", "\\u007f").encode() + b"\n"


class StreamWriter:
    """A sink that writes to a file descriptor from its own thread.

    A blocked or full standard output never blocks serving: lines beyond a backlog of 8 MiB are
    dropped and counted.
    """

    def __init__(self, stream: BinaryIO | None = None) -> None:
        self._stream = stream or sys.stdout.buffer
        self._pending: deque[bytes] = deque()
        self._pending_bytes = 0
        self._wake = threading.Event()
        self._awake = False
        self._closing = False
        self.dropped = 0
        """Lines lost because nobody took them."""
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    def __call__(self, line: bytes) -> None:
        if self._pending_bytes > _BACKLOG_CAP_BYTES:
            self.dropped += 1
            return
        self._pending_bytes += len(line)
        self._pending.append(line)
        if not self._awake:
            self._awake = True
            self._wake.set()

    def close(self, timeout_s: float = 1.0) -> None:
        """Write what is left, for at most `timeout_s`."""
        self._closing = True
        self._wake.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._closing:
            self._wake.wait()
            self._wake.clear()
            # Waking a thread costs more than a line: let a few gather. Lines that come after
            # `_awake` is cleared wake us again.
            time.sleep(_GATHER_S)
            self._awake = False
            self._write_pending()
        self._write_pending()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write_pending(self) -> None:
        lines = [self._pending.popleft() for _ in range(len(self._pending))]
        for data, count in _in_pieces(lines):
            try:
                self._stream.write(data)
                self._stream.flush()
            except (OSError, ValueError):
                # Disk full or pipe closed: there is nowhere to complain to.
                self.dropped += count
            self._pending_bytes -= len(data)


def _in_pieces(lines: Sequence[bytes]) -> Iterator[tuple[bytes, int]]:
    """Whole lines, as many as a pipe takes at once, and how many they are.

    Several processes write to one pipe, and what is longer may be cut up between them (pipe(7)).
    """
    piece: list[bytes] = []
    size = 0
    for line in lines:
        if piece and size + len(line) > select.PIPE_BUF:
            yield b"".join(piece), len(piece)
            piece, size = [], 0
        piece.append(line)
        size += len(line)
    if piece:
        yield b"".join(piece), len(piece)


def is_console(options: LogOptions) -> bool:
    """Whether lines are for people."""
    return options.format == "console" or (options.format == "auto" and sys.stdout.isatty())


def direct_logger(options: LogOptions) -> FilteringBoundLogger:
    """A logger without a thread, for a process that forks: lines nobody takes now are lost."""

    def write(line: bytes) -> None:
        with contextlib.suppress(OSError):
            if select.select((), (1,), (), 0)[1]:
                os.write(1, line)

    return make_logger(write, level=options.level, console=is_console(options))
