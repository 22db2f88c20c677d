"""What a serving process has once, whatever configuration it serves: a reload hands it on."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from structlog.typing import FilteringBoundLogger

from gateway.config import Config
from gateway.offload import Offload
from gateway.overload import BodyBudget, Overload, memory_for
from gateway.telemetry.logs.control import LogControl
from gateway.telemetry.metrics.registry import Registry
from gateway.telemetry.traces.recording import Records

_BODIES_SHARE = 4
"""Request bodies may take this part of a worker's memory, where nothing else is said."""


@dataclass(frozen=True, slots=True)
class ProcessState:
    """Of one process."""

    logger: FilteringBoundLogger
    log: LogControl
    """Which lines are written."""
    overload: Overload
    bodies: BodyBudget
    offload: Offload
    """What parses large bodies."""
    folder: Path | None = None
    """One that the workers share; None: there is one process."""
    slot: int = 0
    """This one's place among them."""
    registry: Registry = field(default_factory=Registry)
    """What requests are counted in."""
    records: Records = field(default_factory=Records)
    """Where they are written down."""

    @classmethod
    def begin(
        cls,
        config: Config,
        logger: FilteringBoundLogger,
        *,
        log: LogControl | None = None,
        folder: Path | None = None,
        slot: int = 0,
    ) -> Self:
        """That of a process which begins with this configuration."""
        options = config.telemetry.log
        return cls(
            logger,
            log or LogControl(options.level, options.sample),
            Overload(config.server.max_requests, _memory_cap(config)),
            BodyBudget(_body_memory_cap(config)),
            Offload(),
            folder,
            slot,
        )

    def carry(self, config: Config) -> None:
        """From now on as much as this configuration says."""
        self.overload.max_requests = config.server.max_requests
        self.overload.max_memory_bytes = _memory_cap(config)
        self.bodies.cap_bytes = _body_memory_cap(config)


def _memory_cap(config: Config) -> int:
    options = config.server
    return options.max_memory or memory_for(options.workers)


def _body_memory_cap(config: Config) -> int:
    return config.server.body_memory or _memory_cap(config) // _BODIES_SHARE
