"""Words of verdicts by error code: what happened, the party at fault, and the remedy. `verdict.py`
fills them with the facts of a request.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.errors import CREDENTIAL_REFUSED
from gateway.telemetry.traces.wording import (
    ADD_CAPACITY,
    BACKEND_LOG,
    CORRECT,
    SEND_AGAIN,
    Fault,
    Wording,
)

_CLIENT, _CONFIGURATION, _BACKEND = Fault.CLIENT, Fault.CONFIGURATION, Fault.BACKEND
_OPERATOR, _GATEWAY = Fault.OPERATOR, Fault.GATEWAY
ERRORS: Mapping[str, Wording] = {
    # -- the request as it was sent
    "invalid_http": Wording(
        _CLIENT, "The client did not send valid HTTP/1.1{why}.", "Use another HTTP client."
    ),
    "invalid_request": Wording(_CLIENT, "The request is malformed{why}.", CORRECT),
    "invalid_host": Wording(
        _CLIENT,
        "The Host header is malformed, or differs from the request target.",
        "Send one plain host name; look at the proxy in front.",
    ),
    "invalid_path": Wording(
        _CLIENT,
        "The path is not in canonical form: it has '..', '//', '%2f' or a needless escape.",
        "Send the path in canonical form.",
    ),
    "invalid_json": Wording(
        _CLIENT,
        "The body is not one valid JSON object{why}.",
        "The client has to correct the body.",
    ),
    "invalid_value": Wording(
        _CLIENT, "A field of the body has a wrong value{why}.", "The client has to correct it."
    ),
    "invalid_type": Wording(
        _CLIENT, "A field of the body has the wrong type{why}.", "The client has to correct it."
    ),
    "missing_required_parameter": Wording(
        _CLIENT, "A field of the body is missing{why}.", "The client has to send it."
    ),
    "unsupported_parameter": Wording(
        _CLIENT,
        "A parameter is refused by the rules of the model{why}.",
        "Leave it out, or change `parameters.refuse` of the model.",
    ),
    "modality_not_supported": Wording(
        _CLIENT,
        "The request has content of a kind that the model does not take{why}.",
        "Use another model, or name one in `fallbacks` of the model.",
    ),
    "context_length_exceeded": Wording(
        _CLIENT,
        "The request does not fit into the context window of the model{why}.",
        "Shorten it, or name a model with a larger window in `fallbacks`.",
    ),
    "content_refused": Wording(
        _CLIENT,
        "A hook of the route refused the request or its answer{why}.",
        "Change the content, or the rules of the hook.",
    ),
    "hook_unavailable": Wording(
        _CONFIGURATION,
        "A hook of the route could not judge the request or its answer{why}.",
        "Look at the hook, or set its `on_error` to open.",
    ),
    "audit_unavailable": Wording(
        _CONFIGURATION,
        "The prompt audit of the route could not take a record{why}.",
        "Look at the disk or the bucket that it writes to, or set its `on_full` to drop.",
    ),
    "invalid_form": Wording(
        _CLIENT, "The form can be read in two ways{why}.", "Send plain multipart/form-data."
    ),
    "invalid_encoding": Wording(
        _CLIENT,
        "The body is not in the coding that its Content-Encoding names, or is cut off{why}.",
        CORRECT,
    ),
    "plain_http": Wording(
        _CLIENT, "The client spoke plain HTTP to a listener with TLS.", "Write https:// in its URL."
    ),
    "invalid_timeout": Wording(
        _CLIENT, "x-request-timeout is not a duration.", "Send seconds, or for example 500ms or 2m."
    ),
    "invalid_event_id": Wording(
        _CLIENT,
        "Last-Event-ID, or the place to resume at, is no event of this stream{why}.",
        "Send the id of the last event that was received.",
    ),
    "invalid_on_disconnect": Wording(
        _CLIENT,
        "X-On-Disconnect is malformed, or asks for more than the route allows{why}.",
        "Send 'cancel' or for example 'grace=30s', or allow more in `resume` of the route.",
    ),
    "invalid_event": Wording(_CLIENT, "The event cannot be published in a channel{why}.", CORRECT),
    "channel_not_found": Wording(
        _CLIENT,
        "The path holds no name that a channel can have.",
        "Use letters, digits, dots, dashes and underscores.",
    ),
    "invalid_idempotency_key": Wording(
        _CLIENT, "The Idempotency-Key is empty or too long.", "Send a UUID."
    ),
    "invalid_handshake": Wording(
        _CLIENT, "The WebSocket handshake is malformed{why}.", "Use a WebSocket client."
    ),
    "invalid_message": Wording(_CLIENT, "A message to the bridge is malformed{why}.", CORRECT),
    "unknown_op": Wording(
        _CLIENT, "A message to the bridge has an unknown 'op'{why}.", "See docs/bridge.md."
    ),
    "duplicate_id": Wording(
        _CLIENT,
        "A generation with this id is under way on the same socket.",
        "Use another id for each generation.",
    ),
    "unknown_id": Wording(
        _CLIENT,
        "No generation with this id is under way on the socket; it may have ended just before.",
        "",
    ),
    "model_required": Wording(
        _CLIENT, "The request names no model, and the route needs one.", "Set `model`."
    ),
    "not_translatable": Wording(
        _CLIENT,
        "The request uses something that the backend's dialect does not have{why}.",
        "Leave it out, or use a model whose backend speaks the client's dialect.",
    ),
    "unsupported_encoding": Wording(
        _CLIENT,
        "The gateway cannot decode the body's Content-Encoding.",
        "Send the body plain, or in one of zstd, br, gzip or deflate.",
    ),
    "request_too_large": Wording(
        _CLIENT,
        "The body is larger than the route allows{why}.",
        "Send less, or raise `body` of the route.",
    ),
    "headers_too_large": Wording(
        _CLIENT,
        "The request's headers are too large or too many.",
        "Send fewer, or raise `server.header_bytes` or `server.header_count`.",
    ),
    "request_timeout": Wording(
        _CLIENT,
        "The client was too slow to send its request.",
        "Look at the client's network; `server.header_timeout` and `server.body_timeout` are the "
        "limits.",
    ),
    "expectation_failed": Wording(
        _CLIENT, "The client sent an Expect header other than 100-continue.", "Leave it out."
    ),
    "idempotency_key_reused": Wording(
        _CLIENT,
        "The client sent one Idempotency-Key with two different requests.",
        "Use a new key for each request.",
    ),
    "http_version_not_supported": Wording(
        _CLIENT,
        "The client does not speak HTTP/1.1.",
        "Use HTTP/1.1; in nginx: proxy_http_version 1.1.",
    ),
    # -- where it goes
    "not_found": Wording(
        _CLIENT,
        "No route serves this path.",
        "Check the client's base URL; `gateway routes` lists the routes.",
    ),
    "method_not_allowed": Wording(
        _CLIENT, "The path does not serve this method.", "The response's Allow header lists them."
    ),
    "model_not_found": Wording(
        _CLIENT,
        "The route does not serve {model}, or not to this caller.",
        "Ask GET /v1/models as this caller. Correct the model's name, add it to `models` of the "
        "route, or grant it to the key.",
    ),
    "upgrade_refused": Wording(
        _CLIENT,
        "The client asked for a protocol upgrade that the path does not serve{why}.",
        "Use plain HTTP/1.1, or add `websocket` to the route.",
    ),
    "upgrade_required": Wording(
        _CLIENT, "A plain request came to a path that serves only WebSockets.", "Use wss or ws."
    ),
    "websocket_version": Wording(
        _CLIENT,
        "The client speaks another version of the WebSocket protocol than 13.",
        "Use a current client.",
    ),
    "stream_not_found": Wording(
        _CLIENT,
        "The stream to resume is not kept (any more), or belongs to another caller.",
        SEND_AGAIN + " `resume.ttl` says how long streams are kept.",
    ),
    # -- who may
    "invalid_api_key": Wording(
        _CLIENT,
        "The gateway refused the credential{why}.",
        "Give the client a valid credential. If it should be valid: compare it with `auth` of the "
        "configuration.",
    ),
    "credential_expired": Wording(
        _CLIENT,
        "The client's credential expired or was revoked {when}.",
        "The client has to get a new token and connect again.",
    ),
    "insufficient_scope": Wording(
        _CLIENT,
        "The credential is valid, but does not allow this{why}.",
        "Grant what is missing to the caller, or change `scopes` of the route.",
    ),
    "model_unknown": Wording(
        _CLIENT,
        "The credential is for certain models only, and the request does not say its model in a "
        "way that can be checked.",
        "Name the model in a JSON body or a form.",
    ),
    "origin_not_allowed": Wording(
        _CONFIGURATION,
        "A page of an origin that is not listed opened a WebSocket.",
        "Add the page's origin to `websocket.origins` of the route, if it should be allowed.",
    ),
    # -- how much
    "rate_limit_exceeded": Wording(
        _CLIENT,
        "Limit {limit} refused it{wait}.",
        "The client has to wait. If the limit is too low: raise {raise_it}, or give the caller a "
        "tier.",
    ),
    "too_many_generations": Wording(
        _CLIENT,
        "The socket has as many generations under way as its bridge allows.",
        "Wait for one to end, or raise the bridge's limit.",
    ),
    "too_many_keys": Wording(
        _CLIENT,
        "The user has made as many keys as the team allows.",
        "Let the user revoke one, or raise `user_keys` of the team: `gateway teams set`.",
    ),
    "too_many_channels": Wording(
        _CLIENT,
        "The tenant has as many channels as `channels.max_channels` of the route allows.",
        "Use fewer channels, or raise it.",
    ),
    "too_many_followers": Wording(
        _CLIENT,
        "The channel, or the caller, has as many followers as the route allows{why}.",
        "Raise `channels.max_followers` or `channels.max_per_caller`, or add workers.",
    ),
    "follower_behind": Wording(
        _CLIENT,
        "The follower of a channel read more slowly than events arrived.",
        "Raise `channels.history` or `channels.history_bytes`, or set `channels.slow: drop`.",
    ),
    "queue_full": Wording(
        _CONFIGURATION,
        "Too many requests wait for {gate} already{wait}.",
        "Add backends, or raise `admission.concurrency` or `admission.queue`.",
    ),
    "queue_timeout": Wording(
        _CONFIGURATION,
        "It waited for {gate} longer than `admission.max_wait`{queue}.",
        "Add backends, or raise `admission.concurrency` or `admission.max_wait`.",
    ),
    "overloaded": Wording(
        _CONFIGURATION,
        "The gateway's worker carries as much as it may{why}.",
        "Add workers or replicas, or raise the limit that is named.",
    ),
    "too_many_connections": Wording(
        _CONFIGURATION,
        "As many clients as `server.max_connections` allows are connected.",
        "Raise it, or add replicas.",
    ),
    # -- sessions and kept streams
    "websocket_violation": Wording(
        _CLIENT, "The client broke the WebSocket protocol, or a limit of its route{why}.", CORRECT
    ),
    "websocket_idle": Wording(
        _CLIENT,
        "Nothing was said on the WebSocket for `websocket.idle`, or its client answered no ping.",
        "The client has to connect again, and to ping when it is quiet for long.",
    ),
    "session_expired": Wording(
        _CLIENT,
        "The WebSocket lasted as long as `websocket.max_session` allows.",
        "The client has to connect again. Raise `max_session` if that is too early.",
    ),
    "stream_expired": Wording(
        _CLIENT,
        "The stream lasted as long as `max_stream` of its route allows.",
        "Raise `max_stream`, or set `resume` with a grace, so that clients continue the stream.",
    ),
    "stream_trimmed": Wording(
        _CONFIGURATION,
        "The stream outgrew what is kept of it: the reader came too late.",
        "Raise `resume.max_bytes`, or have clients resume sooner.",
    ),
    "stream_cancelled": Wording(
        _CLIENT,
        "The generation was cancelled after {took}, {when}, by its owner.",
        "",
    ),
    "stream_lost": Wording(
        _GATEWAY,
        "The gateway process that ran this generation is gone.",
        SEND_AGAIN + " See why the worker ended: `died` in the log.",
    ),
    # -- the gateway and what it depends on
    "internal_error": Wording(
        _GATEWAY,
        "The gateway itself failed{why}.",
        "Report it with the trace that the log has under the request id.",
    ),
    "unavailable": Wording(
        _OPERATOR, "The gateway is stopping and takes no new requests.", SEND_AGAIN
    ),
    "gateway_draining": Wording(
        _OPERATOR,
        "The gateway stopped or restarted {when}.",
        SEND_AGAIN + " A longer `server.drain` lets more streams end by themselves.",
    ),
    "request_cancelled": Wording(
        _OPERATOR, "An operator ended it after {took}, {when}.", SEND_AGAIN
    ),
    "auth_unavailable": Wording(
        _GATEWAY,
        "The credential cannot be verified, because the issuer's keys are out of reach{why}.",
        "Run `gateway doctor`: it fetches the issuer's keys.",
    ),
    "limits_unavailable": Wording(
        _GATEWAY,
        "The store of limits does not answer, and a limit of the route refuses without it.",
        "Look at the store: `gateway doctor`. `on_store_error` says what to do without it.",
    ),
    "channels_unavailable": Wording(
        _GATEWAY,
        "The store of channels, or the worker that keeps this one, does not answer{why}.",
        "Look at the store: `gateway doctor`. A worker that died is replaced within a second.",
    ),
    "resume_unavailable": Wording(
        _GATEWAY,
        "The store of streams does not answer, and the route refuses without it.",
        "Look at the store: `gateway doctor`. `on_store_error` says what to do without it.",
    ),
    # -- the backend
    "upstream_error": Wording(_BACKEND, "{backend} failed {when}{why}.", BACKEND_LOG),
    "upstream_connect_failed": Wording(
        _BACKEND,
        "{backend} cannot be reached{why}.{tries}",
        "Start the backend, or correct its URL, firewall or certificate: run `gateway doctor`.",
    ),
    "upstream_connect_timeout": Wording(
        _BACKEND,
        "{backend} accepted no connection within `timeouts.connect`{limit_s}.{tries}",
        "Look at the backend's load and at the network between: run `gateway doctor`.",
    ),
    "upstream_first_byte_timeout": Wording(
        _BACKEND,
        "{backend} did not begin its answer within `timeouts.first_byte`{limit_s}.{tries}",
        "Look at the model's load and the prompt's length; raise `timeouts.first_byte` for slow "
        "models.",
    ),
    "upstream_idle_timeout": Wording(
        _BACKEND,
        "{backend} fell silent {when}, for longer than `timeouts.idle`{limit_s}{onward}.",
        BACKEND_LOG + " Raise `timeouts.idle` for models that think for long.",
    ),
    "upstream_total_timeout": Wording(
        _BACKEND,
        "It was cut after {took}, {when}: the answer took longer than `timeouts.total`, or than "
        "the client's x-request-timeout.",
        "Raise `timeouts.total`, have the client ask for less or wait longer, or add backends.",
    ),
    "upstream_reset": Wording(
        _BACKEND,
        "{backend} closed the connection {when}{onward}.{tries}",
        BACKEND_LOG + " Often it ran out of memory, or was restarted. With `continues`, another "
        "backend goes on.",
    ),
    "upstream_truncated": Wording(
        _BACKEND,
        "{backend} ended its answer {when}, without the end mark of a complete one{onward}.{tries}",
        BACKEND_LOG + " A proxy in front of it may hide that it broke off: let that proxy speak "
        "HTTP/1.1 to the backend.",
    ),
    "upstream_invalid_response": Wording(
        _BACKEND,
        "{backend} sent an invalid response {when}{why}.",
        "Check `url` and `dialect` of the upstream.",
    ),
    CREDENTIAL_REFUSED: Wording(
        _CONFIGURATION,
        "{backend} refused the gateway's own credential{why}.{tries}",
        "Correct `credentials` of the upstream, or what they may use there.",
    ),
    "upstream_rejected": Wording(_BACKEND, "{backend} answered with an error{why}.", BACKEND_LOG),
    "backend_error": Wording(_BACKEND, "{backend} reported an error {when}{why}.", BACKEND_LOG),
    "upstream_busy": Wording(
        _BACKEND, "{backend} is full: no endpoint had room in time.", ADD_CAPACITY
    ),
    "upstream_waking": Wording(
        _BACKEND,
        "{backend} scales from zero, and did not start in time.",
        "Look at what starts it, or raise `wake.max_wait`.",
    ),
    "upstream_unavailable": Wording(
        _CONFIGURATION,
        "{backend} has no endpoint: none was discovered, or all are drained.",
        "Look at the Upstreams page: let an endpoint in, or correct the discovery.",
    ),
}
"""Templates by the `code` of an error."""
