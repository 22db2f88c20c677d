"""Conditions that operators are told of: when they begin and when they end.

They are found in documents and figures about the state of the gateway. There is an event when a
condition begins, and one when it ends. A budget has no end: it has one event in its period.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from gateway.limiting.period import current
from gateway.telemetry.alerts.event import AlertEvent, AlertKind, AlertState

_OUT = frozenset({"ejected", "unhealthy"})
_BACK = frozenset({"healthy", "warming"})
_LEAST_REQUESTS = 20
_EXHAUSTED = 0.001
_TOLD_CAP = 10_000

Key = tuple[AlertKind, str]


@dataclass(frozen=True, slots=True)
class AlertThresholds:
    """Amounts from which conditions hold."""

    soft: float
    """Used share of a budget, from 0 to 1."""
    error_rate: float
    """Share of failed requests in the last minute, from 0 to 1."""
    silent_streams: int
    """Number of silent streams of one upstream."""


@dataclass(frozen=True, slots=True)
class Observation:
    """State of the gateway at one moment."""

    at: float
    """Seconds since the epoch."""
    upstreams: Sequence[Sequence[Mapping[str, Any]]] = ()
    """Upstreams of each worker, as in `/api/upstreams`."""
    budgets: Sequence[Mapping[str, Any]] = ()
    """Keys of limits that are budgets, as in `/api/limits`."""
    requests: Mapping[str, float] = field(default_factory=dict)
    """Requests in the last minute by route."""
    failed: Mapping[str, float] = field(default_factory=dict)
    """Failed requests in the last minute by route."""
    silent: Mapping[str, float] = field(default_factory=dict)
    """Silent streams by upstream."""
    unrecorded: float = 0
    """Workers that cannot write records of prompts."""
    lost: float = 0
    """Records of prompts that were lost in the last minute."""


class Conditions:
    """Conditions of one alert."""

    def __init__(self, thresholds: AlertThresholds) -> None:
        self._thresholds = thresholds
        self._holding: dict[Key, None] = {}
        self._told: dict[tuple[Key, str], None] = {}
        """Budgets that were told, with their periods, oldest first."""

    def see(self, seen: Observation) -> list[AlertEvent]:
        """Return the events since the last observation."""
        return [
            *self._upstreams(seen),
            *self._error_rates(seen),
            *self._silent_streams(seen),
            *self._prompt_audit(seen),
            *self._budgets(seen),
        ]

    def _upstreams(self, seen: Observation) -> Iterable[AlertEvent]:
        workers = len(seen.upstreams)
        states: dict[str, list[list[str]]] = {}
        for upstreams in seen.upstreams:
            for one in upstreams:
                found = [endpoint["state"] for endpoint in one["endpoints"]]
                states.setdefault(one["name"], []).append(found)
        for name, found in states.items():
            down = sum(bool(one) and _OUT.issuperset(one) for one in found)
            back = sum(not _BACK.isdisjoint(one) for one in found)
            endpoints = max(map(len, found))
            yield from self._turn(
                seen.at,
                (AlertKind.UPSTREAM_DOWN, f"upstream {name}"),
                begins=2 * down > workers,
                ends=2 * back >= workers,
                texts=(
                    f"Upstream {name} is down: none of its {endpoints} endpoint(s) is healthy",
                    f"Upstream {name} is up again",
                ),
                facts={"upstream": name, "endpoints": endpoints},
            )

    def _error_rates(self, seen: Observation) -> Iterable[AlertEvent]:
        limit = self._thresholds.error_rate
        known = {
            subject.removeprefix("route ")
            for kind, subject in self._holding
            if kind is AlertKind.ERROR_RATE
        }
        for route in {*seen.requests, *known}:
            requests, failed = seen.requests.get(route, 0.0), seen.failed.get(route, 0.0)
            share = failed / requests if requests else 0.0
            yield from self._turn(
                seen.at,
                (AlertKind.ERROR_RATE, f"route {route}"),
                begins=requests >= _LEAST_REQUESTS and share >= limit,
                ends=share < limit / 2,
                texts=(
                    f"Route {route}: {share:.0%} of {requests:.0f} requests failed in a minute",
                    f"Route {route}: the error rate is back to {share:.0%}",
                ),
                facts={"route": route, "requests": requests, "failed": failed},
            )

    def _silent_streams(self, seen: Observation) -> Iterable[AlertEvent]:
        known = {
            subject.removeprefix("upstream ")
            for kind, subject in self._holding
            if kind is AlertKind.SILENT_STREAMS
        }
        least = self._thresholds.silent_streams
        for upstream in {*seen.silent, *known}:
            count = seen.silent.get(upstream, 0.0)
            yield from self._turn(
                seen.at,
                (AlertKind.SILENT_STREAMS, f"upstream {upstream}"),
                begins=count >= least,
                ends=count < least,
                texts=(
                    f"Upstream {upstream}: {count:.0f} stream(s) got nothing for 30 s or more",
                    f"Upstream {upstream}: its streams go on",
                ),
                facts={"upstream": upstream, "streams": count},
            )

    def _prompt_audit(self, seen: Observation) -> Iterable[AlertEvent]:
        fails = bool(seen.unrecorded or seen.lost)
        yield from self._turn(
            seen.at,
            (AlertKind.PROMPT_AUDIT, "prompt audit"),
            begins=fails,
            ends=not fails,
            texts=(
                f"Prompts cannot be recorded by {seen.unrecorded:.0f} worker(s), and "
                f"{seen.lost:.0f} record(s) were lost in a minute",
                "Prompts are recorded again",
            ),
            facts={"workers": seen.unrecorded, "lost": seen.lost},
        )

    def _budgets(self, seen: Observation) -> Iterable[AlertEvent]:
        for one in seen.budgets:
            used = 1.0 - one["remaining"] / one["size"] if one["size"] else 1.0
            period, _ = current(one["period"], datetime.fromtimestamp(seen.at, UTC))
            if used >= 1.0 - _EXHAUSTED or _refused_in(period, one):
                kind, word = AlertKind.BUDGET_EXHAUSTED, "used up: requests are refused"
            elif used >= (one.get("soft") or self._thresholds.soft):
                kind, word = AlertKind.BUDGET_SOFT, f"used to {used:.0%}"
            else:
                continue
            subject = f"{one['limit']} of {', '.join(one['parts'])}"
            told = ((kind, subject), period)
            if told in self._told:
                continue
            if len(self._told) >= _TOLD_CAP:
                del self._told[next(iter(self._told))]
            self._told[told] = None
            unit = one["currency"] or "tokens"
            text = f"The budget {subject}, {one['size']:g} {unit} for {period}, is {word}"
            facts = {
                **{name: one[name] for name in ("limit", "parts", "size", "remaining")},
                "unit": unit,
                "period": period,
            }
            yield AlertEvent(kind, subject, text, seen.at, AlertState.FIRING, facts)

    def _turn(
        self,
        at: float,
        key: Key,
        *,
        begins: bool,
        ends: bool,
        texts: tuple[str, str],
        facts: dict[str, Any],
    ) -> Iterable[AlertEvent]:
        """Yield the event if a condition begins or ends. If neither holds, it stays as it is."""
        kind, subject = key
        if begins and key not in self._holding:
            self._holding[key] = None
            yield AlertEvent(kind, subject, texts[0], at, AlertState.FIRING, facts)
        elif ends and not begins and key in self._holding:
            del self._holding[key]
            yield AlertEvent(kind, subject, texts[1], at, AlertState.RESOLVED, facts)


def _refused_in(period: str, budget: Mapping[str, Any]) -> bool:
    """Tell whether a request did not fit into what a budget had left in this period."""
    at = budget["refused_at"]
    if at is None:
        return False
    return current(budget["period"], datetime.fromtimestamp(at, UTC))[0] == period
