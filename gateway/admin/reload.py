"""Reload of the configuration: a valid file replaces the configuration of all workers, or of none.

First the files are read and checked here. Then every worker builds the new runtime beside the
current one. The workers switch only if all of them succeeded. A secret that changes is applied in
the same way, to the configuration that is served, not to what the files contain meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from structlog.typing import FilteringBoundLogger

from gateway.admin.config_changes import Change, changes
from gateway.admin.fleet import Fleet, WorkerReply
from gateway.admin.secret_watch import SecretWatch
from gateway.config import Config, ConfigError, Loaded, keep, load_again, load_source
from gateway.config.load import file_versions, included_patterns
from gateway.config.secret_sources import KnownSecrets

_WATCH_S = 0.5
_PATIENCE_S = 15.0
"""Time to wait for the replacement of a worker that died during a reload."""
_AGAIN_S = 0.25
_KEPT = 20
"""Number of reloads that are remembered."""
_MOST_CHANGES = 200
ASKED = "asked for by an operator"
_ROTATION = "a secret changed"
"""Reason of a reload that only applies changed secrets."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Outcome of one reload."""

    at: float
    """Time of the reload, in seconds since the epoch."""
    why: str
    """Cause of the reload: a signal, a changed file, or an operator."""
    problems: tuple[str, ...] = ()
    """Reasons why nothing was changed; empty if the reload succeeded."""
    restart: tuple[str, ...] = ()
    """Changed settings that take effect only after a restart."""
    changes: tuple[Change, ...] = ()
    """Differences from the former configuration; at most `_MOST_CHANGES`."""
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
    """Reload of one configuration, for all workers."""

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
        self.on_applied: Callable[[Config], None] = lambda _: None
        """Called with each new configuration that is served."""
        self.on_reload: Callable[[Outcome], None] = lambda _: None
        """Called with the outcome of each reload."""
        self._started = loaded.config
        self._kept = kept
        self._fleet = fleet
        self._logger = logger
        self._file = Path(loaded.source.name)
        self._one_at_a_time = asyncio.Lock()
        self._included = loaded.included
        self._seen = file_versions(self._file, self._included)
        self._secrets = SecretWatch(loaded.secrets, logger)

    async def reload(self, why: str) -> Outcome:
        """Read the files again, apply them if possible, and log the outcome."""
        async with self._one_at_a_time:
            # Included files are watched even if the configuration is refused.
            self._included = await asyncio.to_thread(included_patterns, self._file)
            self._seen = file_versions(self._file, self._included)
            try:
                loaded = await asyncio.to_thread(load_source, self._file)
            except ConfigError as exc:
                outcome = self._outcome(why, *(str(problem) for problem in exc.problems))
            else:
                outcome = await self._apply(why, loaded)
            self._record(outcome, why)
        return outcome

    async def refresh(self, known: KnownSecrets) -> None:
        """Read the secrets again, and serve their values if possible. Log the outcome, unless the
        values are the same.
        """
        async with self._one_at_a_time:
            try:
                loaded = await asyncio.to_thread(load_again, self.loaded, known)
            except ConfigError as exc:
                outcome = self._outcome(_ROTATION, *(str(problem) for problem in exc.problems))
            else:
                if loaded.config == self.loaded.config:
                    self._secrets.serve(loaded.secrets)
                    return
                outcome = await self._apply(_ROTATION, loaded)
            self._record(outcome, _ROTATION)

    def _record(self, outcome: Outcome, why: str) -> None:
        self.outcomes.append(outcome)
        self.counts["failed" if outcome.problems else "ok"] += 1
        if outcome.problems:
            self._logger.error("reload_failed", why=why, problems=list(outcome.problems))
        else:
            changed = [one.path for one in outcome.changes]
            restart = list(outcome.restart)
            self._logger.info("reloaded", why=why, needs_restart=restart, changed=changed)
        self.on_reload(outcome)

    @property
    def last(self) -> Outcome | None:
        """Latest reload; None if there was none."""
        return self.outcomes[-1] if self.outcomes else None

    @property
    def file(self) -> Path:
        """Absolute path of the configuration file."""
        return self._file.absolute()

    async def watch(self) -> None:
        """Reload when a file changes, while `server.watch` is set, and apply secrets that change.
        Runs until cancelled.
        """
        try:
            while True:
                await asyncio.sleep(_WATCH_S)
                if self.loaded.config.server.watch:
                    versions = file_versions(self._file, self._included)
                    if versions[self._file] is not None and versions != self._seen:
                        await self.reload("the file changed")
                if (known := self._secrets.changed()) is not None:
                    await self.refresh(known)
        finally:
            self._secrets.close()

    async def _apply(self, why: str, loaded: Loaded) -> Outcome:
        replies = await self._built(loaded.document_with_secrets())
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
        self._secrets.serve(loaded.secrets)
        self.on_applied(loaded.config)
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


def _needs_restart(old: Config, new: Config) -> tuple[str, ...]:
    parts = (
        ("server.listen", old.server.listen, new.server.listen),
        ("server.tls", old.server.tls, new.server.tls),
        ("server.workers", old.server.workers, new.server.workers),
        ("admin", _listens(old), _listens(new)),
        ("demo", old.demo, new.demo),
        ("telemetry.log", old.telemetry.log, new.telemetry.log),
        ("telemetry.metrics.otlp", _sends(old), _sends(new)),
        ("telemetry.traces", _collected(old), _collected(new)),
    )
    return tuple(name for name, was, will in parts if was != will)


def _listens(config: Config) -> object:
    """Return the address of the admin listener. Its other settings take effect at once."""
    return None if config.admin is None else config.admin.listen


def _sends(config: Config) -> tuple[str, float] | None:
    metrics = config.telemetry.metrics
    return None if metrics is None or metrics.otlp is None else (metrics.otlp, metrics.interval)


def _collected(config: Config) -> object:
    """Return the trace settings that the admin process uses; only the workers use the
    others. Headers of the export take effect at once.
    """
    traces = config.telemetry.traces
    if traces is None:
        return None
    return traces.model_dump(exclude={"sample", "keep", "trust", "follow", "headers"})
