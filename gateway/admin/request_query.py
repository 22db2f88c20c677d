"""Queries of the admin API for requests: their parameters, and what each means.

`/api/traces` and its exports pass them to the local store. `/api/requests` applies them to the rows
of requests in progress. A parameter that both have means the same in both.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from gateway.admin.bad_input import BadInput
from gateway.admin.operation import Parameter
from gateway.config.units import parse_duration
from gateway.proxy.progress import Progress
from gateway.telemetry.traces.reader import Sort, Wanted
from gateway.telemetry.traces.recording import Kept

_IDENTITY = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_STATUS = re.compile(r"[1-5]xx|[1-5][0-9]{2}")
_LIMIT = re.compile(r"[0-9]{1,6}")
_PAGE = re.compile(r"-?[0-9]{1,12}(?:\.[0-9]{1,20})?(?:e-[0-9]{1,3})?:[0-9]{1,18}")

_ROW = (
    Parameter("route", "Name of the route."),
    Parameter("model", "Model that was asked for, or that serves the request."),
    Parameter("tenant", "Tenant of the caller; subject of a caller without a tenant."),
    Parameter("subject", "Subject of the caller."),
    Parameter("upstream", "Name of the upstream."),
    Parameter(
        "status",
        "Status code such as `502`, or a class such as `5xx`.",
        {"type": "string", "pattern": f"^({_STATUS.pattern})$"},
    ),
    Parameter("stream", "Kept stream: the `stream` of another request."),
)
FILTERS = (
    *_ROW,
    Parameter("end", "How the request ended, such as `upstream_reset`."),
    Parameter("error", "Error code, such as `rate_limit_exceeded`; see docs/errors-reference.md."),
    Parameter(
        "kept", "Why it was kept.", {"type": "string", "enum": [reason.value for reason in Kept]}
    ),
    Parameter("slower", "Minimum time to the first token, such as `2s`."),
    Parameter(
        "silent",
        "Minimum of the longest time in which the backend sent nothing, such as `30s`.",
    ),
    Parameter("id", "Beginning of a trace id or request id."),
    Parameter("since", "Earliest begin: seconds since the epoch, or ISO 8601."),
    Parameter("until", "Latest begin."),
    Parameter(
        "sort",
        "Order: by begin, duration, time to the first token, output tokens, or longest silence.",
        {"type": "string", "enum": [order.value for order in Sort], "default": Sort.AT.value},
    ),
    Parameter(
        "order",
        "Largest or smallest first.",
        {"type": "string", "enum": ["desc", "asc"], "default": "desc"},
    ),
)


PAGING = (
    Parameter(
        "limit",
        "Number of requests, at most 500.",
        {"type": "integer", "minimum": 0, "maximum": 999_999, "default": 50},
    ),
    Parameter("before", "`next` of the previous page."),
)
LIVE_FILTERS = (
    *_ROW,
    Parameter("state", "State.", {"type": "string", "enum": [state.value for state in Progress]}),
    Parameter("silent", "Minimum time since the backend sent anything, such as `30s`."),
    Parameter("id", "Beginning of a request id."),
)
_EQUAL = ("route", "subject", "upstream", "state", "stream")


def wanted_by(query: Mapping[str, str]) -> Wanted:
    """Parse the parameters of a query. Raise BadInput."""
    check_names((*FILTERS, *PAGING), query)
    identity, status, page = query.get("id"), query.get("status"), query.get("before")
    for name, value, pattern in (
        ("id", identity, _IDENTITY),
        ("status", status, _STATUS),
        ("before", page, _PAGE),
    ):
        if value is not None and not pattern.fullmatch(value):
            raise BadInput(f"{name}: '{value[:40]}' cannot be one")
    limit = query.get("limit", "50")
    sort, ascending = query.get("sort", Sort.AT), query.get("order", "desc")
    if sort not in set(Sort):
        raise BadInput(f"sort: send one of {', '.join(Sort)}")
    if ascending not in ("asc", "desc"):
        raise BadInput("order: send asc or desc")
    if not _LIMIT.fullmatch(limit):
        raise BadInput("limit: send how many, a whole number")
    return Wanted(
        route=query.get("route"),
        model=query.get("model"),
        tenant=query.get("tenant"),
        subject=query.get("subject"),
        upstream=query.get("upstream"),
        status=status,
        end=query.get("end"),
        error=query.get("error"),
        stream=query.get("stream"),
        kept=query.get("kept"),
        slower_s=_duration_s(query, "slower"),
        silent_s=_duration_s(query, "silent"),
        id=identity,
        since=moment(query, "since"),
        until=moment(query, "until"),
        before=page,
        limit=int(limit),
        sort=Sort(sort),
        ascending=ascending == "asc",
    )


def selected(document: Mapping[str, Any], query: Mapping[str, str]) -> dict[str, Any]:
    """Return the document of `/api/requests` with the matching rows only. Raise BadInput."""
    check_names(LIVE_FILTERS, query)
    status, state, identity = (query.get(name) for name in ("status", "state", "id"))
    if status is not None and not _STATUS.fullmatch(status):
        raise BadInput(f"status: '{status[:40]}' cannot be one")
    if state is not None and state not in set(Progress):
        raise BadInput(f"state: send one of {', '.join(Progress)}")
    model, tenant = query.get("model"), query.get("tenant")
    silent_s = _duration_s(query, "silent")
    equal = {name: query[name] for name in _EQUAL if name in query}

    def matches(row: Mapping[str, Any]) -> bool:
        return (
            all(row[name] == value for name, value in equal.items())
            and (model is None or model in (row["model"], row["served"]))
            and (tenant is None or tenant == (row["tenant"] or row["subject"]))
            and (identity is None or row["request_id"].startswith(identity))
            and (status is None or str(row["status"] or "").startswith(status.rstrip("x")))
            and (silent_s is None or (row["silent_s"] or 0.0) >= silent_s)
        )

    return {**document, "requests": [row for row in document["requests"] if matches(row)]}


def check_names(parameters: Iterable[Parameter], query: Mapping[str, str]) -> None:
    """Raise BadInput for a parameter that does not exist: a misspelt filter must not match
    everything.
    """
    names = [one.name for one in parameters]
    for name in query:
        if name not in names:
            raise BadInput(f"{name[:40]}: no such parameter; there are {', '.join(names)}")


def _duration_s(query: Mapping[str, str], name: str) -> float | None:
    """Return a duration in seconds, or None if the parameter is missing. Raise BadInput."""
    text = query.get(name)
    try:
        return None if text is None else parse_duration(text)
    except ValueError as exc:
        raise BadInput(f"{name}: {exc}") from None


def moment(query: Mapping[str, str], name: str) -> float | None:
    """Return the time of a parameter in seconds since the epoch, or None if it is missing. It may
    be given in seconds or in ISO 8601. Raise BadInput.
    """
    text = query.get(name)
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise BadInput(f"{name}: send seconds since the epoch, or ISO 8601") from None
