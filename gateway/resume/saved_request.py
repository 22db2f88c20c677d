"""A request as it is stored with its stream, so that another process can continue the answer.

Credentials are not stored. What authentication found out is, and the other process checks that it
still holds. A request whose own credential goes to the upstream cannot be continued.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

import orjson
from aiohttp.hdrs import HOST

from gateway.auth.principal import Principal
from gateway.client_connection import SessionRequest
from gateway.limiting.decision import Taken
from gateway.limiting.demand import Counted, Demand, Kind, Level
from gateway.model_names import as_document, of_document
from gateway.request import Request
from gateway.resume.policy import HEADER, OnDisconnect, Policy
from gateway.routing.target import Target

_SECRET = re.compile(rb"auth|key|token|secret|passw|cookie|credential", re.IGNORECASE)
"""Names of header fields and query parameters that may contain a credential."""
_NOT_STORED = frozenset(
    {b"content-length", b"transfer-encoding", b"connection", b"expect", b"last-event-id"}
    | {b"idempotency-key", b"accept-encoding", b"traceparent", b"tracestate", b"baggage"}
    | {b"x-request-id", b"host", HEADER.lower().encode()}
)
_CODED = frozenset({b"content-encoding", b"content-md5", b"content-digest", b"digest"})
_LAST_EVENTS = (b"data: [DONE]", b"event: message_stop")
"""Prefixes of the last event of an answer: OpenAI's and Anthropic's."""
_RETURN_S = 10
"""Seconds that readers have to return to a generation that would end without them."""


@dataclass(frozen=True, slots=True)
class SavedRequest:
    """Request that began a stream."""

    route: str
    request_id: str
    client_ip: str
    secure: bool
    """True if the client's connection was encrypted."""
    principal: Principal | None
    taken: Sequence[Taken]
    """Amounts that the request took of its limits."""
    request: SessionRequest

    def description(self) -> bytes:
        """Return all but the body, as bytes to store."""
        document = {
            "route": self.route,
            "request_id": self.request_id,
            "client_ip": self.client_ip,
            "secure": self.secure,
            "principal": None if self.principal is None else _principal_document(self.principal),
            "taken": [_taken_document(taken) for taken in self.taken],
            "method": self.request.method,
            "target": self.request.target,
            "fields": [_texts(field) for field in self.request.fields],
        }
        try:
            return orjson.dumps(document)
        except TypeError:  # half a character in a claim, or an integer of more than 64 bits
            return json.dumps(document).encode()


def saved_request(request: Request, policy: Policy) -> SavedRequest | None:
    """Return the request to store, or None if it cannot be sent again: its body was not read, or
    its own credential goes to the upstream. Call it before the body is released.
    """
    exchange, body = request.exchange, request.received
    target, decided = exchange.target, exchange.decided
    if body is None or not isinstance(target, Target) or exchange.route is None:
        return None
    path = f"{exchange.path}?{exchange.query}" if exchange.query else exchange.path
    if _SECRET.search(b"&".join(_names(exchange.query))):
        return None
    fields = [(b"Host", request.headers[HOST].encode("latin-1"))]
    for name, value in request.raw_headers:
        lowered = name.lower()
        if lowered in _NOT_STORED or not target.header_filter.find(name):
            continue
        if exchange.decoded and lowered in _CODED:
            continue
        if _SECRET.search(name):
            return None
        fields.append((name, value))
    if policy.way is OnDisconnect.CANCEL:
        policy = Policy(OnDisconnect.GRACE, _RETURN_S)
    fields += (
        (HEADER.encode(), str(policy).encode()),
        (b"X-Request-ID", exchange.request_id.encode()),
        (b"Content-Length", b"%d" % len(body)),
    )
    return SavedRequest(
        exchange.route,
        exchange.request_id,
        exchange.client_ip,
        exchange.public_url.startswith("https:"),
        exchange.principal,
        () if decided is None else decided.taken,
        SessionRequest(request.method, path, tuple(fields), body),
    )


def _names(query: str) -> Iterator[bytes]:
    """Yield the names of the parameters in a query, without escapes."""
    for parameter in query.split("&") if query else ():
        yield unquote_to_bytes(parameter.partition("=")[0])


def parse_saved_request(description: bytes, body: bytes) -> SavedRequest:
    """Return a stored request. Raise ValueError or KeyError if it is of another version."""
    document = json.loads(description)  # orjson cannot read all values that `json` writes
    principal = document["principal"]
    fields = tuple(_field(*texts) for texts in document["fields"])
    return SavedRequest(
        document["route"],
        document["request_id"],
        document["client_ip"],
        document["secure"],
        None if principal is None else _principal(principal),
        [_taken(one) for one in document["taken"]],
        SessionRequest(document["method"], document["target"], fields, body),
    )


def is_complete(events: bytes) -> bool:
    """Tell whether these events of a stream include the last one of its answer."""
    last = events[events.rstrip().rfind(b"\n\n") + 1 :].strip().split(b"\n")
    return any(line.startswith(_LAST_EVENTS) for line in last)


def _principal_document(principal: Principal) -> dict[str, Any]:
    return {
        "subject": principal.subject,
        "provider": principal.provider,
        "tenant": principal.tenant,
        "tier": principal.tier,
        "groups": principal.groups,
        "scopes": sorted(principal.scopes),
        "models": as_document(principal.models),
        "limits": principal.limits,
        "key_id": principal.key_id,
        "token_id": principal.token_id,
        "expires_at": principal.expires_at,
        "claims": dict(principal.claims),
        "headers": principal.headers.decode("latin-1"),
    }


def _principal(document: Mapping[str, Any]) -> Principal:
    models = document["models"]
    return Principal(
        document["subject"],
        document["provider"],
        document["tenant"],
        document["tier"],
        tuple(document["groups"]),
        frozenset(document["scopes"]),
        of_document(models),
        tuple(document["limits"]),
        document["key_id"],
        document["token_id"],
        document["expires_at"],
        document["claims"],
        document["headers"].encode("latin-1"),
    )


def _taken_document(taken: Taken) -> dict[str, Any]:
    level = taken.level
    return {
        "rule": taken.rule,
        "unit": taken.unit,
        "demand": asdict(taken.demand),
        "level": [level.remaining, level.wait_s],
    }


def _taken(document: Mapping[str, Any]) -> Taken:
    fields = document["demand"]
    demand = Demand(**{**fields, "kind": Kind(fields["kind"]), "counted": Counted.STORE})
    return Taken(document["rule"], document["unit"], demand, Level(*document["level"]))


def _texts(field: tuple[bytes, bytes]) -> tuple[str, str]:
    name, value = field
    return name.decode("latin-1"), value.decode("latin-1")


def _field(name: str, value: str) -> tuple[bytes, bytes]:
    return name.encode("latin-1"), value.encode("latin-1")
