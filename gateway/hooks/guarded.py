"""Hook with its configured timeout and failure mode.

A hook is code from outside and may raise anything. A failure is logged without content, and
counted. If the hook fails open, the content passes unchanged; otherwise it is refused.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from bisect import bisect_left
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from gateway.errors import ContentRefused, GatewayError, HookUnavailable
from gateway.exchange import Exchange
from gateway.hooks.content import Refused
from gateway.telemetry.metrics import instruments as table
from gateway.telemetry.metrics.registry import Count, Distribution, Registry

_QUIET_S = 1.0
"""A failing hook is logged once in this time."""
_LONGEST_REASON = 200
ALL_AT_ONCE = 0
"""Size of a window that holds the whole text."""


class HookPhase(StrEnum):
    """Kind of content that a hook judges."""

    REQUEST = "request"
    ANSWER = "answer"
    EVENT = "event"
    WINDOW = "window"


class _Outcome(StrEnum):
    ALLOWED = "allowed"
    CHANGED = "changed"
    REFUSED = "refused"
    ERROR = "error"
    TIMEOUT = "timeout"


class Subject(Protocol):
    """Content that a hook reads and may change."""

    @property
    def exchange(self) -> Exchange:
        """Exchange that it belongs to."""

    @property
    def is_changed(self) -> bool:
        """True if it was changed."""

    def state(self) -> object:
        """Return the state that `restore` takes."""

    def restore(self, state: Any) -> None:
        """Undo the changes since `state` was returned."""


Method = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class HookSinks:
    """Destinations of the counts and failures of hooks."""

    registry: Registry | None
    report: Callable[[str, str, str, str], None]
    """Called with the hook, the route, the phase, and the failure."""


class GuardedHook:
    """Hook of one route."""

    def __init__(
        self,
        name: str,
        route: str,
        hook: object,
        *,
        timeout_s: float,
        is_open: bool,
        sinks: HookSinks,
    ) -> None:
        """`is_open`: content passes unchanged if the hook fails."""
        self.name = name
        self.hook = hook
        self.is_open = is_open
        self.on_request: Method | None = getattr(hook, "on_request", None)
        self.on_answer: Method | None = getattr(hook, "on_answer", None)
        self.on_event: Method | None = getattr(hook, "on_event", None)
        self.on_window: Method | None = getattr(hook, "on_window", None)
        self.window_chars: int = getattr(hook, "window", ALL_AT_ONCE)
        self.holds: bool = getattr(hook, "holds", True)
        """True if text is held back until it is judged; otherwise it is judged while it is sent."""
        self._route = route
        self._timeout_s = timeout_s
        self._sinks = sinks
        self._counts: dict[tuple[HookPhase, _Outcome], Count] = {}
        self._seconds: dict[HookPhase, Distribution] = {}
        self._reported_at = float("-inf")

    @property
    def judges_answers(self) -> bool:
        """True if answers have to be shown to it."""
        return self.on_answer is not None or self.on_window is not None

    def call(self, phase: HookPhase, method: Method, subject: Subject) -> Awaitable[None] | None:
        """Call a method of the hook. Return an awaitable if the hook has to be waited for,
        otherwise None.

        The call and the awaitable raise ContentRefused, HookUnavailable, or another GatewayError
        that the hook raises.
        """
        began = time.perf_counter()
        before = subject.state()
        try:
            result = method(subject)
            is_changed = result is None and subject.is_changed
        except Exception as exc:
            self._raised(phase, subject, before, began, exc)
            return None
        if result is None:
            self._count(phase, _Outcome.CHANGED if is_changed else _Outcome.ALLOWED, began)
            return None
        return self._wait(phase, result, subject, before, began)

    def failed(self, phase: HookPhase, why: str) -> None:
        """Report content that cannot be shown to the hook. Raise HookUnavailable unless the hook
        fails open.
        """
        self._count(phase, _Outcome.ERROR, time.perf_counter())
        self._report(phase, why)
        if not self.is_open:
            raise HookUnavailable(reason=f"hook '{self.name}': {why}")

    async def close(self) -> None:
        """Call the hook's own `close`, if it has one. A failure is reported. Called when the
        configuration was replaced, and when the gateway stops.
        """
        close: Callable[[], Any] | None = getattr(self.hook, "close", None)
        if close is None:
            return
        try:
            async with asyncio.timeout(self._timeout_s):
                closing = close()
                if inspect.isawaitable(closing):
                    await closing
        except Exception as exc:
            self._sinks.report(self.name, self._route, "close", _without_content(exc))

    async def _wait(
        self, phase: HookPhase, result: object, subject: Subject, before: object, began: float
    ) -> None:
        scope = asyncio.timeout(self._timeout_s)
        try:
            if not inspect.isawaitable(result):
                raise TypeError(f"a hook returned {type(result).__name__}; it has to return None")
            async with scope:
                await result
            is_changed = subject.is_changed
        except Exception as exc:
            self._raised(phase, subject, before, began, exc, timed_out=scope.expired())
            return
        self._count(phase, _Outcome.CHANGED if is_changed else _Outcome.ALLOWED, began)

    def _raised(
        self,
        phase: HookPhase,
        subject: Subject,
        before: object,
        began: float,
        exc: Exception,
        *,
        timed_out: bool = False,
    ) -> None:
        """Handle an exception of a hook: count and report it. Raise the error of the request,
        unless the hook fails open.
        """
        trace = subject.exchange.trace
        if isinstance(exc, Refused):
            self._count(phase, _Outcome.REFUSED, began)
            reason = f"hook '{self.name}'" + (f": {exc.reason}" if exc.reason else "")
            if trace is not None:
                trace.event("hook_refused", self.name)
            raise ContentRefused(exc.message, reason=reason[:_LONGEST_REASON]) from exc
        if isinstance(exc, GatewayError):
            self._count(phase, _Outcome.REFUSED, began)
            if trace is not None:
                trace.event("hook_refused", self.name)
            raise exc
        subject.restore(before)
        self._count(phase, _Outcome.TIMEOUT if timed_out else _Outcome.ERROR, began)
        why = f"no verdict in {self._timeout_s:g} s" if timed_out else _without_content(exc)
        self._report(phase, why)
        if trace is not None:
            trace.event("hook_failed", f"{self.name}: {why}")
        if not self.is_open:
            raise HookUnavailable(reason=f"hook '{self.name}': {why}") from exc

    def _report(self, phase: HookPhase, why: str) -> None:
        now = time.monotonic()
        if now - self._reported_at >= _QUIET_S:
            self._reported_at = now
            self._sinks.report(self.name, self._route, phase.value, why)

    def _count(self, phase: HookPhase, outcome: _Outcome, began: float) -> None:
        registry = self._sinks.registry
        if registry is None:
            return
        count = self._counts.get((phase, outcome))
        if count is None:
            labels = self._route, self.name, phase.value, outcome.value
            count = self._counts[phase, outcome] = registry.count(table.HOOK_CALLS, *labels)
        count.value += 1
        one = self._seconds.get(phase)
        if one is None:
            labels_of_time = self._route, self.name, phase.value
            one = registry.distribution(table.HOOK_SECONDS, *labels_of_time)
            self._seconds[phase] = one
        seconds = time.perf_counter() - began
        one.counts[bisect_left(one.bounds, seconds)] += 1
        one.sum += seconds


class HookError(Exception):
    """Failure of a built-in hook. The message contains no content, so it may be logged."""


def _without_content(exc: Exception) -> str:
    """Return the type and place of an exception, without its message, which may hold content."""
    if isinstance(exc, HookError):
        return str(exc)
    trace = exc.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return type(exc).__name__
    code = trace.tb_frame.f_code
    return f"{type(exc).__name__} in {code.co_name}, line {trace.tb_lineno}"
