"""The structured log: structlog renders bytes, one line an event, written off the event loop.

Every line is JSON in ASCII (orjson escapes control characters, this module the rest). Client input
can therefore neither start a second line nor send colours to a terminal.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import stat
import sys
import threading
import time
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import accumulate
from typing import BinaryIO, Protocol, Self, cast

import orjson
import structlog
from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

from gateway.masking import mask_event
from gateway.telemetry.logs.console import ConsoleRenderer, has_colours
from gateway.telemetry.logs.control import LEVELS, LogControl
from gateway.telemetry.logs.json_text import quoted

LogSink = Callable[[bytes], None]
"""Take finished lines, newlines included: nearly always one. Must not block."""


class LogOptions(Protocol):
    """Log settings in the configuration."""

    @property
    def format(self) -> str:
        """Output format: auto, json or console."""

    @property
    def level(self) -> str:
        """Minimum level that is written."""


_BACKLOG_CAP_BYTES = 8 * 1024 * 1024
_FILE_WRITE_BYTES = 64 * 1024
_GATHER_S = 0.02


def make_logger(
    sink: LogSink, *, level: str, console: bool, control: LogControl | None = None
) -> FilteringBoundLogger:
    """Return a logger that passes its lines to `sink`: text for people, or JSON. If there is a
    `control`, it sets the level.
    """
    control = control or LogControl(level)
    render = ConsoleRenderer(colours=has_colours()) if console else _render_json
    logger: FilteringBoundLogger = structlog.wrap_logger(
        _SinkLogger(sink, control, console),
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


def line_writer(logger: FilteringBoundLogger, event: str) -> Callable[[Sequence[str]], None]:
    """Return a function that writes info lines of a `make_logger` logger, all with the same time.

    It takes the fields of each line as JSON members without braces
    (`"status":200,"end":"complete"`), in printable ASCII, with secrets masked. This avoids a dict
    and an encoder for each line, and lines that come together share the rest.
    """
    bound = cast(_Logger, logger.bind())
    output = bound.output
    if output.console:

        def write_for_people(lines: Sequence[str]) -> None:
            for members in lines:
                bound.info(event, **json.loads(f"{{{members}}}"))

        return write_for_people

    control, sink, least = output.control, output.info, LEVELS["info"]
    context = mask_event(None, "", dict(structlog.get_context(bound)))
    head = "{" + "".join(f"{quoted(name)}:{json.dumps(value)}," for name, value in context.items())
    tail = f',"event":{quoted(event)},"level":"info","time":"'

    second_ns, upto_second = 0, f"{tail}1970-01-01T00:00:00."

    def write(lines: Sequence[str]) -> None:
        nonlocal second_ns, upto_second
        if control.least > least:
            return
        since_ns = time.time_ns() - second_ns
        if not 0 <= since_ns < 1_000_000_000:  # the text of a second is kept: it costs the most
            second, since_ns = divmod(second_ns + since_ns, 1_000_000_000)
            second_ns = second * 1_000_000_000
            upto_second = tail + time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second))
        end = f'{upto_second}{str(since_ns // 1000).zfill(6)}Z"}}\n'
        sink(f"{head}{f'{end}{head}'.join(lines)}{end}".encode())

    return write


class _Logger(structlog.make_filtering_bound_logger(LEVELS["debug"])):  # type: ignore[misc]
    """structlog's bound logger, with access to the output of its lines."""

    @property
    def output(self) -> _SinkLogger:
        """Output of finished lines."""
        return cast(_SinkLogger, self._logger)


class _SinkLogger:
    """Logger that structlog calls with a rendered line."""

    __slots__ = ("console", "control", "debug", "error", "info", "warning")

    def __init__(self, sink: LogSink, control: LogControl, console: bool) -> None:
        self.debug = self.info = self.warning = self.error = sink
        self.control = control
        self.console = console


def _format_exception(logger: WrappedLogger, level: str, event: EventDict) -> EventDict:
    if "exc_info" not in event:
        return event  # the usual case
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
    except TypeError:  # half of a surrogate pair, or an integer of more than 64 bits
        text = json.dumps(event, default=str)
    else:
        if line.isascii() and b"\x7f" not in line:
            return line
        # U+2028 and bidirectional controls can rewrite a line on some screens.
        text = json.dumps(orjson.loads(line))
    return text.replace("\x7f", "\\u007f").encode() + b"\n"


class LogWriter:
    """A sink that writes to a stream from a thread of its own.

    A blocked or full standard output never blocks serving: lines beyond a backlog of 8 MiB are
    dropped and counted.
    """

    def __init__(self, stream: BinaryIO | None = None) -> None:
        self._stream = stream or sys.stdout.buffer
        self._write_cap_bytes = write_cap_bytes(self._stream)
        self._pending: deque[bytes] = deque()
        # Only callers change the first and only the thread changes the second, because `+=` on one
        # attribute in two threads loses updates.
        self._added_bytes = self._written_bytes = 0
        self._wake = threading.Event()
        self._awake = False
        self._closing = False
        self.dropped = 0
        """Number of lines lost because they could not be written in time."""
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    def __call__(self, lines: bytes) -> None:
        if self._added_bytes - self._written_bytes > _BACKLOG_CAP_BYTES:
            self.dropped += lines.count(b"\n")
            return
        self._added_bytes += len(lines)
        self._pending.append(lines)
        if not self._awake:
            self._awake = True
            self._wake.set()

    def close(self, timeout_s: float = 1.0) -> None:
        """Write the remaining lines, for at most `timeout_s` seconds."""
        self._closing = True
        self._wake.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._closing:
            self._wake.wait()
            self._wake.clear()
            # Waking a thread costs more than writing a line, so gather a few lines first, and look
            # by the clock as long as lines come. Lines that come after `_awake` is cleared wake the
            # thread again.
            time.sleep(_GATHER_S)
            while self._pending and not self._closing:
                self._write_pending()
                time.sleep(_GATHER_S)
            self._awake = False
            self._write_pending()
        self._write_pending()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write_pending(self) -> None:
        pending = [self._pending.popleft() for _ in range(len(self._pending))]
        for data in in_pieces(pending, self._write_cap_bytes):
            try:
                self._stream.write(data)
                self._stream.flush()
            except (OSError, ValueError):
                # The disk is full or the pipe is closed, so the error cannot be logged either.
                self.dropped += data.count(b"\n")
            self._written_bytes += len(data)


def write_cap_bytes(stream: BinaryIO) -> int:
    """Return the size up to which a write is not interleaved with those of other processes: any
    size for a file on Linux, PIPE_BUF for a pipe (pipe(7)).
    """
    try:
        is_file = stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except (OSError, ValueError):  # closed, or in memory
        is_file = False
    return _FILE_WRITE_BYTES if is_file else select.PIPE_BUF


def in_pieces(groups: Iterable[bytes], cap_bytes: int) -> Iterator[bytes]:
    """Join groups of whole lines up to a size. A larger group is cut between its lines; a longer
    line is a piece of its own.
    """
    parts: list[bytes] = []
    for group in groups:
        parts += (group,) if len(group) <= cap_bytes else group.splitlines(keepends=True)
    ends = list(accumulate(map(len, parts)))
    first = size = 0
    while first < len(parts):
        end = max(first + 1, bisect_right(ends, size + cap_bytes))
        yield b"".join(parts[first:end])
        first, size = end, ends[end - 1]


def is_console(options: LogOptions) -> bool:
    """True if lines are for people."""
    return options.format == "console" or (options.format == "auto" and sys.stdout.isatty())


def direct_logger(options: LogOptions) -> FilteringBoundLogger:
    """Return a logger without a thread, for a process that forks. Drops lines that would block."""

    def write(line: bytes) -> None:
        with contextlib.suppress(OSError):
            if select.select((), (1,), (), 0)[1]:
                os.write(1, line)

    return make_logger(write, level=options.level, console=is_console(options))
