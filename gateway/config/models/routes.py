"""Section `routes`: matching of requests, and where they are sent."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from gateway.config.models.cache import CacheSettings, MirrorSettings
from gateway.config.models.channels import ChannelSettings
from gateway.config.models.prompt_audit import RouteAudit
from gateway.config.models.section import Section
from gateway.config.models.timeouts import RouteTimeouts
from gateway.config.models.traces import RouteTraces
from gateway.config.types import (
    Dialect,
    DottedName,
    HeaderName,
    Identity,
    Name,
    Origin,
    Path,
    Rate,
)
from gateway.config.units import Duration, Size


class MiddlewareSettings(Section):
    """Plug-in: any aiohttp middleware, or a factory that builds one from validated options."""

    use: DottedName = Field(
        description="Dotted name of the plug-in, such as acme.headers.stamp.",
    )
    options: dict[str, Any] = Field(
        default_factory=dict, description="Options for the plug-in's own `Options` model."
    )


class CorsSettings(Section):
    """Web pages that may call the route from a browser (CORS)."""

    origins: tuple[Origin, ...] = Field(
        min_length=1, description="Exact origins, such as https://app.example.com; or *."
    )
    headers: tuple[HeaderName, ...] = Field(
        (
            *("Authorization", "X-Api-Key", "Api-Key", "Content-Type", "User-Agent"),
            *("X-Request-ID", "X-Request-Timeout", "Last-Event-ID", "Idempotency-Key"),
            *("X-On-Disconnect", "X-Gateway-Publish", "Traceparent", "Tracestate"),
            # Headers that the SDKs of OpenAI and Anthropic add by themselves.
            *("OpenAI-*", "Anthropic-*", "X-Stainless-*"),
        ),
        description="Request headers that a page may set. A name that ends in * is a prefix; * "
        "alone allows every header, Authorization included.",
    )
    expose: tuple[HeaderName, ...] = Field(
        (
            *("X-Request-ID", "Request-Id", "X-Trace-ID", "X-Stream-Id", "X-Resume"),
            *("X-On-Disconnect", "X-Gateway-Publish", "WWW-Authenticate"),
            *("RateLimit", "RateLimit-Policy"),
            *("Retry-After", "Retry-After-Ms", "X-Should-Retry"),
            *("X-RateLimit-Limit-Requests", "X-RateLimit-Remaining-Requests"),
            *("X-RateLimit-Reset-Requests", "X-RateLimit-Limit-Tokens"),
            *("X-RateLimit-Remaining-Tokens", "X-RateLimit-Reset-Tokens"),
            *("X-Gateway-Model", "X-Gateway-Upstream", "X-Gateway-Attempts"),
            *("X-Gateway-Cost", "X-Gateway-Cached-Tokens", "X-Gateway-Cache", "Age"),
        ),
        description="Response headers that a page may read.",
    )
    credentials: bool = Field(False, description="Allow cookies; not with *.")
    max_age: Duration = Field(
        600.0, description="Time that a browser may cache the answer to a preflight."
    )


class WebSocket(Section):
    """WebSocket options of a route. `websocket: true` uses all the defaults."""

    origins: tuple[Origin, ...] = Field(
        (),
        description="Exact origins of pages that may open one, or *; empty: pages of the same "
        "host. Programs that are no browsers send no origin.",
    )
    max_message: Size = Field(
        16 * 1024**2,
        gt=0,
        description="Largest message in either direction; a larger one closes the connection "
        "with 1009.",
    )
    idle: Duration = Field(
        600.0,
        gt=0,
        description="Longest time without a message in either direction; then the connection is "
        "closed with 1001.",
    )
    ping: Duration | None = Field(
        30.0, gt=0, description="Interval of pings to both sides; null: none."
    )
    max_session: Duration | None = Field(
        None,
        gt=0,
        description="Longest duration of a session. Then it is closed with 1001, after the message "
        "that is being sent. A bridge announces it before. null: no limit.",
    )
    messages: Rate | None = Field(
        "60000/minute",
        description="Rate of messages from one client on one connection; more closes it with "
        "1008. The whole amount may come at once: 60000/minute is 1000 a second, and 60000 in a "
        "burst. null: no limit.",
    )
    deflate: bool = Field(
        False, description="Compress messages (permessage-deflate) with clients that offer it."
    )


class BridgeSettings(Section):
    """Bridge: many generations over one WebSocket, whose options are in `websocket`."""

    to: Name = Field(
        description="Route that serves each generation, with its limits, models and resume."
    )
    generations: int = Field(
        32, ge=1, description="Largest number of simultaneous generations on one socket."
    )


class BatchSettings(Section):
    """Gathering of events that come within a short time, to send them in one write. `batch: {}`
    uses all the defaults.
    """

    max_delay: Duration = Field(
        0.05,
        ge=0.001,
        le=2.0,
        description="Longest time that an event waits. An event that comes this long after the "
        "one before it does not wait at all.",
    )
    max_bytes: Size = Field(
        16 * 1024, ge=256, le=1024**2, description="Bytes at which waiting events are sent."
    )
    max_events: int = Field(
        8, ge=2, le=1000, description="Number at which waiting events are sent."
    )


class ResumeSettings(Section):
    """Resumable event streams: the route keeps its streams, so that the caller who began one can
    return to it.
    """

    on_disconnect: Literal["cancel", "grace", "detach"] = Field(
        "cancel",
        description="Policy for a generation without readers. `cancel`: cancel it at once. "
        "`grace`: cancel it after `grace`. `detach`: complete it. A request may choose by "
        "X-On-Disconnect.",
    )
    grace: Duration = Field(
        30.0, gt=0, description="Time that a generation continues without a reader."
    )
    max_grace: Duration = Field(
        300.0,
        gt=0,
        description="Longest grace that a request may ask for: X-On-Disconnect: grace=2m.",
    )
    may_detach: bool = Field(
        False, description="Allow requests to ask for X-On-Disconnect: detach."
    )
    background: bool = Field(
        False,
        description="Remove `background` from streamed requests to OpenAI's Responses API, for "
        "upstreams that do not know it: the gateway itself continues them without a reader.",
    )
    ttl: Duration = Field(600.0, gt=0, description="Time that a stream is kept after its end.")
    max_bytes: Size = Field(
        4 * 1024**2,
        ge=512 * 1024,
        description="Largest kept part of one stream, 512KiB or more; beyond it, the beginning "
        "is dropped.",
    )
    reads: Rate | None = Field(
        "600/minute",
        description="Rate at which one caller may read kept streams, in each worker; more is "
        "429. Requests that repeat an Idempotency-Key count, too. On an anonymous route each "
        "address is a caller. null: no limit.",
    )
    continues: bool = Field(
        False,
        description="Let another process continue the answer when the process that runs a "
        "stream dies. Needs a Redis store and an upstream with `continues`. The request is "
        "stored with the stream until the answer ends, without credentials. Events are stored "
        "before they are sent.",
    )
    on_store_error: Literal["serve", "refuse"] = Field(
        "serve",
        description="Mode while the Redis of shared streams does not answer. `serve`: keep new "
        "streams in memory, with X-Resume: deferred, and write them when it answers. `refuse`: "
        "refuse with 503.",
    )


class Route(Section):
    """Route: the requests it matches, where they are sent, and the checks they must pass."""

    name: Name = Field(description="Name in logs, metrics and `gateway routes`.")
    path: Path = Field(
        description="Path. With / at its end, everything below it; otherwise exactly this path.",
    )
    methods: tuple[Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"], ...] = (
        Field((), description="Served methods; empty: all. Another method gets 405.")
    )
    hosts: tuple[str, ...] = Field((), description="Served host names, without port; empty: all.")
    auth: Identity = Field(
        description="Identity providers, tried in order, or `anonymous`, which has to be "
        "written out."
    )
    scopes: tuple[str, ...] = Field(
        (), description="Scopes or roles that a caller needs, all of them; else 403."
    )
    end_on_expiry: bool = Field(
        True,
        description="End an event stream with the error `credential_expired` when its caller's "
        "credential expires, or is revoked or suspended, as WebSockets end. false: a stream that "
        "has begun continues.",
    )
    max_stream: Duration | None = Field(
        None,
        gt=0,
        description="Longest duration of an event stream, from the arrival of its request. Then it "
        "ends with the error `stream_expired`. null: no limit.",
    )
    limits: tuple[Name, ...] = Field((), description="Limits that each request must pass.")
    limit_headers: bool = Field(
        True,
        description="Report the rest of limits to callers, in RateLimit and x-ratelimit-* fields.",
    )
    served_headers: tuple[
        Literal["model", "upstream", "attempts", "cost", "cached_tokens", "cache"], ...
    ] = Field(
        (),
        description="Report to callers what served a request, in headers such as "
        "X-Gateway-Model. `cost` and `cached_tokens` are in responses that are no streams. "
        "`cache` is `hit`, `miss`, `refresh` or `bypass`, on a route with a `cache`.",
    )
    cost_in_usage: bool = Field(
        False,
        description="Add `cost`, in the currency of the model's `price`, to the last usage that a "
        "stream reports.",
    )
    cors: CorsSettings | None = Field(None, description="Let web pages of other origins call it.")
    models: tuple[str, ...] = Field(
        (),
        description="Models served here, by the name in the body. A pattern such as vllm/* "
        "matches configured and discovered models.",
    )
    list_prices: bool = Field(True, description="Show known prices of models in `GET /v1/models`.")
    upstream: Name | None = Field(
        None, description="Upstream of all requests; with `models`, of those without a model."
    )
    self_service: bool = Field(
        False,
        description="Serve `me` below the path: callers read there what they may use and the "
        "rest of their limits and budgets, and make keys within what their team allows.",
    )
    issues: Name | None = Field(
        None, description="Give out tickets of this provider here, instead of forwarding."
    )
    strip: bool = Field(False, description="Remove the route's path before forwarding.")
    dialect: Dialect | None = Field(
        None, description="Dialect of the callers; default: the upstream's."
    )
    timeouts: RouteTimeouts = Field(
        default_factory=RouteTimeouts, description="Timeouts that replace the upstream's."
    )
    traces: RouteTraces = Field(
        default_factory=RouteTraces, description="Sampling and content of this route's traces."
    )
    audit_prompts: RouteAudit | None = Field(
        None,
        description="Record prompts and answers as `prompt_audit` says; null: none are recorded.",
    )
    resume: ResumeSettings | None = Field(
        None, description="Keep event streams, so that clients can resume them."
    )
    cache: CacheSettings | None = Field(
        None,
        description="Answer a request that equals an earlier one by the stored answer; null: every "
        "request is sent to its backend.",
    )
    mirror: MirrorSettings | None = Field(
        None,
        description="Copy a share of requests to another model; replaces the `mirror` of models.",
    )
    heartbeat: Duration | None = Field(
        15.0,
        gt=0,
        description="Silence in an event stream after which a comment is written; null: none is.",
    )
    retry: Duration | None = Field(
        None,
        gt=0,
        description="Reconnection time for EventSource clients, sent at the start of an event "
        "stream.",
    )
    batch: BatchSettings | None = Field(
        None,
        description="Gather events of a stream that come within a short time into one write; null: "
        "each is sent at once.",
    )
    compress: tuple[Literal["zstd", "br", "gzip"], ...] = Field(
        (),
        description="Content codings for clients that take them, the preferred first; streams are "
        "flushed after each event.",
    )
    websocket: WebSocket | bool = Field(False, description="Also serve WebSockets here.")
    bridge: BridgeSettings | None = Field(
        None,
        description="Carry many generations of another route over one WebSocket, instead of "
        "forwarding.",
    )
    channels: ChannelSettings | None = Field(
        None,
        description="Serve channels below the route's path, at `channels/NAME`: events that some "
        "callers publish and many follow.",
    )
    body: Size = Field(10 * 1024**2, description="Largest request body; more is 413.")
    check_requests: bool = Field(
        False,
        description="Check request bodies against the JSON Schema of their endpoint: a wrong "
        "one gets 400, and the error names the field. `GET openapi.json` below the route's path "
        "publishes the schemas.",
    )
    hooks: tuple[Name, ...] = Field(
        (),
        description="Hooks that see its requests and answers, in this order, after limits and "
        "plug-ins.",
    )
    middleware: tuple[MiddlewareSettings, ...] = Field(
        (), description="Plug-ins, run in this order after limits and before forwarding."
    )
