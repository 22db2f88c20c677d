"""Documents of the admin API, as its OpenAPI description and its reference show them.

These models describe: handlers return plain dicts, and nothing is validated at run time. A test
validates the responses of a running gateway. Times of day are in seconds since the epoch.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field

from gateway.admin.document import Document
from gateway.limiting.rules import Unit
from gateway.proxy.progress import Progress
from gateway.telemetry.traces.recording import Kept
from gateway.telemetry.traces.wording import Fault
from gateway.upstream.health import EndpointState


class AdminError(Document):
    error: str
    """Fault of the request, and the remedy."""
    needs: Literal["viewer", "operator", "admin"] | None = None
    """Least role for the operation, if the operator's role is the reason of a 403."""
    role: Literal["viewer", "operator", "admin"] | None = None
    """Role of the operator, if it is the reason of a 403."""


class Empty(Document):
    """An empty object: it is done."""


class RemovedAnswers(Document):
    removed: int
    """Stored answers that were removed."""


# -- health and processes ------------------------------------------------------------------------


class Liveness(Document):
    live: bool
    reasons: list[str]
    """Workers that do not answer."""


class Readiness(Document):
    ready: bool
    reasons: list[str]
    """Reasons to send the gateway no requests now."""
    degraded: list[str]
    """Reasons for which some requests fail, while others are served."""


class Worker(Document):
    """A worker. One that does not answer has only `worker`, and `pid` is null."""

    worker: int
    pid: int | None
    not_ready: list[str] = []  # noqa: RUF012 -- pydantic copies it
    """Reasons to send the worker no requests now."""
    degraded: list[str] = []  # noqa: RUF012 -- pydantic copies it
    """Reasons for which some of its requests fail."""
    uptime_s: float = 0
    reloads: int = 0
    requests: int = 0
    """Requests in progress."""
    connections: int = 0
    """Open connections of callers."""
    streams: int = 0
    """Streams in progress."""
    refused: int = 0
    """Requests that were refused because the worker was overloaded."""
    kept_streams: int = 0
    """Streams in its journal, for callers that resume."""
    kept_stream_bytes: int = 0
    memory_bytes: int = 0
    worst_lag_ms: float = 0
    """Longest delay of the event loop in the last 10 s."""


class Workers(Document):
    workers: list[Worker]


# -- rates and latencies -------------------------------------------------------------------------


class Quantiles(Document):
    p50: float
    p95: float
    p99: float


class Rates(Document):
    requests_per_s: float
    errors_per_s: float
    """Requests that failed, and whose caller did not cause it."""
    ttft_s: Quantiles | None
    """Time to the first token."""
    tokens_per_s: Quantiles | None
    """Speed of a stream. p95 is the speed that 95 of 100 streams reached at least."""


class TenantRates(Rates):
    name: str


class NamedRates(TenantRates):
    active_streams: float
    duration_s: Quantiles | None


class TotalRates(Rates):
    """Rates of all requests. Also has gauges, by the names of their metrics."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, float] = Field(init=False)
    active_streams: float
    duration_s: Quantiles | None
    client_aborts_per_s: float
    limited_per_s: float
    retries_per_s: float
    fallbacks_per_s: float
    tokens_in_per_s: float
    tokens_out_per_s: float
    cost_per_hour: dict[str, float]
    """Cost by currency."""


class Now(Document):
    """Current rates and latencies."""

    at: float
    window_s: float
    """Period of rates and quantiles in seconds: a minute, less after a start."""
    total: TotalRates
    routes: list[NamedRates]
    """The busiest first; so are the lists below."""
    models: list[NamedRates]
    upstreams: list[NamedRates]
    tenants: list[TenantRates]
    errors: dict[str, float]
    """Errors per second, by code."""
    hour: dict[str, list[float | None]]
    """The last hour: arrays with one value a minute, oldest first, and their times in `at`."""


class MetricsHistory(Document):
    """Metrics over a range. Arrays have one value for each time in `at`, null if there was none."""

    range: str
    since: float
    until: float
    step_s: float
    """Time between two points. Points of a minute or less are as they were measured."""
    at: list[float]
    """End of each period, in seconds since the epoch."""
    values: dict[str, list[float | None]]
    """Averages of rates, maxima of loads, and quantiles of durations in each period."""
    yesterday: dict[str, list[float | None]] | None
    """The same, 24 hours before."""


# -- upstreams and routes ------------------------------------------------------------------------


class FailureCounts(Document):
    """Numbers since the start."""

    ejected: int
    """Ejections of endpoints."""
    slow: int
    """Ejections for slowness, a part of `ejected`."""
    panics: int
    """Times that every endpoint was used because too few were healthy."""
    retries: int
    hedges: int


class EndpointStatus(Document):
    name: str
    """Name in the configuration; its URL if it has none."""
    url: str
    state: EndpointState
    """State in the worker that sees it worst."""
    why: str | None
    """Reason of the state."""
    in_flight: int
    connections: int
    weight: float
    priority: int
    ejections: int
    states: list[EndpointState]
    """State in each worker."""


class DiscoveredModels(Document):
    """Models that an upstream lists, as the first worker that answers serves them."""

    served: int
    """Number of models that are served."""
    names: list[str]
    """Names for callers of the first 200."""
    configured: list[str]
    """Names of those that a configured model is served for."""
    hidden: int
    """Number of those that `only` and `hide` leave out."""
    cut: int
    """Number of those beyond `most`."""
    failing: dict[str, str]
    """Reason why an endpoint's list fails, by its name."""
    listed_at: float | None
    """Time of the last list, in seconds since the epoch; null if there was none."""
    workers: int
    """Number of workers that serve the same models."""


class StartStatus(Document):
    """Start of a backend that scales from zero."""

    waking: bool
    """True while requests of any worker wait for its start."""
    for_s: float
    """Time since it was found asleep."""
    waiting: int
    starts: int
    """Number of times that it was found asleep."""
    timeouts: int
    """Requests that waited in vain."""


class UpstreamState(Document):
    name: str
    pending: int
    """Requests that wait for a connection."""
    panicking: bool
    """True if too few endpoints are healthy, so that all are used."""
    counts: FailureCounts
    models: DiscoveredModels | None
    """Models that it lists; null without `discover_models`."""
    start: StartStatus | None
    """Null without `wake`."""
    endpoints: list[EndpointStatus]


class DeploymentStatus(Document):
    upstream: str
    model: str
    """The upstream's name of the model."""
    weight: float
    priority: int
    in_flight: int
    ready: int
    """Number of workers in which it takes requests."""
    share: float
    """Factor on its weight: less than 1 near the limit of the quota that its provider reports."""
    ttft_s: float | None
    """Time to the first event of its latest streamed answers, if a balancer measures it."""
    tpot_s: float | None
    """Time for each further token."""


class DeployedModelStatus(Document):
    name: str
    deployments: list[DeploymentStatus]


class Upstreams(Document):
    upstreams: list[UpstreamState]
    models: list[DeployedModelStatus]
    """Models with several deployments."""


class DrainOrder(Document):
    endpoint: str
    """Name of the endpoint, as in `/api/upstreams`: its URL if it has no other."""


class RouteRow(Document):
    """A route in readable form; lists are separated by commas."""

    route: str
    path: str
    """A star at the end stands for every path below."""
    methods: str
    hosts: str
    auth: str
    limits: str
    dialect: str
    to: str
    """Models, upstreams, or what else it leads to."""


class Routes(Document):
    routes: list[RouteRow]


# -- configuration -------------------------------------------------------------------------------


class ConfigChange(Document):
    """A difference that a reload made. Values are written as in the file."""

    path: str
    """Place in the file, such as `upstreams.main.retries.attempts` or `routes[chat].auth`."""
    before: Any
    """Null if it was not there."""
    after: Any
    """Null if it is not there any more."""
    secret: bool
    """True if a secret changed: both values are masked."""


class ReloadOutcome(Document):
    ok: bool
    at: float
    why: str
    """Cause of the reload: the file that changed, SIGHUP, or an operator."""
    problems: list[str]
    """Problems of the configuration, which was therefore not applied."""
    needs_restart: list[str]
    """Changed settings that take effect only after a restart."""
    changes: list[ConfigChange]
    """Differences from the configuration before, at most 200."""
    more_changes: int
    """Number of further differences."""


class Reloaded(ReloadOutcome):
    file: str
    """Absolute path of the configuration file."""


class ConfigOverride(Document):
    """A value that an environment variable has set."""

    variable: str
    path: str
    """Place of the value, such as `server.listen`."""


class Configuration(Document):
    file: str
    included: list[str]
    """Files that the file includes."""
    overrides: list[ConfigOverride]
    last_reload: ReloadOutcome | None
    reloads: list[ReloadOutcome]
    """The last 20 since the start, the newest first."""
    config: dict[str, Any]
    """The effective configuration with all defaults; see docs/configuration.md.
    Secrets are masked.
    """


class LogLevel(Document):
    level: Literal["debug", "info", "warning", "error"]
    """Lowest level that is logged."""
    sample: float = Field(ge=0, le=1)
    """Share of the successful requests that get an access line."""


class LogChange(Document):
    """Change of the level, the share, or both."""

    level: Literal["debug", "info", "warning", "error"] | None = None
    sample: float | None = Field(None, ge=0, le=1)


class LogLines(Document):
    lines: list[dict[str, Any]]
    """Log lines, oldest first; see docs/logs.md."""
    verdict: Verdict | None
    """Verdict by the access line; null if there is none."""


# -- requests and limits -------------------------------------------------------------------------


class Verdict(Document):
    text: str
    """Sentence that says what happened."""
    fault: Fault
    """Party at fault."""
    remedy: str
    """Advice for the operator; empty if there is nothing to do."""


class LiveRequest(Document):
    """A request in progress."""

    worker: int
    request_id: str
    age_s: float
    state: Progress
    silent_s: float | None
    """Seconds since the backend sent anything."""
    ttft_s: float | None
    method: str
    path: str
    route: str | None
    subject: str | None
    tenant: str | None
    model: str | None
    """Model that the caller asked for."""
    served: str | None
    """Model that serves the request."""
    upstream: str | None
    endpoint: str | None
    status: int | None
    bytes_out: int
    detached: bool
    """True if the caller has left and the stream continues for a later reader."""
    client: str
    stream: str | None
    """Kept stream that it began or reads: the same for all requests of one stream."""
    reads: bool
    """True if it reads a stream that another request began."""
    verdict: Verdict


class LiveRequests(Document):
    requests: list[LiveRequest]
    """The oldest first."""


class LimitKey(Document):
    """A key that was used recently."""

    limit: str
    unit: Unit
    by: list[str]
    """Words of the limit's `key`."""
    parts: list[str]
    """Values of these words for the key."""
    size: float
    """Amount of a full key."""
    remaining: float
    per_s: float
    """Amount that is refilled each second."""
    wait_s: float
    """Seconds until the next request would be admitted."""
    currency: str | None
    period: str | None
    soft: float | None
    """Used share of a budget from which its holder is warned, if it has one."""
    refused: int
    refused_at: float | None


class LimitRefusal(Document):
    at: float
    limit: str
    unit: Unit
    parts: list[str]
    wait_s: float
    request_id: str
    route: str | None
    model: str | None
    subject: str | None
    tenant: str | None


class Limits(Document):
    keys: list[LimitKey]
    """The scarcest first."""
    refused: list[LimitRefusal]
    """Recent refusals, newest first."""
    store: Literal["closed", "open"]
    """Circuit breaker of the store: `closed` means that it works."""


# -- traces and usage ----------------------------------------------------------------------------


class TraceRow(Document):
    """A request that was kept. Fields that do not apply are null or missing."""

    trace: str
    """Id of the trace."""
    span: str
    """Id of the request's own span."""
    request_id: str
    kept: Kept
    """Reason why the record was kept."""
    sampled: bool
    at: float
    """Time when the request began."""
    s: float
    """Seconds that it took."""
    client: str
    method: str
    path: str
    bytes_in: int
    bytes_out: int
    streamed: bool
    silent_s: float
    """Longest time in which the backend sent nothing."""
    verdict: Verdict
    host: str | None = None
    url: str | None = None
    """Public URL without query."""
    route: str | None = None
    route_path: str | None = None
    subject: str | None = None
    tenant: str | None = None
    model: str | None = None
    """Model that the caller asked for."""
    served: str | None = None
    """Model that served the request."""
    upstream: str | None = None
    endpoint: str | None = None
    status: int | None = None
    end: str | None = None
    """End reason: `complete`, `client_abort`, `upstream_reset`, ...; see docs/logs.md."""
    error: str | None = None
    """Error code; see docs/errors-reference.md."""
    reason: str | None = None
    """Details of the error."""
    limit: str | None = None
    """Limit that refused it."""
    retry_after_s: float | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    cache_read: int | None = None
    """Input tokens that were read from the backend's cache."""
    cache_written: int | None = None
    reasoning: int | None = None
    """Output tokens of reasoning."""
    queue_position: int | None = None
    queue_s: float | None = None
    first_byte_s: float | None = None
    ttft_s: float | None = None
    """Seconds to the first token."""
    fallbacks: list[str] | None = None
    """Models that failed before, each with its error."""
    continued: int | None = None
    """Times that another backend continued the answer."""
    cache: str | None = None
    """Use of the response cache: `hit`, `miss`, `refresh` or `bypass`."""
    shadow_of: str | None = None
    """Id of the request that it is a copy of (shadow traffic)."""
    stream: str | None = None
    """Kept stream that it began or read: the same for all requests of one stream."""
    reads: bool | None = None
    """True if it read a stream that another request began."""
    bridge: str | None = None
    """Id of the request whose WebSocket began it."""
    parent: list[Any] | None = None
    """Span of a trusted caller: trace id, span id and flags."""
    link: list[Any] | None = None
    """Span of a caller that is not trusted."""


class TracePage(Document):
    requests: list[TraceRow]
    next: str | None
    """Value of `before` for the next page; null on the last."""


class TraceSpanEvent(Document):
    name: str
    at: float
    attributes: dict[str, Any]


class TraceSpan(Document):
    """A span with OpenTelemetry's fields."""

    name: str
    kind: Literal["server", "client", "internal"]
    span_id: str
    parent_id: str | None
    start: float
    end: float
    attributes: dict[str, Any]
    events: list[TraceSpanEvent]
    links: list[list[str]]
    """Trace id and span id of each."""
    error: str | None


class SameStream(Document):
    """Request of the same kept stream, other than the one that is shown."""

    request_id: str
    at: float
    s: float
    status: int | None
    end: str | None
    reads: bool
    """False for the request that began the stream."""


class TracedRequest(TraceRow):
    spans: list[TraceSpan]
    """Spans: the request's own first, and each before its children."""
    same_stream: list[SameStream]
    line: dict[str, Any]
    """Access line of the request, made from the record; see docs/logs.md."""


class WholeTrace(Document):
    trace_id: str
    requests: list[TracedRequest]
    """Requests of the trace, the oldest first."""


class UsageRow(Document):
    """Sums of all requests, kept or not. Has the columns that `by` names."""

    day: str | None = None
    tenant: str | None = None
    team: str | None = None
    """Team of the API key; empty if it has none."""
    subject: str | None = None
    key: str | None = None
    """Id of the API key; empty if the caller used none."""
    tag: str | None = None
    """Tag of the API key; empty if it has none. A request is in the row of each of its tags."""
    route: str | None = None
    model: str | None = None
    currency: str
    """Empty if nothing has a price. Different currencies are never added."""
    requests: int
    errors: int
    limited: int
    counted: int
    """Requests whose tokens are known."""
    tokens_in: int
    tokens_out: int
    cached: int
    """Input tokens that a backend read from its cache, a part of `tokens_in`."""
    cost: float
    last: float | None
    """Time of the last request, to half a second; null if an earlier version counted it."""


class UsageTable(Document):
    usage: list[UsageRow]


class StoreState(Document):
    requests: int
    oldest: float | None
    newest: float | None
    bytes: int
    lost: int
    """Records that could not be written."""


class ExportState(Document):
    sent: int
    """Spans that the collector accepted."""
    lost: int
    why: str | None
    """Reason of the last loss."""


class Telemetry(Document):
    records: int
    """Records collected from the workers."""
    dropped: int
    """Records lost because they were not collected in time."""
    store: StoreState | None
    """The local store, or null if there is none."""
    export: ExportState | None
    names: dict[str, list[str]]
    """Names in the store, for filters: routes, models, upstreams, tenants, subjects, ends,
    errors.
    """
