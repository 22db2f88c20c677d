"""The current state and the last hour as one document, for dashboards.

    at            seconds since the epoch
    window_s      period of rates and quantiles: the last minute, less after a start
    total         one row, for all requests
    routes, models, upstreams, tenants           rows, the busiest first
    errors        rate per second, by code
    hour          arrays, one value a minute, oldest first; null if there was none

A row has `name`, `requests_per_s`, `errors_per_s`, `active_streams` (not for tenants), and as p50,
p95 and p99, or null: `ttft_s`, `duration_s` (not for tenants) and `tokens_per_s`. The p95 of
`tokens_per_s` is the speed that 95 of 100 streams reached at least. `total` also has
`tokens_in_per_s`, `tokens_out_per_s`, `cost_per_hour` by currency, and the gauges by their metric
names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.telemetry.metrics import instruments as table
from gateway.telemetry.metrics.history import History, Step, Window
from gateway.telemetry.metrics.instruments import Instrument
from gateway.telemetry.metrics.merge import Buckets, Merged
from gateway.telemetry.metrics.minutes import NAMES, failed, minute_of, of_type, refused, values

WINDOW_S = 60.0
_SHARES = (0.5, 0.95, 0.99)
_ROWS = 50

Row = dict[str, Any]


def now(history: History, merged: Merged, at: float) -> Row:
    """Return the document. `merged` contains the current values."""
    window = history.window(WINDOW_S)
    return {
        "at": at,
        "window_s": window.seconds,
        "total": _total(window, merged, history.gauges),
        "routes": _rows(window, merged, "route", table.HTTP_DURATION, "route"),
        "models": _rows(window, merged, "model", table.OPERATION_DURATION, "gen_ai_request_model"),
        "upstreams": _rows(window, merged, "upstream", table.OPERATION_DURATION, "upstream"),
        "tenants": _tenants(window),
        "errors": window.rate_by(table.ERRORS, "code"),
        "hour": _hour(history.points()),
    }


def _total(window: Window, merged: Merged, gauges: Mapping[str, float]) -> Row:
    costs = window.rate_by(table.COST, "currency")
    return {
        "requests_per_s": window.rate(table.REQUESTS),
        "errors_per_s": window.rate(table.REQUESTS, failed),
        "client_aborts_per_s": window.rate(table.CLIENT_ABORTS),
        "limited_per_s": window.rate(table.LIMIT_DECISIONS, refused),
        "retries_per_s": window.rate(table.RETRIES),
        "fallbacks_per_s": window.rate(table.FALLBACKS),
        "tokens_in_per_s": window.rate(table.TOKENS, of_type("input")),
        "tokens_out_per_s": window.rate(table.TOKENS, of_type("output")),
        "cost_per_hour": {name: rate * 3600 for name, rate in costs.items()},
        "active_streams": sum(_active(merged, "route").values()),
        "ttft_s": _named(window.quantiles(table.FIRST_TOKEN, _SHARES)),
        "duration_s": _named(window.quantiles(table.HTTP_DURATION, _SHARES)),
        "tokens_per_s": _speeds(window.quantiles(table.PER_TOKEN, _SHARES)),
        **gauges,
    }


def _rows(
    window: Window, merged: Merged, label: str, durations: Instrument, durations_label: str
) -> list[Row]:
    gen_ai_label = "gen_ai_request_model" if label == "model" else label
    requests = window.rate_by(table.REQUESTS, label)
    errors = window.rate_by(table.REQUESTS, label, failed)
    active = _active(merged, label)
    first = window.quantiles_by(table.FIRST_TOKEN, gen_ai_label, _SHARES)
    each = window.quantiles_by(table.PER_TOKEN, gen_ai_label, _SHARES)
    took = window.quantiles_by(durations, durations_label, _SHARES)
    rows = [
        {
            "name": name,
            "requests_per_s": requests.get(name, 0.0),
            "errors_per_s": errors.get(name, 0.0),
            "active_streams": active.get(name, 0.0),
            "ttft_s": _named(first.get(name)),
            "duration_s": _named(took.get(name)),
            "tokens_per_s": _speeds(each.get(name)),
        }
        for name in requests.keys() | active.keys()
        if name
    ]
    return _busiest(rows)


def _tenants(window: Window) -> list[Row]:
    requests = window.rate_by(table.TENANT_REQUESTS, "tenant")
    errors = window.rate_by(table.TENANT_REQUESTS, "tenant", lambda one: one["code"] == "5xx")
    first = window.quantiles_by(table.TENANT_FIRST_TOKEN, "tenant", _SHARES)
    each = window.quantiles_by(table.TENANT_PER_TOKEN, "tenant", _SHARES)
    rows = [
        {
            "name": name,
            "requests_per_s": rate,
            "errors_per_s": errors.get(name, 0.0),
            "ttft_s": _named(first.get(name)),
            "tokens_per_s": _speeds(each.get(name)),
        }
        for name, rate in requests.items()
        if name
    ]
    return _busiest(rows)


def _busiest(rows: list[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: (-row["requests_per_s"], row["name"]))[:_ROWS]


def _hour(points: Sequence[Step]) -> Row:
    rows = [values(minute_of(point)) for point in points]
    return {"at": [point.at for point in points]} | {
        name: [row[name] for row in rows] for name in NAMES
    }


def _active(merged: Merged, label: str) -> dict[str, float]:
    place = table.ACTIVE_STREAMS.labels.index(label)
    found: dict[str, float] = {}
    for labels, value in merged.get(table.ACTIVE_STREAMS.name, {}).items():
        assert not isinstance(value, Buckets)
        found[labels[place]] = found.get(labels[place], 0.0) + value
    return found


def _named(quantiles: list[float] | None) -> Row | None:
    return None if quantiles is None else dict(zip(("p50", "p95", "p99"), quantiles, strict=True))


def _speeds(quantiles: list[float] | None) -> Row | None:
    if quantiles is None:
        return None
    return _named([1.0 / seconds if seconds > 0 else 0.0 for seconds in quantiles])
