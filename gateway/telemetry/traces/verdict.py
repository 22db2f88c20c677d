"""The verdict on a request: a sentence on what happened, the party at fault, and the remedy.

It is computed from a worker's record, or from a row of the requests in progress. The dashboard, the
API and the tests all use it. No I/O, no clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

_LONGEST_REASON = 300
"""Maximum length of a reason in the sentence, in characters. The page also shows it in full."""

Record = Mapping[str, Any]


class Fault(StrEnum):
    """Party at fault for the outcome."""

    NOBODY = "nobody"
    CLIENT = "client"
    CONFIGURATION = "configuration"
    """The configuration of the gateway, or its capacity."""
    BACKEND = "backend"
    OPERATOR = "operator"
    GATEWAY = "gateway"
    """The gateway itself, or a service that it depends on, such as identity provider or store."""


@dataclass(frozen=True, slots=True)
class TraceVerdict:
    """Verdict on a request. `remedy` is empty if there is nothing to do."""

    text: str
    fault: Fault
    remedy: str = ""

    @property
    def document(self) -> dict[str, str]:
        """The verdict as a document for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Words:
    """Templates by error code. `{why}` is a colon and the reason, or empty. See `_facts`."""

    fault: Fault
    text: str
    remedy: str


_CLIENT, _CONFIGURATION, _BACKEND = Fault.CLIENT, Fault.CONFIGURATION, Fault.BACKEND
_OPERATOR, _GATEWAY = Fault.OPERATOR, Fault.GATEWAY
_CORRECT = "The client has to correct the request."
_AGAIN = "The client has to send the request again."
_CAPACITY = "Add endpoints or a fallback, or raise the limits of the upstream if it can take more."
_BACKEND_LOG = "Look at the backend's log at this time."

ERRORS: Mapping[str, _Words] = {
    # -- the request as it was sent
    "invalid_http": _Words(
        _CLIENT, "The client did not send valid HTTP/1.1{why}.", "Use another HTTP client."
    ),
    "invalid_request": _Words(_CLIENT, "The request is malformed{why}.", _CORRECT),
    "invalid_host": _Words(
        _CLIENT,
        "The Host header is malformed, or differs from the request target.",
        "Send one plain host name; look at the proxy in front.",
    ),
    "invalid_path": _Words(
        _CLIENT,
        "The path is not in canonical form: it has '..', '//', '%2f' or a needless escape.",
        "Send the path in canonical form.",
    ),
    "invalid_json": _Words(
        _CLIENT,
        "The body is not one valid JSON object{why}.",
        "The client has to correct the body.",
    ),
    "invalid_form": _Words(
        _CLIENT, "The form can be read in two ways{why}.", "Send plain multipart/form-data."
    ),
    "invalid_encoding": _Words(
        _CLIENT,
        "The body is not in the coding that its Content-Encoding names, or is cut off{why}.",
        _CORRECT,
    ),
    "invalid_timeout": _Words(
        _CLIENT, "x-request-timeout holds no duration.", "Send seconds, or for example 500ms or 2m."
    ),
    "invalid_event_id": _Words(
        _CLIENT,
        "Last-Event-ID, or the place to resume at, is no event of this stream{why}.",
        "Send the id of the last event that was received.",
    ),
    "invalid_on_disconnect": _Words(
        _CLIENT,
        "X-On-Disconnect is malformed, or asks for more than the route allows{why}.",
        "Send 'cancel' or for example 'grace=30s', or allow more in `resume` of the route.",
    ),
    "invalid_idempotency_key": _Words(
        _CLIENT, "The Idempotency-Key is empty or too long.", "Send a UUID."
    ),
    "invalid_handshake": _Words(
        _CLIENT, "The WebSocket handshake is malformed{why}.", "Use a WebSocket client."
    ),
    "invalid_message": _Words(_CLIENT, "A message to the bridge is malformed{why}.", _CORRECT),
    "unknown_op": _Words(
        _CLIENT, "A message to the bridge has an unknown 'op'{why}.", "See docs/bridge.md."
    ),
    "duplicate_id": _Words(
        _CLIENT,
        "A generation with this id is under way on the same socket.",
        "Use another id for each generation.",
    ),
    "unknown_id": _Words(
        _CLIENT,
        "No generation with this id is under way on the socket; it may have ended just before.",
        "",
    ),
    "model_required": _Words(
        _CLIENT, "The request names no model, and the route needs one.", "Set `model`."
    ),
    "not_translatable": _Words(
        _CLIENT,
        "The request uses something that the backend's dialect does not have{why}.",
        "Leave it out, or use a model whose backend speaks the client's dialect.",
    ),
    "unsupported_encoding": _Words(
        _CLIENT,
        "The gateway cannot decode the body's Content-Encoding.",
        "Send the body plain, or in one of zstd, br, gzip or deflate.",
    ),
    "request_too_large": _Words(
        _CLIENT,
        "The body is larger than the route allows{why}.",
        "Send less, or raise `body` of the route.",
    ),
    "headers_too_large": _Words(
        _CLIENT,
        "The request's headers are too large or too many.",
        "Send fewer, or raise `server.header_bytes` or `server.header_count`.",
    ),
    "request_timeout": _Words(
        _CLIENT,
        "The client was too slow to send its request.",
        "Look at the client's network; `server.header_timeout` and `server.body_timeout` are the "
        "limits.",
    ),
    "expectation_failed": _Words(
        _CLIENT, "The client sent an Expect header other than 100-continue.", "Leave it out."
    ),
    "idempotency_key_reused": _Words(
        _CLIENT,
        "The client sent one Idempotency-Key with two different requests.",
        "Use a new key for each request.",
    ),
    "http_version_not_supported": _Words(
        _CLIENT,
        "The client does not speak HTTP/1.1.",
        "Use HTTP/1.1; in nginx: proxy_http_version 1.1.",
    ),
    # -- where it goes
    "not_found": _Words(
        _CLIENT,
        "No route serves this path.",
        "Check the client's base URL; `gateway routes` lists the routes.",
    ),
    "method_not_allowed": _Words(
        _CLIENT, "The path does not serve this method.", "The response's Allow header lists them."
    ),
    "model_not_found": _Words(
        _CLIENT,
        "The route does not serve {model}, or not to this caller.",
        "Ask GET /v1/models as this caller. Correct the model's name, add it to `models` of the "
        "route, or grant it to the key.",
    ),
    "upgrade_refused": _Words(
        _CLIENT,
        "The client asked for a protocol upgrade that the path does not serve{why}.",
        "Use plain HTTP/1.1, or add `websocket` to the route.",
    ),
    "upgrade_required": _Words(
        _CLIENT, "A plain request came to a path that serves only WebSockets.", "Use wss or ws."
    ),
    "websocket_version": _Words(
        _CLIENT,
        "The client speaks another version of the WebSocket protocol than 13.",
        "Use a current client.",
    ),
    "stream_not_found": _Words(
        _CLIENT,
        "The stream to resume is not kept (any more), or belongs to another caller.",
        _AGAIN + " `resume.ttl` says how long streams are kept.",
    ),
    # -- who may
    "invalid_api_key": _Words(
        _CLIENT,
        "The gateway refused the credential{why}.",
        "Give the client a valid credential. If it should be valid: compare it with `auth` of the "
        "configuration.",
    ),
    "credential_expired": _Words(
        _CLIENT,
        "The client's credential expired or was revoked {when}.",
        "The client has to get a new token and connect again.",
    ),
    "insufficient_scope": _Words(
        _CLIENT,
        "The credential is valid, but does not allow this{why}.",
        "Grant what is missing to the caller, or change `scopes` of the route.",
    ),
    "model_unknown": _Words(
        _CLIENT,
        "The credential is for certain models only, and the request does not say its model in a "
        "way that can be checked.",
        "Name the model in a JSON body or a form.",
    ),
    "origin_not_allowed": _Words(
        _CONFIGURATION,
        "A page of an origin that is not listed opened a WebSocket.",
        "Add the page's origin to `websocket.origins` of the route, if it should be allowed.",
    ),
    # -- how much
    "rate_limit_exceeded": _Words(
        _CLIENT,
        "Limit {limit} refused it{wait}.",
        "The caller has to wait. If the limit is too low: raise it, or give the caller a tier.",
    ),
    "too_many_generations": _Words(
        _CLIENT,
        "The socket has as many generations under way as its bridge allows.",
        "Wait for one to end, or raise the bridge's limit.",
    ),
    "queue_full": _Words(
        _CONFIGURATION,
        "Too many requests wait for {gate} already{wait}.",
        "Add backends, or raise `admission.concurrency` or `admission.queue`.",
    ),
    "queue_timeout": _Words(
        _CONFIGURATION,
        "It waited for {gate} longer than `admission.max_wait`{queue}.",
        "Add backends, or raise `admission.concurrency` or `admission.max_wait`.",
    ),
    "overloaded": _Words(
        _CONFIGURATION,
        "The gateway's worker carries as much as it may{why}.",
        "Add workers or replicas, or raise the limit that is named.",
    ),
    "too_many_connections": _Words(
        _CONFIGURATION,
        "As many clients as `server.max_connections` allows are connected.",
        "Raise it, or add replicas.",
    ),
    # -- sessions and kept streams
    "websocket_violation": _Words(
        _CLIENT, "The client broke the WebSocket protocol, or a limit of its route{why}.", _CORRECT
    ),
    "websocket_idle": _Words(
        _CLIENT,
        "Nothing was said on the WebSocket for `websocket.idle`, or its client answered no ping.",
        "The client has to connect again, and to ping when it is quiet for long.",
    ),
    "session_expired": _Words(
        _CLIENT,
        "The WebSocket lasted as long as `websocket.max_session` allows.",
        "The client has to connect again. Raise `max_session` if that is too early.",
    ),
    "stream_expired": _Words(
        _CLIENT,
        "The stream lasted as long as `max_stream` of its route allows.",
        "Raise `max_stream`, or set `resume` with a grace, so that clients continue the stream.",
    ),
    "stream_trimmed": _Words(
        _CONFIGURATION,
        "The stream outgrew what is kept of it: the reader came too late.",
        "Raise `resume.max_bytes`, or have clients resume sooner.",
    ),
    "stream_cancelled": _Words(
        _CLIENT,
        "The generation was cancelled {when}, by its owner or because nobody read it any more.",
        "",
    ),
    "stream_lost": _Words(
        _GATEWAY,
        "The gateway process that ran this generation is gone.",
        _AGAIN + " See why the worker ended: `died` in the log.",
    ),
    # -- the gateway and what it depends on
    "internal_error": _Words(
        _GATEWAY,
        "The gateway itself failed{why}.",
        "Report it with the trace that the log has under the request id.",
    ),
    "unavailable": _Words(_OPERATOR, "The gateway is stopping and takes no new requests.", _AGAIN),
    "gateway_draining": _Words(
        _OPERATOR,
        "The gateway stopped or restarted {when}.",
        _AGAIN + " A longer `server.drain` lets more streams end by themselves.",
    ),
    "request_cancelled": _Words(_OPERATOR, "An operator ended it after {took}, {when}.", _AGAIN),
    "auth_unavailable": _Words(
        _GATEWAY,
        "The credential cannot be verified, because the issuer's keys are out of reach{why}.",
        "Run `gateway doctor`: it fetches the issuer's keys.",
    ),
    "limits_unavailable": _Words(
        _GATEWAY,
        "The store of limits does not answer, and a limit of the route refuses without it.",
        "Look at the store: `gateway doctor`. `on_store_error` says what to do without it.",
    ),
    "resume_unavailable": _Words(
        _GATEWAY,
        "The store of streams does not answer, and the route refuses without it.",
        "Look at the store: `gateway doctor`. `on_store_error` says what to do without it.",
    ),
    # -- the backend
    "upstream_error": _Words(_BACKEND, "{backend} failed {when}{why}.", _BACKEND_LOG),
    "upstream_connect_failed": _Words(
        _BACKEND,
        "{backend} cannot be reached{why}.{tries}",
        "Start the backend, or correct its URL, firewall or certificate: run `gateway doctor`.",
    ),
    "upstream_connect_timeout": _Words(
        _BACKEND,
        "{backend} accepted no connection within `timeouts.connect`.{tries}",
        "Look at the backend's load and at the network between: run `gateway doctor`.",
    ),
    "upstream_first_byte_timeout": _Words(
        _BACKEND,
        "{backend} did not begin its answer within `timeouts.first_byte`.{tries}",
        "Look at the model's load and the prompt's length; raise `timeouts.first_byte` for slow "
        "models.",
    ),
    "upstream_idle_timeout": _Words(
        _BACKEND,
        "{backend} fell silent {when}, for longer than `timeouts.idle`{onward}.",
        _BACKEND_LOG + " Raise `timeouts.idle` for models that think for long.",
    ),
    "upstream_total_timeout": _Words(
        _BACKEND,
        "It was cut after {took}, {when}: the answer took longer than `timeouts.total`, or than "
        "the client's x-request-timeout.",
        "Raise `timeouts.total`, have the client ask for less or wait longer, or add backends.",
    ),
    "upstream_reset": _Words(
        _BACKEND,
        "{backend} closed the connection {when}{onward}.{tries}",
        _BACKEND_LOG + " Often it ran out of memory, or was restarted. With `continues`, another "
        "backend goes on.",
    ),
    "upstream_invalid_response": _Words(
        _BACKEND,
        "{backend} sent an invalid response {when}{why}.",
        "Check `url` and `dialect` of the upstream.",
    ),
    "upstream_rejected": _Words(_BACKEND, "{backend} answered with an error{why}.", _BACKEND_LOG),
    "backend_error": _Words(_BACKEND, "{backend} reported an error {when}{why}.", _BACKEND_LOG),
    "upstream_busy": _Words(
        _BACKEND, "{backend} is full: no endpoint had room in time.", _CAPACITY
    ),
    "upstream_unavailable": _Words(
        _CONFIGURATION,
        "{backend} has no endpoint: none was discovered, or all are drained.",
        "Look at the Upstreams page: let an endpoint in, or correct the discovery.",
    ),
}
"""Templates by the `code` of an error."""

ENDS: Mapping[str, _Words] = {
    "client_abort": _Words(
        _CLIENT,
        "The client left after {took}, {when}{behind}.",
        "Nothing, if the client cancelled on purpose. Else compare its timeout with the time to "
        "the first token.",
    ),
    "upstream_reset": ERRORS["upstream_reset"],
    "timeout": ERRORS["upstream_idle_timeout"],
    "drain": ERRORS["gateway_draining"],
    "refused": _Words(
        _CLIENT, "The gateway ended the session after {took}{why}.", "See its close code."
    ),
    "cancelled": ERRORS["request_cancelled"],
    "internal_error": ERRORS["internal_error"],
}
"""Templates by the end of a request, used without an error. `complete` is judged by the status."""

_STATUSES: Mapping[int, tuple[Fault, str]] = {
    400: (_CLIENT, "The client has to correct the request: the backend says what is wrong."),
    401: (_CONFIGURATION, "Correct the credential that the upstream's `headers` hold."),
    403: (_CONFIGURATION, "Check what the credential in the upstream's `headers` may use."),
    404: (_CONFIGURATION, "Check `url` of the upstream and the name that the model has there."),
    408: (_BACKEND, _BACKEND_LOG),
    413: (_CLIENT, "The client has to send less."),
    422: (_CLIENT, "The client has to correct the request: the backend says what is wrong."),
    429: (_BACKEND, "The provider's own limit: raise the quota there, or add a fallback."),
}
"""Fault and remedy by the status of a backend's answer."""


def verdict(record: Record) -> TraceVerdict:
    """Return the verdict on a request that has ended."""
    error, end, status = record.get("error"), record.get("end"), record.get("status") or 0
    facts = _facts(record)
    if error is not None:
        if error == "backend_error" and status >= 400:
            return _of_status(record, facts, "")  # which says whose fault it is
        words = ERRORS.get(error)
        if words is not None:
            return _filled(words, facts)
        return _of_status(record, facts, f" ({error})")
    if end is not None and end != "complete":
        return _filled(ENDS.get(end, ENDS["refused"]), facts)
    if status >= 400:
        return _of_status(record, facts, "")
    return _success(record, facts)


def under_way(row: Record) -> TraceVerdict:
    """Return the verdict on a request in progress, given its row of `/api/requests`."""
    state, age, backend = row.get("state"), _seconds(row["age_s"]), _backend(row)
    if state == "silent":
        return TraceVerdict(
            f"{backend} has sent nothing for {_seconds(row['silent_s'])} in the middle of its "
            "answer.",
            _BACKEND,
            "Look at the backend's load and log. `timeouts.idle` ends it in time; the button End "
            "ends it now.",
        )
    if state == "client_behind":
        return TraceVerdict(
            f"{backend} has sent more than the client reads.",
            _CLIENT,
            "`send_timeout` cuts a client that reads nothing.",
        )
    if state == "answering":
        first = row.get("ttft_s")
        token = "no token has come yet" if first is None else f"first token after {_seconds(first)}"
        return TraceVerdict(f"{backend} sends its answer: {token}.", Fault.NOBODY)
    if state == "following":
        return TraceVerdict("It reads a kept stream, which another request began.", Fault.NOBODY)
    if state == "session":
        return TraceVerdict(f"A WebSocket session has been open for {age}.", Fault.NOBODY)
    if state == "waiting":
        return TraceVerdict(f"{backend} was asked and has not begun its answer.", Fault.NOBODY)
    return TraceVerdict(f"It came {age} ago and was not sent to a backend yet.", Fault.NOBODY)


# -- how it went ------------------------------------------------------------------------------


def _filled(words: _Words, facts: Mapping[str, str]) -> TraceVerdict:
    return TraceVerdict(words.text.format_map(facts), words.fault, words.remedy.format_map(facts))


def _of_status(record: Record, facts: Mapping[str, str], code: str) -> TraceVerdict:
    """Return the verdict on an error without templates: a backend's, or a plug-in's."""
    status = record.get("status") or 0
    if not record.get("attempts"):
        fault = _CLIENT if status < 500 else _GATEWAY
        text = f"The gateway answered with status {status}{code}{facts['why']}."
        return TraceVerdict(text, fault, "A plug-in or a rule of the route decided this.")
    fault, remedy = _STATUSES.get(
        status, (_BACKEND, _BACKEND_LOG) if status >= 500 or status < 400 else (_CLIENT, _CORRECT)
    )
    verb = f"answered with status {status}" if status >= 400 else "reported an error in its answer"
    text = f"{facts['backend']} {verb}{code}{facts['why']}.{facts['tries']}"
    return TraceVerdict(text, fault, remedy)


def _success(record: Record, facts: Mapping[str, str]) -> TraceVerdict:
    first_s, s, tokens = record.get("ttft_s"), record["s"], record.get("tokens_out")
    if record.get("status") == 101:
        return TraceVerdict(f"A WebSocket session of {_seconds(s)} ended well.", Fault.NOBODY)
    parts = ["read a kept stream"] if record.get("reads") else []
    if record.get("streamed", True) and first_s is not None:
        parts.append(f"first token after {_seconds(first_s)}")
        if tokens and tokens > 1 and s > first_s:
            parts.append(f"{_figure((tokens - 1) / (s - first_s))} tokens/s")
    else:
        parts.append(f"answered in {_seconds(s)}")
        if tokens:
            parts.append(f"{tokens} tokens")
    text = f"It succeeded: {', '.join(parts)}."
    if record.get("fallbacks"):
        text += f" Model '{record.get('served')}' answered instead of '{record.get('model')}'."
    if record.get("continued"):
        text += " A backend broke off, and another one went on with the answer."
    elif (failed := sum(1 for one in record.get("attempts") or () if one[8])) > 0:
        text += f" {failed} {'attempt' if failed == 1 else 'attempts'} failed before."
    if record.get("kept") != "slow":
        return TraceVerdict(text, Fault.NOBODY)
    where, fault, remedy = _slowest(record)
    return TraceVerdict(f"{text} It was slow: {where}.", fault, remedy)


def _slowest(record: Record) -> tuple[str, Fault, str]:
    """Return where most of the time before the first token went, with fault and remedy."""
    queue_s = record.get("queue_s") or 0.0
    attempts = sorted(record.get("attempts") or ())
    failed_s = sum(ended - begun for _, begun, ended, *_, outcome in attempts if outcome)
    checks_s = sum(
        (record["s"] if ended is None else ended) - begun
        for name, begun, ended in record.get("marks") or ()
        if name != "admission"
    )
    total_s = record.get("ttft_s") or record.get("first_byte_s") or record["s"]
    found = (
        (queue_s, "in the queue", _CONFIGURATION, "Add backends: requests wait for a place."),
        (failed_s, "in attempts that failed", _BACKEND, "See why the attempts failed."),
        (checks_s, "in auth and limits", _GATEWAY, "Look at the store and the issuer."),
        (
            total_s - queue_s - failed_s - checks_s,
            "at the backend",
            _BACKEND,
            "Look at the model's load and the prompt's length.",
        ),
    )
    spent_s, place, fault, remedy = max(found, key=lambda one: one[0])
    return f"{_seconds(spent_s)} passed {place}", fault, remedy


# -- its facts --------------------------------------------------------------------------------


def _facts(record: Record) -> dict[str, str]:
    """Return the fields of the templates, as parts of a sentence."""
    reason, attempts = record.get("reason"), record.get("attempts") or ()
    why = ""
    if reason:
        text = " ".join(str(reason).split()).rstrip(".")
        why = f": {text[:_LONGEST_REASON]}{'…' if len(text) > _LONGEST_REASON else ''}"
    model, retry_s, position = (record.get(x) for x in ("model", "retry_after_s", "queue_position"))
    if record.get("continued"):
        onward = ", although another backend had gone on once"
    elif record.get("first_byte_s") is not None:
        onward = ", and no other backend went on"
    else:
        onward = ""
    return {
        "why": why,
        "backend": _backend(record),
        "gate": f"'{reason}'" if reason else "the backend",
        "model": f"model '{model}'" if model else "this model",
        "limit": f"'{record['limit']}'" if record.get("limit") else "of the route",
        "wait": f"; wait {_seconds(retry_s)}" if retry_s is not None else "",
        "queue": f"; {position} were before it" if position else "",
        "took": _seconds(record["s"]),
        "when": _when(record),
        "tries": f" All {len(attempts)} attempts failed." if _all_failed(attempts) else "",
        "onward": onward,
        "behind": "; it had stopped reading" if _stopped_reading(record) else "",
    }


def _backend(record: Record) -> str:
    name = record.get("upstream")
    return f"Backend '{name}'" if name else "The backend"


def _when(record: Record) -> str:
    """Return how far the answer had come."""
    if record.get("first_byte_s") is None:
        return "before the answer began"
    if record.get("streamed", True) and record.get("ttft_s") is None:
        return "before the first token"
    tokens = record.get("tokens_out")
    if tokens:
        return f"after {tokens} {'token' if tokens == 1 else 'tokens'}"
    return f"after {record.get('bytes_out') or 0} bytes of the answer"


def _all_failed(attempts: Any) -> bool:
    return len(attempts) > 1 and all(one[8] or one[7] >= 400 for one in attempts)


def _stopped_reading(record: Record) -> bool:
    """True if the client was reading too slowly when it left."""
    names = [name for name, *_ in record.get("events") or ()]
    pauses = [name for name in names if name in ("client_behind", "client_caught_up")]
    return bool(pauses) and pauses[-1] == "client_behind"


def _seconds(value: float) -> str:
    if value < 0.9995:
        return f"{value * 1e3:.0f} ms" if value < 0.0995 else f"{value:.1f} s"
    if value < 9.95:
        return f"{value:.1f} s".replace(".0 s", " s")
    if value < 100:
        return f"{value:.0f} s"
    minutes, seconds = divmod(round(value), 60)
    if minutes < 10:
        return f"{minutes} min {seconds} s" if seconds else f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    if hours < 2:
        return f"{minutes} min"
    return f"{hours} h {rest} min" if rest and hours < 48 else f"{hours} h"


def _figure(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"
