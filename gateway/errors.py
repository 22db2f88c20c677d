"""Errors that a client may see: each has a status, a `code`, and a message that is safe to show.

The dialect decides on the format of the response (OpenAI's, Anthropic's, Ollama's). A message says
what is wrong and what to do; it never repeats what the client sent.
"""

from __future__ import annotations

NOBODY_READS = "it had no reader"
"""Reason of a `StreamCancelled` whose client left and did not resume it."""
_LONGEST_NAME = 100
"""Maximum length of a model's name in the log, in characters, if the model is unknown."""


class GatewayError(Exception):
    """Error that ends a request with an error response.

    `code` is stable and meant for programs; `message` is for people. `headers` are added to the
    response. `reason` is for the log only and may contain internal names.
    """

    status = 500
    code = "internal_error"
    kind = "server_error"
    limit: str | None = None
    """Name, in the configuration, of the limit that was reached."""
    model: str | None = None
    """Model that the client asked for, if it is not served."""
    default_message = "The gateway failed to handle this request."
    default_headers: tuple[tuple[str, str], ...] = ()

    def __init__(
        self,
        message: str | None = None,
        *,
        code: str | None = None,
        param: str | None = None,
        headers: tuple[tuple[str, str], ...] = (),
        reason: str | None = None,
    ) -> None:
        self.message = message or self.default_message
        if code is not None:
            self.code = code
        self.param = param
        self.headers = headers or self.default_headers
        self.reason = reason
        super().__init__(self.message)

    def __reduce__(self) -> tuple[object, ...]:
        # Subclasses have other constructor arguments.
        return _restored, (type(self), self.__dict__)

    @property
    def retry_after_s(self) -> int | None:
        """Value of Retry-After in seconds, or None."""
        values = [value for name, value in self.headers if name == "Retry-After"]
        return int(values[0]) if values and values[0].isdecimal() else None


def _restored(kind: type[GatewayError], values: dict[str, object]) -> GatewayError:
    """Return an error that was raised in another process."""
    error = kind.__new__(kind, values["message"])
    error.__dict__.update(values)
    return error


class RequestError(GatewayError):
    """The request cannot be served in this form."""

    status = 400
    code = "invalid_request"
    kind = "invalid_request_error"
    default_message = "The request is malformed."


class InvalidField(RequestError):
    """A field of the body has a wrong value, by the API that the route serves. `must` says what the
    field has to be; `name` is empty for the body itself.
    """

    code = "invalid_value"

    def __init__(self, name: str, must: str) -> None:
        what = f"'{name}'" if name else "The request body"
        super().__init__(f"{what} {must}.", param=name or None)


class InvalidType(InvalidField):
    """A field of the body has a value of the wrong type."""

    code = "invalid_type"


class MissingField(InvalidField):
    """A field of the body is missing."""

    code = "missing_required_parameter"

    def __init__(self, name: str) -> None:
        super().__init__(name, "is required")


class UnsupportedParameter(RequestError):
    """The rules of the model refuse a parameter."""

    code = "unsupported_parameter"

    def __init__(self, name: str) -> None:
        super().__init__(f"'{name}' is not supported by this model. Leave it out.", param=name)


class ModalityNotSupported(RequestError):
    """The request has a kind of content that the model does not take. `kind` is such as image."""

    code = "modality_not_supported"

    def __init__(self, kind: str) -> None:
        super().__init__(
            f"This model does not take content of the kind '{kind}'. Use another model.",
            param="messages",
        )


class ContextLengthExceeded(RequestError):
    """The prompt and the longest answer do not fit into the context window of the model.
    `needed_tokens` is an estimate.
    """

    code = "context_length_exceeded"

    def __init__(self, needed_tokens: int, window_tokens: int) -> None:
        super().__init__(
            f"The prompt is too long: the model's maximum context length is {window_tokens} "
            f"tokens, and the request needs about {needed_tokens}. Shorten the prompt or the "
            "longest answer.",
            param="messages",
        )


class ContentRefused(RequestError):
    """A hook refuses the request, or its answer. Sending it again does not help, so the status
    invites no retry.
    """

    code = "content_refused"
    default_message = "The content was refused by a policy of this gateway."


class HookUnavailable(GatewayError):
    """A hook that has to judge the content failed. Another model would not help, so none is
    asked.
    """

    status = 503
    code = "hook_unavailable"
    default_message = "The content could not be checked. Try again."


class AuditUnavailable(GatewayError):
    """The request would be recorded by the prompt audit, which cannot take records now. `reason` is
    for the log.
    """

    status = 503
    code = "audit_unavailable"
    default_message = "The request cannot be recorded as this gateway requires. Try again later."

    def __init__(self, reason: str | None = None) -> None:
        super().__init__(
            headers=(("Retry-After", "5"),),
            reason=reason or "the queue of the prompt audit is full",
        )


class NotTranslatable(RequestError):
    """The request uses a feature that the backend's dialect does not have."""

    code = "not_translatable"

    def __init__(self, what: str, why: str = "") -> None:
        text = f"'{what}' cannot be translated for the backend of this model"
        super().__init__(f"{text}: {why}." if why else f"{text}.", param=what)


class Unauthenticated(RequestError):
    """No acceptable credential (RFC 9110 section 15.5.2). `challenge` becomes WWW-Authenticate."""

    status = 401
    code = "invalid_api_key"
    kind = "authentication_error"
    default_message = "A valid credential is required: send it as 'Authorization: Bearer <token>'."

    def __init__(self, challenge: str, *, reason: str, message: str | None = None) -> None:
        super().__init__(message, headers=(("WWW-Authenticate", challenge),), reason=reason)


class Forbidden(RequestError):
    """The caller is authenticated, but not allowed to do this (RFC 6750 section 3.1)."""

    status = 403
    code = "insufficient_scope"
    kind = "permission_error"
    default_message = "Your credential does not allow this."

    def __init__(self, reason: str) -> None:
        challenge = ("WWW-Authenticate", 'Bearer error="insufficient_scope"')
        super().__init__(headers=(challenge,), reason=reason)


class OriginNotAllowed(RequestError):
    """WebSocket from a page of an origin that is not allowed (RFC 6455 section 10.2)."""

    status = 403
    code = "origin_not_allowed"
    kind = "permission_error"
    default_message = "Pages of this origin may not open a WebSocket here."


class NotFound(RequestError):
    """No route, or a model that this route does not serve."""

    status = 404
    code = "not_found"
    default_message = "Nothing is served at this path. Check the base URL."


class ModelNotFound(NotFound):
    """The model is unknown here. The message does not say which models exist."""

    code = "model_not_found"
    default_message = "The model does not exist here, or you may not use it. See GET /v1/models."

    def __init__(self, name: str | None = None) -> None:
        """`name` is the model that the client asked for. Only logs and traces have it."""
        super().__init__(param="model")
        self.model = None if name is None else name[:_LONGEST_NAME]


class MethodNotAllowed(RequestError):
    """The path exists, but not for this method (RFC 9110 section 15.5.6)."""

    status = 405
    code = "method_not_allowed"
    default_message = "This method is not served at this path."

    def __init__(self, allowed: str) -> None:
        super().__init__(headers=(("Allow", allowed),))


class RequestTimeout(RequestError):
    """The client was too slow in sending its request (RFC 9110 section 15.5.9)."""

    status = 408
    code = "request_timeout"
    default_message = "The request did not arrive in time."


class BodyTooLarge(RequestError):
    """The body exceeds the route's cap (RFC 9110 section 15.5.14)."""

    status = 413
    code = "request_too_large"

    def __init__(self, cap_bytes: int) -> None:
        super().__init__(f"The request body is larger than the {cap_bytes} bytes allowed here.")


class UnsupportedCoding(RequestError):
    """The body has an unknown content coding, or several (RFC 9110 section 15.5.16)."""

    status = 415
    code = "unsupported_encoding"
    default_message = (
        "The request body has an unknown Content-Encoding. Send it without one, or with zstd, "
        "br, gzip or deflate."
    )
    default_headers = (("Accept-Encoding", "zstd, br, gzip, deflate"),)


class ModelUnknown(Forbidden):
    """The caller may use certain models only, and the model of this request cannot be
    determined.
    """

    code = "model_unknown"
    default_message = (
        "You may use certain models only, and this request does not say which one it is for in a "
        "way that can be checked. Send a JSON object with 'model', or a form with this field."
    )


class ExpectationFailed(RequestError):
    """Expect header other than 100-continue (RFC 9110 section 10.1.1)."""

    status = 417
    code = "expectation_failed"
    default_message = "Only 'Expect: 100-continue' is understood."


class WebSocketVersion(RequestError):
    """WebSocket protocol version other than 13 (RFC 6455 section 4.4)."""

    status = 426
    code = "websocket_version"
    default_message = "Only version 13 of the WebSocket protocol is supported here."
    default_headers = (("Sec-WebSocket-Version", "13"), ("Upgrade", "websocket"))


class UpgradeRequired(RequestError):
    """Plain request to a path that serves only WebSockets (RFC 9110 section 15.5.22)."""

    status = 426
    code = "upgrade_required"
    default_message = "Only WebSockets are served here. Connect with wss:// or ws://."
    default_headers = (("Upgrade", "websocket"),)


class SessionBroken(RequestError):
    """A WebSocket client violated the protocol or a limit of its route. Reported by a close
    code.
    """

    code = "websocket_violation"


class SessionIdle(RequestError):
    """A WebSocket was silent for too long, or a ping was not answered. Reported by a close code."""

    status = 408
    code = "websocket_idle"
    default_message = "No message was sent for too long."


class SessionExpired(RequestError):
    """A WebSocket has lasted for `max_session`. Reported by a close code."""

    status = 408
    code = "session_expired"
    default_message = "The session has reached its longest duration. Connect again."


class StreamExpired(GatewayError):
    """A response stream has lasted for `max_stream`. Reported by the last event."""

    status = 504
    code = "stream_expired"
    default_message = "The stream has reached its longest duration."


class CredentialExpired(RequestError):
    """The credential of a session or a stream has expired or was revoked. Reported by a close code,
    or as the last event.
    """

    status = 401
    code = "credential_expired"
    default_message = "The credential is not valid any more."


class PlainHttp(RequestError):
    """A client speaks plain HTTP to a listener with TLS."""

    status = 400
    code = "plain_http"
    default_message = "This port speaks HTTPS only. Write https:// in the URL."


class HeadersTooLarge(RequestError):
    """Too many header bytes or header fields (RFC 6585 section 5)."""

    status = 431
    code = "headers_too_large"
    default_message = "The request's headers are too large or too many."


class RateLimited(RequestError):
    """A limit was reached. `retry_after_s` is the number of seconds until a retry (RFC 6585 section
    4).
    """

    status = 429
    code = "rate_limit_exceeded"
    kind = "rate_limit_error"

    def __init__(self, limit: str, retry_after_s: int, what: str | None = None) -> None:
        """`what` is the limit in words, if the configuration does not name it."""
        self.limit = limit
        named = f"Limit '{limit}'"
        wait = "1 second" if retry_after_s == 1 else f"{retry_after_s} seconds"
        super().__init__(
            f"{what or named} is reached. Retry after {wait}.",
            headers=(("Retry-After", str(retry_after_s)),),
        )


class TooManyGenerations(RequestError):
    """The socket already runs as many generations as its bridge allows."""

    status = 429
    code = "too_many_generations"
    kind = "rate_limit_error"
    default_message = (
        "This socket has as many generations at once as it may have. Wait for one to end."
    )


class TooManyKeys(RequestError):
    """The caller has made as many keys as its team allows."""

    status = 409
    code = "too_many_keys"
    default_message = "You have as many keys as your team allows. Revoke one first."


class VersionNotSupported(RequestError):
    """HTTP/1.0 or another version: only HTTP/1.1 supports everything this gateway needs."""

    status = 505
    code = "http_version_not_supported"
    default_message = "Only HTTP/1.1 is served here."


class Unavailable(GatewayError):
    """The gateway is draining or full; a later retry may succeed."""

    status = 503
    code = "unavailable"
    default_message = "The gateway cannot take this request now. Retry shortly."

    def __init__(
        self,
        message: str | None = None,
        *,
        code: str | None = None,
        reason: str | None = None,
        retry_after_s: int = 1,
    ) -> None:
        headers = (("Retry-After", str(retry_after_s)),)
        super().__init__(message, code=code, headers=headers, reason=reason)


class UnavailableNow(Unavailable):
    """Base of the errors whose reason is for the log only, and whose message is always the same."""

    def __init__(self, reason: str | None = None, retry_after_s: int = 1) -> None:
        super().__init__(reason=reason, retry_after_s=retry_after_s)


class Overloaded(UnavailableNow):
    """This process is at its capacity: `server.max_requests`, `server.max_memory` or
    `server.body_memory`.
    """

    code = "overloaded"
    default_message = "The gateway is overloaded. Retry shortly."


class Draining(UnavailableNow):
    """The gateway stopped before the response was complete. A retry reaches another gateway,
    or the next process.
    """

    code = "gateway_draining"
    default_message = "The gateway is restarting. Send the request again."


class Cancelled(GatewayError):
    """An operator ended the request."""

    status = 503
    code = "request_cancelled"
    default_message = "The request was cancelled by an operator."


class AuthUnavailable(UnavailableNow):
    """The credential cannot be verified at the moment: the issuer's keys are unreachable."""

    code = "auth_unavailable"
    default_message = "Credentials cannot be verified at the moment. Retry shortly."


class LimitsUnavailable(UnavailableNow):
    """The limit store does not respond, and a limit of the route refuses requests without it."""

    code = "limits_unavailable"
    default_message = "Limits cannot be checked at the moment. Retry shortly."


class QueueFull(UnavailableNow):
    """The queue for the backend is full."""

    code = "queue_full"
    default_message = "Too many requests are waiting for this model. Retry later."


class QueueTimeout(UnavailableNow):
    """The backend had no capacity within `admission.max_wait`."""

    code = "queue_timeout"
    default_message = "The model had no room for this request in time. Retry later."


class StreamNotFound(NotFound):
    """The stream does not exist, or belongs to another caller; the client cannot tell which."""

    code = "stream_not_found"
    default_message = "This stream does not exist, or is no longer kept. Send the request again."


class InvalidEventId(RequestError):
    """Last-Event-ID or `after` is not the id of an event."""

    code = "invalid_event_id"
    default_message = "Last-Event-ID or `after` is not the id of an event of this stream."


class StreamTrimmed(RequestError):
    """The requested events were dropped because the stream exceeded its cap (RFC 9110 section
    15.5.11).
    """

    status = 410
    code = "stream_trimmed"
    default_message = "The events that follow are no longer kept. Send the request again."


class StreamCancelled(GatewayError):
    """The generation was cancelled by its owner, or because it had no reader."""

    status = 410
    code = "stream_cancelled"
    default_message = "The generation was cancelled. Send the request again."


class StreamLost(GatewayError):
    """The process that ran a generation is gone, so the rest will never be generated."""

    status = 502
    code = "stream_lost"
    default_message = "The process that ran this generation is gone. Send the request again."


class IdempotencyConflict(RequestError):
    """One key was used for two different requests (draft-ietf-httpapi-idempotency-key-header
    section 2.7).
    """

    status = 422
    code = "idempotency_key_reused"
    default_message = "This Idempotency-Key was sent with another request. Use a new one."

    def __init__(self) -> None:
        super().__init__(param="Idempotency-Key")


class ResumeUnavailable(UnavailableNow):
    """The stream store does not respond, and the route refuses requests without it."""

    code = "resume_unavailable"
    default_message = "Streams cannot be kept at the moment. Retry shortly."


class ChannelNotFound(NotFound):
    """The name in the path is not that of a channel."""

    code = "channel_not_found"
    default_message = (
        "No channel can have this name. Use 1 to 64 letters, digits, '.', '-' and '_', the first a "
        "letter or a digit."
    )


class InvalidEvent(RequestError):
    """The event to publish is not valid."""

    code = "invalid_event"


class TooManyChannels(RequestError):
    """The tenant has reached its number of channels."""

    status = 429
    code = "too_many_channels"
    kind = "rate_limit_error"
    default_message = "No more channels can be opened now. Use fewer, or retry later."
    default_headers = (("Retry-After", "60"),)


class TooManyFollowers(RequestError):
    """The channel, or the caller, has reached its number of followers."""

    status = 429
    code = "too_many_followers"
    kind = "rate_limit_error"
    default_headers = (("Retry-After", "10"),)


class FollowerBehind(RequestError):
    """A follower reads so slowly that the events it needs are gone. Reported by the last event."""

    status = 408
    code = "follower_behind"
    default_message = "Events arrived faster than you read them. Connect again."


class ChannelsUnavailable(UnavailableNow):
    """The store, or the worker that keeps the channel, does not respond."""

    code = "channels_unavailable"
    default_message = "Channels cannot be reached at the moment. Retry shortly."


class UpstreamError(GatewayError):
    """The backend failed. `sent` is True if it may have seen the request."""

    status = 502
    code = "upstream_error"
    kind = "upstream_error"
    default_message = "The model backend failed."

    def __init__(self, reason: str, *, sent: bool = True) -> None:
        super().__init__(reason=reason)
        self.sent = sent


class UpstreamConnectFailed(UpstreamError):
    """Connection refused, host unreachable or unresolvable, or certificate not trusted."""

    code = "upstream_connect_failed"
    default_message = "The model backend cannot be reached."

    def __init__(self, reason: str) -> None:
        super().__init__(reason, sent=False)


class UpstreamConnectTimeout(UpstreamConnectFailed):
    """No connection within `timeouts.connect`."""

    status = 504
    code = "upstream_connect_timeout"
    default_message = "The model backend did not accept a connection in time."


class UpstreamFirstByteTimeout(UpstreamError):
    """No response head within `timeouts.first_byte`."""

    status = 504
    code = "upstream_first_byte_timeout"
    default_message = "The model backend did not begin its answer in time."


class UpstreamIdleTimeout(UpstreamError):
    """The response body was silent for longer than `timeouts.idle`."""

    status = 504
    code = "upstream_idle_timeout"
    default_message = "The model backend stopped in the middle of its answer."


class UpstreamTotalTimeout(UpstreamError):
    """The exchange took longer than `timeouts.total`, or than the client's own limit."""

    status = 504
    code = "upstream_total_timeout"
    default_message = "The request reached its time limit, `timeouts.total` or x-request-timeout."


class UpstreamReset(UpstreamError):
    """The connection ended before the response was complete."""

    code = "upstream_reset"
    default_message = "The model backend closed the connection before its answer was complete."


class UpstreamTruncated(UpstreamError):
    """The transfer is complete, but the response has no end: the backend died, and its connection
    or a proxy in front of it hides that.
    """

    code = "upstream_truncated"
    default_message = "The model backend ended its answer before it was complete."


class UpstreamInvalidResponse(UpstreamError):
    """The response is not HTTP, violates its rules, or exceeds the gateway's caps."""

    code = "upstream_invalid_response"
    default_message = "The model backend sent an invalid response."


CREDENTIAL_REFUSED = "upstream_credential_refused"
"""Code, for the operator only, of a backend's 401 or 403 to the gateway's own credential."""


class UpstreamRejected(UpstreamError):
    """The backend answered with an error after the client's stream had been opened, in a format
    other than that of the client's dialect. `words` is the backend's message, safe to show.
    """

    code = "upstream_rejected"

    def __init__(self, status: int, words: str | None) -> None:
        super().__init__(f"status {status}: {words}" if words else f"status {status}")
        told = f": {words}" if words else "."
        self.message = f"The model backend answered with status {status}{told}"


class UpstreamToldError(UpstreamError):
    """Error that the backend reported in its own dialect, to be passed on in the caller's.

    Status, code and kind are those of the backend, where it has them. `message` is safe to show.
    """

    code = "backend_error"

    def __init__(self, message: str, *, status: int, kind: str, code: str | None = None) -> None:
        super().__init__(f"{kind}: {message}")
        self.message = message
        self.status = status
        self.kind = kind
        if code is not None:
            self.code = code


class UpstreamWaking(UnavailableNow):
    """The backend scales from zero, and did not start in time."""

    code = "upstream_waking"
    default_message = "The model backend is starting. Retry after the given time."

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(retry_after_s=retry_after_s)


class UpstreamBusy(UnavailableNow):
    """No endpoint of the backend had capacity in time, or too many requests already wait for
    one.
    """

    code = "upstream_busy"
    default_message = "The model backend is busy. Retry shortly."


class NoEndpoint(UnavailableNow):
    """The backend has no endpoint now: none was discovered, or all are drained."""

    code = "upstream_unavailable"
    default_message = "The model backend has no endpoint at the moment. Retry shortly."
