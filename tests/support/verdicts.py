"""Verdicts by value: fault and sentence for each error code, and for each end."""

from __future__ import annotations

from typing import Any

BEFORE: dict[str, Any] = {
    **{"s": 3.1, "first_byte_s": None, "ttft_s": None, "tokens_out": None},
    **{"reason": "so it is", "limit": "per-user", "retry_after_s": 12},
}
"""Fields of the records of `BY_ERROR`: requests that failed before the answer began."""

BY_ERROR = {
    "invalid_http": ("client", "The client did not send valid HTTP/1.1: so it is."),
    "invalid_request": ("client", "The request is malformed: so it is."),
    "invalid_host": ("client", "The Host header is malformed, or differs from the request target."),
    "invalid_path": (
        "client",
        "The path is not in canonical form: it has '..', '//', '%2f' or a needless escape.",
    ),
    "invalid_json": ("client", "The body is not one valid JSON object: so it is."),
    "invalid_value": ("client", "A field of the body has a wrong value: so it is."),
    "invalid_type": ("client", "A field of the body has the wrong type: so it is."),
    "missing_required_parameter": ("client", "A field of the body is missing: so it is."),
    "unsupported_parameter": (
        "client",
        "A parameter is refused by the rules of the model: so it is.",
    ),
    "modality_not_supported": (
        "client",
        "The request has content of a kind that the model does not take: so it is.",
    ),
    "context_length_exceeded": (
        "client",
        "The request does not fit into the context window of the model: so it is.",
    ),
    "content_refused": (
        "client",
        "A hook of the route refused the request or its answer: so it is.",
    ),
    "hook_unavailable": (
        "configuration",
        "A hook of the route could not judge the request or its answer: so it is.",
    ),
    "audit_unavailable": (
        "configuration",
        "The prompt audit of the route could not take a record: so it is.",
    ),
    "invalid_form": ("client", "The form can be read in two ways: so it is."),
    "invalid_encoding": (
        "client",
        "The body is not in the coding that its Content-Encoding names, or is cut off: so it is.",
    ),
    "plain_http": ("client", "The client spoke plain HTTP to a listener with TLS."),
    "invalid_timeout": ("client", "x-request-timeout is not a duration."),
    "invalid_event_id": (
        "client",
        "Last-Event-ID, or the place to resume at, is no event of this stream: so it is.",
    ),
    "invalid_on_disconnect": (
        "client",
        "X-On-Disconnect is malformed, or asks for more than the route allows: so it is.",
    ),
    "invalid_idempotency_key": ("client", "The Idempotency-Key is empty or too long."),
    "invalid_handshake": ("client", "The WebSocket handshake is malformed: so it is."),
    "invalid_message": ("client", "A message to the bridge is malformed: so it is."),
    "unknown_op": ("client", "A message to the bridge has an unknown 'op': so it is."),
    "duplicate_id": ("client", "A generation with this id is under way on the same socket."),
    "unknown_id": (
        "client",
        "No generation with this id is under way on the socket; it may have ended just before.",
    ),
    "model_required": ("client", "The request names no model, and the route needs one."),
    "not_translatable": (
        "client",
        "The request uses something that the backend's dialect does not have: so it is.",
    ),
    "unsupported_encoding": ("client", "The gateway cannot decode the body's Content-Encoding."),
    "request_too_large": ("client", "The body is larger than the route allows: so it is."),
    "headers_too_large": ("client", "The request's headers are too large or too many."),
    "request_timeout": ("client", "The client was too slow to send its request."),
    "expectation_failed": ("client", "The client sent an Expect header other than 100-continue."),
    "idempotency_key_reused": (
        "client",
        "The client sent one Idempotency-Key with two different requests.",
    ),
    "http_version_not_supported": ("client", "The client does not speak HTTP/1.1."),
    "not_found": ("client", "No route serves this path."),
    "method_not_allowed": ("client", "The path does not serve this method."),
    "model_not_found": ("client", "The route does not serve model 'llama', or not to this caller."),
    "upgrade_refused": (
        "client",
        "The client asked for a protocol upgrade that the path does not serve: so it is.",
    ),
    "upgrade_required": ("client", "A plain request came to a path that serves only WebSockets."),
    "websocket_version": (
        "client",
        "The client speaks another version of the WebSocket protocol than 13.",
    ),
    "stream_not_found": (
        "client",
        "The stream to resume is not kept (any more), or belongs to another caller.",
    ),
    "invalid_api_key": ("client", "The gateway refused the credential: so it is."),
    "credential_expired": (
        "client",
        "The client's credential expired or was revoked before the answer began.",
    ),
    "insufficient_scope": ("client", "The credential is valid, but does not allow this: so it is."),
    "model_unknown": (
        "client",
        "The credential is for certain models only, and the request does not say its model in a "
        "way that can be checked.",
    ),
    "origin_not_allowed": (
        "configuration",
        "A page of an origin that is not listed opened a WebSocket.",
    ),
    "rate_limit_exceeded": ("client", "Limit 'per-user' refused it; wait 12 s."),
    "too_many_keys": ("client", "The user has made as many keys as the team allows."),
    "too_many_generations": (
        "client",
        "The socket has as many generations under way as its bridge allows.",
    ),
    "queue_full": ("configuration", "Too many requests wait for 'so it is' already; wait 12 s."),
    "queue_timeout": (
        "configuration",
        "It waited for 'so it is' longer than `admission.max_wait`.",
    ),
    "overloaded": ("configuration", "The gateway's worker carries as much as it may: so it is."),
    "too_many_connections": (
        "configuration",
        "As many clients as `server.max_connections` allows are connected.",
    ),
    "websocket_violation": (
        "client",
        "The client broke the WebSocket protocol, or a limit of its route: so it is.",
    ),
    "websocket_idle": (
        "client",
        "The WebSocket carried no message for `websocket.idle`, or its client answered no ping.",
    ),
    "session_expired": (
        "client",
        "The WebSocket lasted as long as `websocket.max_session` allows.",
    ),
    "stream_expired": ("client", "The stream lasted as long as `max_stream` of its route allows."),
    "stream_trimmed": (
        "configuration",
        "The stream outgrew what is kept of it: the reader came too late.",
    ),
    "stream_cancelled": (
        "client",
        "The generation was cancelled after 3.1 s, before the answer began, by its owner.",
    ),
    "stream_lost": ("gateway", "The gateway process that ran this generation is gone."),
    "internal_error": ("gateway", "The gateway itself failed: so it is."),
    "unavailable": ("operator", "The gateway is stopping and takes no new requests."),
    "gateway_draining": ("operator", "The gateway stopped or restarted before the answer began."),
    "request_cancelled": ("operator", "An operator ended it after 3.1 s, before the answer began."),
    "auth_unavailable": (
        "gateway",
        "The credential cannot be verified, because the issuer's keys are out of reach: so it is.",
    ),
    "limits_unavailable": (
        "gateway",
        "The store of limits does not answer, and a limit of the route refuses without it.",
    ),
    "resume_unavailable": (
        "gateway",
        "The store of streams does not answer, and the route refuses without it.",
    ),
    "invalid_event": ("client", "The event cannot be published in a channel: so it is."),
    "channel_not_found": ("client", "The path holds no name that a channel can have."),
    "too_many_channels": (
        "client",
        "The tenant has as many channels as `channels.max_channels` of the route allows.",
    ),
    "too_many_followers": (
        "client",
        "The channel, or the caller, has as many followers as the route allows: so it is.",
    ),
    "follower_behind": (
        "client",
        "The follower of a channel read more slowly than events arrived.",
    ),
    "channels_unavailable": (
        "gateway",
        "The store of channels, or the worker that keeps this one, does not answer: so it is.",
    ),
    "upstream_error": ("backend", "Backend 'main' failed before the answer began: so it is."),
    "upstream_connect_failed": ("backend", "Backend 'main' cannot be reached: so it is."),
    "upstream_connect_timeout": (
        "backend",
        "Backend 'main' accepted no connection within `timeouts.connect`.",
    ),
    "upstream_first_byte_timeout": (
        "backend",
        "Backend 'main' did not begin its answer within `timeouts.first_byte` (0.3 s).",
    ),
    "upstream_idle_timeout": (
        "backend",
        "Backend 'main' fell silent before the answer began, for longer than `timeouts.idle`.",
    ),
    "upstream_total_timeout": (
        "backend",
        "It was cut after 3.1 s, before the answer began: the answer took longer than "
        "`timeouts.total`, or than the client's x-request-timeout.",
    ),
    "upstream_reset": ("backend", "Backend 'main' closed the connection before the answer began."),
    "upstream_truncated": (
        "backend",
        "Backend 'main' ended its answer before the answer began, without the end mark of a "
        "complete one.",
    ),
    "upstream_invalid_response": (
        "backend",
        "Backend 'main' sent an invalid response before the answer began: so it is.",
    ),
    "upstream_credential_refused": (
        "configuration",
        "Backend 'main' refused the gateway's own credential: so it is.",
    ),
    "upstream_rejected": ("backend", "Backend 'main' answered with an error: so it is."),
    "backend_error": (
        "backend",
        "Backend 'main' reported an error before the answer began: so it is.",
    ),
    "upstream_busy": ("backend", "Backend 'main' is full: no endpoint had room in time."),
    "upstream_waking": ("backend", "Backend 'main' scales from zero, and did not start in time."),
    "upstream_unavailable": (
        "configuration",
        "Backend 'main' has no endpoint: none was discovered, or all are drained.",
    ),
}

BY_END = {
    "client_abort": ("client", "The client left after 3.1 s, after 30 tokens."),
    "upstream_reset": (
        "backend",
        "Backend 'main' closed the connection after 30 tokens, and no other backend went on.",
    ),
    "timeout": (
        "backend",
        "Backend 'main' fell silent after 30 tokens, for longer than `timeouts.idle`, and no "
        "other backend went on.",
    ),
    "drain": ("operator", "The gateway stopped or restarted after 30 tokens."),
    "refused": ("client", "The gateway ended the session after 3.1 s."),
    "cancelled": ("operator", "An operator ended it after 3.1 s, after 30 tokens."),
    "internal_error": ("gateway", "The gateway itself failed."),
    "complete": ("nobody", "It succeeded: first token after 0.6 s, 12 tokens/s."),
}
"""Verdicts on requests that ended after 3.1 s and 30 tokens."""
