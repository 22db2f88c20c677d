"""State of a serving process that outlives its configuration: a reload passes it on."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from structlog.typing import FilteringBoundLogger

from gateway.config import Config
from gateway.load.offload import Offload
from gateway.load.overload import BodyBudget, Overload, memory_for
from gateway.load.turn_writes import TurnWrites
from gateway.telemetry.logs.control import LogControl
from gateway.telemetry.metrics.registry import Registry
from gateway.telemetry.reports import Reports
from gateway.telemetry.traces.recording import TraceRecords
from gateway.upstream.tls import ClientContexts

_BODIES_SHARE = 4
"""Default share of a worker's memory for request bodies, as a divisor."""


@dataclass(frozen=True, slots=True)
class ProcessState:
    """State of one process."""

    logger: FilteringBoundLogger
    log: LogControl
    """Filter that decides which log lines are written."""
    overload: Overload
    bodies: BodyBudget
    offload: Offload
    """Helper process for large bodies."""
    folder: Path | None = None
    """Folder shared by the workers; None if there is only one process."""
    slot: int = 0
    """Index of this worker."""
    traces: Path | None = None
    """File of the local store of traces; None if there is none."""
    registry: Registry = field(default_factory=Registry)
    """Registry of the request metrics."""
    records: TraceRecords = field(default_factory=TraceRecords)
    """Buffer of the trace records."""
    reports: Reports = field(default_factory=Reports)
    """Ended requests that are not reported yet. They are before one of the two is read."""
    contexts: ClientContexts = field(default_factory=ClientContexts)
    """TLS contexts for backends."""
    writes: TurnWrites = field(default_factory=TurnWrites)
    """Writes to clients and backends that wait for the end of a turn of the event loop."""

    @classmethod
    def begin(
        cls,
        config: Config,
        logger: FilteringBoundLogger,
        *,
        log: LogControl | None = None,
        folder: Path | None = None,
        slot: int = 0,
        traces: Path | None = None,
    ) -> Self:
        """Return the state of a process that starts with this configuration."""
        options = config.telemetry.log
        return cls(
            logger,
            log or LogControl(options.level, options.sample),
            Overload(config.server.max_requests, _memory_cap(config)),
            BodyBudget(_body_memory_cap(config)),
            Offload(),
            folder,
            slot,
            traces,
        )

    def __post_init__(self) -> None:
        self.registry.due = self.records.due = self.reports.make

    def carry(self, config: Config) -> None:
        """Apply the caps of this configuration."""
        self.overload.set_caps(config.server.max_requests, _memory_cap(config))
        self.bodies.cap_bytes = _body_memory_cap(config)


def _memory_cap(config: Config) -> int:
    options = config.server
    return options.max_memory or memory_for(options.workers)


def _body_memory_cap(config: Config) -> int:
    return config.server.body_memory or _memory_cap(config) // _BODIES_SHARE
