"""Reload of the configuration: a valid file replaces the configuration of all workers, or of none.

First the file is read and checked here. Then every worker builds the new runtime beside the current
one. The workers switch only if all of them succeeded.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from structlog.typing import FilteringBoundLogger

from gateway.admin.config_changes import Change, changes
from gateway.admin.fleet import Fleet, WorkerReply
from gateway.config import Config, ConfigError, Loaded, keep, load_source

_WATCH_S = 0.5
_PATIENCE_S = 15.0
"""Time to wait for the replacement of a worker that died during a reload."""
_AGAIN_S = 0.25
_KEPT = 20
"""Number of reloads that are remembered."""
_MOST_CHANGES = 200


@dataclass(frozen=True, slots=True)
class Outcome:
    """Outcome of one reload."""

    at: float
    """Time of the reload, in seconds since the epoch."""
    why: str
    """What asked for it."""
    problems: tuple[str, ...] = ()
    """Reasons why nothing was changed; empty if the reload succeeded."""
    restart: tuple[str, ...] = ()
    """Changed settings that take effect only after a restart."""
    changes: tuple[Change, ...] = ()
    """Differences from the configuration before; at most `_MOST_CHANGES`."""
    more_changes: int = 0
    """Number of further differences."""

    @property
    def document(self) -> dict[str, Any]:
        """Outcome as a document of the API."""
        return {
            "ok": not self.problems,
            "at": self.at,
            "why": self.why,
            "problems": list(self.problems),
            "needs_restart": list(self.restart),
            "changes": [one.document for one in self.changes],
            "more_changes": self.more_changes,
        }


class Reloader:
    """Reload of one configuration file, for all workers."""

    def __init__(
        self, loaded: Loaded, kept: Path, fleet: Fleet, logger: FilteringBoundLogger
    ) -> None:
        """Create the reloader. `kept` is the file from which later workers load it."""
        self.loaded = loaded
        """Configuration that is served now."""
        self.outcomes: deque[Outcome] = deque(maxlen=_KEPT)
        """Latest reloads, oldest first."""
        self.counts: Counter[str] = Counter(ok=0, failed=0)
        """Number of reloads by outcome: `ok` or `failed`."""
        self._started = loaded.config
        self._kept = kept
        self._fleet = fleet
        self._logger = logger
        self._file = Path(loaded.source.name)
        self._one_at_a_time = asyncio.Lock()
        self._seen = self._version()

    async def reload(self, why: str) -> Outcome:
        """Read the file again, apply it if possible, and log the outcome."""
        async with self._one_at_a_time:
            self._seen = self._version()
            outcome = await self._reload(why)
            self.outcomes.append(outcome)
            self.counts["failed" if outcome.problems else "ok"] += 1
        if outcome.problems:
            self._logger.error("reload_failed", why=why, problems=list(outcome.problems))
        else:
            changed = [one.path for one in outcome.changes]
            restart = list(outcome.restart)
            self._logger.info("reloaded", why=why, needs_restart=restart, changed=changed)
        return outcome

    @property
    def last(self) -> Outcome | None:
        """Latest reload; None if there was none."""
        return self.outcomes[-1] if self.outcomes else None

    @property
    def file(self) -> Path:
        """Absolute path of the configuration file."""
        return self._file.absolute()

    async def watch(self) -> None:
        """Reload when the file changes, while `server.watch` is set. Runs until cancelled."""
        while True:
            await asyncio.sleep(_WATCH_S)
            version = self._version()
            if self.loaded.config.server.watch and version not in (None, self._seen):
                await self.reload("the file changed")

    async def _reload(self, why: str) -> Outcome:
        try:
            loaded = load_source(self._file)
        except ConfigError as exc:
            return self._outcome(why, *(str(problem) for problem in exc.problems))
        document = {
            "text": loaded.text,
            "name": loaded.source.name,
            "base": str(loaded.base.absolute()),
        }
        replies = await self._built(document)
        if not all(one.ok for one in replies):
            await self._fleet.ask("POST", "/abandon")
            reasons = [
                p for one in replies if one.document for p in one.document.get("problems", ())
            ]
            silent = [f"worker {one.worker} does not answer" for one in replies if not one.status]
            problems = dict.fromkeys([*reasons, *silent]) or ["it cannot be built"]
            return self._outcome(why, *problems)
        # A worker that starts from now on serves the new configuration. So does the replacement of
        # a worker that dies before it has switched.
        keep(loaded, self._kept)
        await self._fleet.ask("POST", "/commit")
        before, self.loaded = self.loaded.config, loaded
        return self._outcome(why, found=changes(before, loaded.config))

    def _outcome(self, why: str, *problems: str, found: Sequence[Change] = ()) -> Outcome:
        # Compare with the configuration at the start, not with the last one served: the restart
        # stays necessary until it happens.
        restart = _needs_restart(self._started, self.loaded.config)
        more = max(0, len(found) - _MOST_CHANGES)
        return Outcome(time.time(), why, problems, restart, tuple(found[:_MOST_CHANGES]), more)

    async def _built(self, document: Any) -> list[WorkerReply]:
        """Let the workers build a configuration, and return their replies, without those of absent
        workers: these will start with it. If a worker dies meanwhile, wait for its replacement, and
        build again.
        """
        patience = asyncio.get_running_loop().time() + _PATIENCE_S
        while True:
            replies = await self._fleet.build(document)
            present = [one for one in replies if not one.absent]
            refused = any(one.status and not one.ok for one in replies)
            late = asyncio.get_running_loop().time() >= patience
            if refused or late or (present and all(one.ok for one in present)):
                return present or replies
            await self._fleet.ask("POST", "/abandon")
            await asyncio.sleep(_AGAIN_S)

    def _version(self) -> tuple[int, int, int] | None:
        try:
            found = self._file.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino


def _needs_restart(old: Config, new: Config) -> tuple[str, ...]:
    parts = (
        ("server.listen", old.server.listen, new.server.listen),
        ("server.tls", old.server.tls, new.server.tls),
        ("server.workers", old.server.workers, new.server.workers),
        ("admin", old.admin, new.admin),
        ("demo", old.demo, new.demo),
        ("telemetry.log", old.telemetry.log, new.telemetry.log),
        ("telemetry.metrics.otlp", _sends(old), _sends(new)),
        ("telemetry.traces", _collected(old), _collected(new)),
    )
    return tuple(name for name, was, will in parts if was != will)


def _sends(config: Config) -> tuple[str, float] | None:
    metrics = config.telemetry.metrics
    return None if metrics is None or metrics.otlp is None else (metrics.otlp, metrics.interval)


def _collected(config: Config) -> object:
    """Return the trace settings that the admin process uses; only the workers use the others."""
    traces = config.telemetry.traces
    if traces is None:
        return None
    return traces.model_dump(exclude={"sample", "keep", "trust", "follow"})
