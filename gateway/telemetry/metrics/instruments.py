"""The table of all metrics: name, kind, unit, labels, buckets and help text.

The names of `http.*` and `gen_ai.*` are those of OpenTelemetry's semantic conventions, in
Prometheus' spelling. The GenAI conventions now have a repository of their own and rename metrics;
`RENAMED` has the new names. Names that are in no convention begin with `gateway_`. All other code
for metrics (the endpoint, OTLP, the documentation) reads this table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

SEMCONV = "1.44"
"""Version of the semantic conventions from which the names are taken."""


class InstrumentKind(Enum):
    """Kind of a metric, which decides how the values of several workers are merged."""

    COUNTER = "counter"
    """Counter that only grows. The values of all workers are added, including dead ones."""
    GAUGE = "gauge"
    """Current value. The values of live workers are added."""
    PEAK = "peak"
    """Gauge of which the maximum over all workers is taken."""
    HISTOGRAM = "histogram"
    """Counts by bucket. The values of all workers are added, including dead ones."""

    @property
    def prometheus(self) -> str:
        """Prometheus' name of the kind."""
        return "gauge" if self is InstrumentKind.PEAK else self.value


@dataclass(frozen=True, slots=True)
class Instrument:
    """A metric. `name` is the Prometheus name, without `_total`."""

    name: str
    kind: InstrumentKind
    labels: tuple[str, ...]
    help: str
    unit: str = ""
    """Unit in UCUM, for OTLP. `{…}` are annotations."""
    buckets: tuple[float, ...] = ()
    otel: str = field(default="", compare=False)
    """Dotted name, if it is not `name` with its prefix `gateway_` replaced by `gateway.`."""

    @property
    def dotted(self) -> str:
        """Name in OTLP."""
        return self.otel or self.name.replace("gateway_", "gateway.", 1)

    @property
    def exposed(self) -> str:
        """Name in Prometheus queries."""
        return f"{self.name}_total" if self.kind is InstrumentKind.COUNTER else self.name


# The buckets of the conventions, extended for reasoning models, which take longer.
_HTTP = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
_HTTP_LONG = (*_HTTP, 30.0, 60.0, 120.0, 300.0, 600.0)
_OPERATION = tuple(round(0.01 * 2**n, 2) for n in range(17))
_TOKENS = tuple(float(4**n) for n in range(14))
_FIRST = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5)
_FIRST_LONG = (*_FIRST, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0)
_PER_TOKEN = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
_PER_TOKEN_FINE = (0.001, 0.0025, 0.005, *_PER_TOKEN)
_LEFT = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
_HOOK = (0.00001, 0.0001, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_PLACES = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0)

_GEN_AI = (
    "gen_ai_operation_name",
    "gen_ai_provider_name",
    "gen_ai_request_model",
    "gen_ai_response_model",
    "route",
    "upstream",
)
_C, _G, _P, _H = (
    InstrumentKind.COUNTER,
    InstrumentKind.GAUGE,
    InstrumentKind.PEAK,
    InstrumentKind.HISTOGRAM,
)


def _defined(*sections: tuple[Instrument, ...]) -> tuple[Instrument, ...]:
    """Return the metrics that are defined so far, without those of the `sections` before."""
    before = [one for section in sections for one in section]
    found = [one for one in globals().values() if isinstance(one, Instrument)]
    return tuple(one for one in found if one not in before)


# -- counted where a request ends ------------------------------------------------------------------

HTTP_DURATION = Instrument(
    "http_server_request_duration_seconds",
    _H,
    ("http_request_method", "http_route", "http_response_status_code", "error_type", "route"),
    "Duration of requests, from the first byte of the request to the last of the response.",
    "s",
    _HTTP_LONG,
    otel="http.server.request.duration",
)
REQUESTS = Instrument(
    "gateway_requests",
    _C,
    ("route", "model", "upstream", "code", "end"),
    "Requests, by the class of their status and by the reason of their end.",
    "{request}",
)
ERRORS = Instrument(
    "gateway_errors",
    _C,
    ("route", "upstream", "code"),
    "Errors sent to callers, by the `code` of docs/errors-reference.md. Every timeout has its own.",
    "{error}",
)
RECLAIMED = Instrument(
    "gateway_reclaimed",
    _C,
    ("route", "reason"),
    "Sessions and streams that the gateway ended by their age or silence. `reason`: `idle` (a "
    "WebSocket without messages or pongs), `upstream_idle`, `max_session`, `max_stream`.",
    "{request}",
)
RECLAIM_REASONS: Mapping[str, str] = {
    "websocket_idle": "idle",
    "upstream_idle_timeout": "upstream_idle",
    "session_expired": "max_session",
    "stream_expired": "max_stream",
}
"""Reasons of `RECLAIMED`, by the code of the error."""
CLIENT_ABORTS = Instrument(
    "gateway_client_aborts",
    _C,
    ("route", "phase"),
    "Requests aborted by the client, before the first byte (`waiting`) or after it (`streaming`).",
    "{request}",
)
REQUEST_BYTES = Instrument(
    "gateway_request_bytes", _C, ("route",), "Bytes read of request bodies.", "By"
)
RESPONSE_BYTES = Instrument(
    "gateway_response_bytes", _C, ("route",), "Bytes sent of response bodies.", "By"
)
STALLS = Instrument(
    "gateway_relay_stalls",
    _C,
    ("route",),
    "Pauses of streams because the client did not read.",
    "{stall}",
)
STALL_SECONDS = Instrument(
    "gateway_relay_stall_seconds",
    _C,
    ("route",),
    "Total duration of the pauses of `gateway_relay_stalls`.",
    "s",
)
OPERATION_DURATION = Instrument(
    "gen_ai_client_operation_duration_seconds",
    _H,
    (*_GEN_AI, "error_type"),
    "Duration of requests to a model, from the first byte of the request to the last of the "
    "response.",
    "s",
    _OPERATION,
    otel="gen_ai.client.operation.duration",
)
TOKEN_USAGE = Instrument(
    "gen_ai_client_token_usage",
    _H,
    (*_GEN_AI, "gen_ai_token_type"),
    "Tokens of a request (`input`, `output`), if the response reports them.",
    "{token}",
    _TOKENS,
    otel="gen_ai.client.token.usage",
)
FIRST_TOKEN = Instrument(
    "gen_ai_server_time_to_first_token_seconds",
    _H,
    _GEN_AI,
    "Time to the first token of a stream: from the first byte of the request to the first event "
    "with content, reasoning or a tool call. Waiting and retries are included.",
    "s",
    _FIRST_LONG,
    otel="gen_ai.server.time_to_first_token",
)
PER_TOKEN = Instrument(
    "gen_ai_server_time_per_output_token_seconds",
    _H,
    _GEN_AI,
    "Time per output token of a stream, after the first token.",
    "s",
    _PER_TOKEN_FINE,
    otel="gen_ai.server.time_per_output_token",
)
TOKENS = Instrument(
    "gateway_tokens",
    _C,
    ("model", "tenant", "type", "source"),
    "Tokens: `input`, `output`, and the parts of these that are `cached` (read), `cache_write` or "
    "`reasoning`. Source `estimated`: the response did not report them, so its events are counted.",
    "{token}",
)
COST = Instrument(
    "gateway_cost",
    _C,
    ("model", "tenant", "currency"),
    "Cost of requests, by the prices of the models.",
    "{money}",
)
TENANT_REQUESTS = Instrument(
    "gateway_tenant_requests", _C, ("tenant", "code"), "Requests of each tenant.", "{request}"
)
TENANT_FIRST_TOKEN = Instrument(
    "gateway_tenant_time_to_first_token_seconds",
    _H,
    ("tenant",),
    "Time to first token, by tenant.",
    "s",
    _FIRST_LONG,
)
TENANT_PER_TOKEN = Instrument(
    "gateway_tenant_time_per_output_token_seconds",
    _H,
    ("tenant",),
    "Time per output token, by tenant.",
    "s",
    _PER_TOKEN_FINE,
)
QUEUE_WAIT = Instrument(
    "gateway_queue_wait_seconds",
    _H,
    ("model", "upstream"),
    "Wait of requests in the queues of `admission`. Requests that did not wait are not counted.",
    "s",
    _HTTP_LONG,
)
QUEUE_POSITION = Instrument(
    "gateway_queue_position",
    _H,
    ("model", "upstream"),
    "Position of a request when it entered a queue of `admission`.",
    "{request}",
    _PLACES,
)
TRANSLATION_SKIPPED = Instrument(
    "gateway_translation_skipped",
    _C,
    ("upstream", "what"),
    "Parts of backends' answers that translation left out: an unknown or broken `event`, "
    "content `part` or `field`, a `call` without a name, an unknown reason to `stop`.",
    "{part}",
)
LIMIT_DECISIONS = Instrument(
    "gateway_limit_decisions",
    _C,
    ("limit", "unit", "decision"),
    "Decisions of a limit: `allowed`, or `refused` by this limit.",
    "{request}",
)
LIMIT_REMAINING = Instrument(
    "gateway_limit_remaining_ratio",
    _H,
    ("limit", "unit"),
    "Share of a limit that is left to the caller after each decision, from 0 (nothing) to 1.",
    "1",
    _LEFT,
)
FALLBACKS = Instrument(
    "gateway_fallbacks",
    _C,
    ("model", "served"),
    "Requests that a fallback model served.",
    "{request}",
)
CONTINUATIONS = Instrument(
    "gateway_continuations",
    _C,
    ("model", "upstream"),
    "Streams that another backend continued, after the first one failed.",
    "{request}",
)
UPSTREAM_REQUESTS = Instrument(
    "gateway_upstream_requests",
    _C,
    ("upstream", "endpoint", "code"),
    "Requests whose last attempt went to an endpoint, by the class of their status.",
    "{request}",
)
UPSTREAM_FIRST_BYTE = Instrument(
    "gateway_upstream_first_byte_seconds",
    _H,
    ("upstream", "endpoint"),
    "Time from sending a request to an endpoint to the first byte of the response body.",
    "s",
    _FIRST_LONG,
)
UPSTREAM_ATTEMPTS = Instrument(
    "gateway_upstream_attempts",
    _C,
    ("upstream",),
    "Attempts: first tries, retries and hedges.",
    "{request}",
)
HOOK_CALLS = Instrument(
    "gateway_hook_calls",
    _C,
    ("route", "hook", "phase", "outcome"),
    "Calls of hooks, by what they were shown (`request`, `answer`, `event`, `window`) and by the "
    "outcome: `allowed`, `changed`, `refused`, `error` or `timeout`.",
    "{call}",
)
HOOK_SECONDS = Instrument(
    "gateway_hook_seconds",
    _H,
    ("route", "hook", "phase"),
    "Duration of calls of hooks. What they judge waits for them.",
    "s",
    _HOOK,
)

_SHADOW = ("route", "model", "shadow")
SHADOW_REQUESTS = Instrument(
    "gateway_shadow_requests",
    _C,
    (*_SHADOW, "result"),
    "Copies of requests to another model (`shadow`). `result`: `ok`, `error`, `timeout`, `dropped` "
    "(too many, or no room), `unsuitable` (not for this model), `cancelled`.",
    "{request}",
)
SHADOW_DURATION = Instrument(
    "gateway_shadow_duration_seconds",
    _H,
    _SHADOW,
    "Duration of copies that succeeded, from their start to the end of the answer.",
    "s",
    _OPERATION,
)
SHADOW_FIRST_TOKEN = Instrument(
    "gateway_shadow_time_to_first_token_seconds",
    _H,
    _SHADOW,
    "Time from the start of a streamed copy to its first token.",
    "s",
    _FIRST_LONG,
)
SHADOW_TOKENS = Instrument(
    "gateway_shadow_tokens",
    _C,
    (*_SHADOW, "type"),
    "Tokens of copies, which no caller is charged for.",
    "{token}",
)

COUNTED = _defined()
"""Metrics in the registry of each worker."""

# -- read on request -------------------------------------------------------------------------------

ACTIVE_REQUESTS = Instrument(
    "http_server_active_requests",
    _G,
    ("http_request_method", "route"),
    "Requests in progress.",
    "{request}",
    otel="http.server.active_requests",
)
ACTIVE_STREAMS = Instrument(
    "gateway_active_streams",
    _G,
    ("route", "model", "upstream"),
    "Responses in progress whose first byte was sent.",
    "{stream}",
)
SILENT_STREAMS = Instrument(
    "gateway_silent_streams",
    _G,
    ("route", "model", "upstream"),
    "Streams in progress whose backend has sent nothing for at least 30 s.",
    "{stream}",
)
CONNECTIONS = Instrument(
    "gateway_client_connections", _G, (), "Open connections of clients.", "{connection}"
)
RUNTIMES = Instrument(
    "gateway_runtimes",
    _G,
    (),
    "Configurations in use by the workers: the current one, and replaced ones that still serve "
    "requests.",
    "{configuration}",
)
REFUSED_CONNECTIONS = Instrument(
    "gateway_refused_connections",
    _C,
    ("code",),
    "Connections refused before a request was read: malformed, too slow, too many.",
    "{connection}",
)
QUEUE_DEPTH = Instrument(
    "gateway_queue_depth",
    _G,
    ("gate",),
    "Requests waiting in a queue of `admission`.",
    "{request}",
)
QUEUE_PASSING = Instrument(
    "gateway_queue_passing",
    _G,
    ("gate",),
    "Requests in progress that a gate of `admission` let pass.",
    "{request}",
)
UPSTREAM_PENDING = Instrument(
    "gateway_upstream_pending",
    _G,
    ("upstream",),
    "Requests waiting because every endpoint is full.",
    "{request}",
)
UPSTREAM_MODELS = Instrument(
    "gateway_upstream_models",
    _P,
    ("upstream",),
    "Models served because the upstream lists them.",
    "{model}",
)
MODEL_LISTS = Instrument(
    "gateway_upstream_model_lists",
    _C,
    ("upstream", "result"),
    "Lists of models that were asked for: ok or failed.",
    "{list}",
)
UPSTREAM_WAKING = Instrument(
    "gateway_upstream_waking",
    _P,
    ("upstream",),
    "1 while requests wait for a backend that scales from zero.",
    "1",
)
WAITING_FOR_START = Instrument(
    "gateway_upstream_waiting_for_start",
    _G,
    ("upstream",),
    "Requests that wait for a backend that scales from zero.",
    "{request}",
)
UPSTREAM_STARTS = Instrument(
    "gateway_upstream_starts",
    _C,
    ("upstream",),
    "Times that a worker found the backend asleep.",
    "{start}",
)
ENDPOINT_STATE = Instrument(
    "gateway_endpoint_state",
    _G,
    ("upstream", "endpoint", "state"),
    "Workers in which an endpoint is in a state.",
    "{worker}",
)
ENDPOINT_IN_FLIGHT = Instrument(
    "gateway_endpoint_requests_in_flight",
    _G,
    ("upstream", "endpoint"),
    "Requests in progress at an endpoint.",
    "{request}",
)
ENDPOINT_CONNECTIONS = Instrument(
    "gateway_endpoint_connections",
    _G,
    ("upstream", "endpoint"),
    "Open connections to an endpoint.",
    "{connection}",
)
RETRIES = Instrument("gateway_upstream_retries", _C, ("upstream",), "Retries.", "{request}")
HEDGES = Instrument(
    "gateway_upstream_hedges",
    _C,
    ("upstream",),
    "Hedges: second attempts, sent because the first was slow.",
    "{request}",
)
EJECTIONS = Instrument(
    "gateway_upstream_ejections",
    _C,
    ("upstream", "reason"),
    "Endpoints ejected: `failed` or `slow`.",
    "{ejection}",
)
PANICS = Instrument(
    "gateway_upstream_panics",
    _C,
    ("upstream",),
    "Selections among all endpoints because too few were available (panic mode).",
    "{panic}",
)
RETRY_BUDGET = Instrument(
    "gateway_upstream_retry_budget",
    _G,
    ("upstream",),
    "Retries that the budget allows now.",
    "{request}",
)
OVERLOAD_REFUSALS = Instrument(
    "gateway_overload_refusals",
    _C,
    (),
    "Requests refused because a worker was at its maximum of requests or memory.",
    "{request}",
)
STORE_BREAKER = Instrument(
    "gateway_store_breaker",
    _G,
    ("state",),
    "Workers in which the circuit breaker of the store is `closed`, `open` or `half_open`.",
    "{worker}",
)
STORE_FAILURES = Instrument(
    "gateway_store_failures", _C, (), "Calls to the store that failed.", "{call}"
)
UNSTORED_DECISIONS = Instrument(
    "gateway_limit_decisions_without_store",
    _C,
    (),
    "Requests decided without the store, each limit by its `on_store_error`.",
    "{request}",
)
LEASES = Instrument("gateway_limit_leases", _G, (), "Slots of concurrency limits in use.", "{slot}")
JOURNAL_BYTES = Instrument(
    "gateway_journal_bytes", _G, (), "Memory of event streams kept for resumption.", "By"
)
JOURNAL_CAP = Instrument(
    "gateway_journal_limit_bytes", _G, (), "Maximum of `gateway_journal_bytes`.", "By"
)
JOURNAL_STREAMS = Instrument(
    "gateway_journal_streams",
    _G,
    (),
    "Streams kept for resumption, including those in progress.",
    "{stream}",
)
JOURNAL_GENERATIONS = Instrument(
    "gateway_journal_generations",
    _G,
    (),
    "Streams kept for resumption that are in progress.",
    "{stream}",
)
JOURNAL_EVICTIONS = Instrument(
    "gateway_journal_evictions",
    _C,
    (),
    "Finished streams removed before their retention time because memory ran out.",
    "{stream}",
)
JOURNAL_DEFERRED = Instrument(
    "gateway_journal_deferred",
    _C,
    (),
    "Streams that began while the store did not answer, and are written to it later.",
    "{stream}",
)
JOURNAL_UNWRITTEN = Instrument(
    "gateway_journal_unwritten",
    _G,
    (),
    "Streams in the memory of this gateway that the store does not know yet.",
    "{stream}",
)
CHANNELS_OPEN = Instrument(
    "gateway_channels",
    _G,
    ("route",),
    "Channels that this worker keeps, or follows for its followers.",
    "{channel}",
)
CHANNEL_FOLLOWERS = Instrument(
    "gateway_channel_followers", _G, ("route",), "Followers of channels.", "{follower}"
)
CHANNEL_BYTES = Instrument(
    "gateway_channel_history_bytes", _G, (), "Memory of channels' histories.", "By"
)
CHANNEL_EVENTS = Instrument(
    "gateway_channel_events", _C, ("route",), "Events published in channels.", "{event}"
)
CHANNEL_GAPS = Instrument(
    "gateway_channel_gaps",
    _C,
    ("route",),
    "Times that events were dropped for a follower that read too slowly.",
    "{gap}",
)
CHANNEL_DISCONNECTS = Instrument(
    "gateway_channel_disconnects",
    _C,
    ("route",),
    "Followers disconnected because they read too slowly.",
    "{follower}",
)
JOURNAL_TAKEOVERS = Instrument(
    "gateway_journal_takeovers",
    _C,
    (),
    "Streams of processes that died which this one continued, or tried to.",
    "{stream}",
)
CACHE_REQUESTS = Instrument(
    "gateway_cache_requests",
    _C,
    ("route", "result"),
    "Requests of routes with a response cache. `result`: `hit`, `miss`, `refresh` (the caller "
    "refuses stored answers), `bypass` (not cacheable).",
    "{request}",
)
CACHE_STORED = Instrument(
    "gateway_cache_stored", _C, ("route",), "Answers stored in the response cache.", "{answer}"
)
CACHE_SAVED = Instrument(
    "gateway_cache_saved_tokens",
    _C,
    ("route", "model", "type"),
    "Tokens that backends did not have to process, because of hits of the response cache.",
    "{token}",
)
CACHE_EVICTIONS = Instrument(
    "gateway_cache_evictions",
    _C,
    (),
    "Answers evicted from the response cache before they expired, to make room.",
    "{answer}",
)
CACHE_FAILURES = Instrument(
    "gateway_cache_store_failures",
    _C,
    (),
    "Calls of the response cache's store that failed. Each is a miss.",
    "{call}",
)
CACHE_BYTES = Instrument(
    "gateway_cache_bytes", _G, (), "Memory of answers in the workers' response caches.", "By"
)
CACHE_SHARED_BYTES = Instrument(
    "gateway_cache_shared_bytes", _P, (), "Memory of answers in Redis, for all replicas.", "By"
)
AUDIT_RECORDS = Instrument(
    "gateway_prompt_audit_records",
    _C,
    ("route", "result"),
    "Records of the prompt audit. `result`: `written` to a file, `dropped` (the queue was full, or "
    "the process stopped), `failed` (the record could not be made).",
    "{record}",
)
AUDIT_BYTES = Instrument(
    "gateway_prompt_audit_written_bytes",
    _C,
    (),
    "Bytes of records written to files, compressed and sealed.",
    "By",
)
AUDIT_QUEUE = Instrument(
    "gateway_prompt_audit_queue_bytes", _G, (), "Memory of records that wait to be written.", "By"
)
AUDIT_FAILING = Instrument(
    "gateway_prompt_audit_failing",
    _G,
    (),
    "Workers in which the destination of the prompt audit does not work.",
    "{worker}",
)
AUDIT_FAILURES = Instrument(
    "gateway_prompt_audit_failures",
    _C,
    ("step",),
    "Failures of the prompt audit's destination, by `step`: to `write` records, to `upload` files, "
    "or to look after the `folder`.",
    "{failure}",
)
AUDIT_UPLOADS = Instrument(
    "gateway_prompt_audit_uploads", _C, (), "Files uploaded to the bucket.", "{file}"
)
AUDIT_REMOVALS = Instrument(
    "gateway_prompt_audit_removals",
    _C,
    (),
    "Files removed at the end of their retention.",
    "{file}",
)
TRACE_DROPS = Instrument(
    "gateway_trace_records_dropped",
    _C,
    (),
    "Trace records lost because the admin process did not fetch them in time.",
    "{request}",
)
KEY_FETCHES = Instrument(
    "gateway_key_fetches",
    _C,
    ("provider", "outcome"),
    "Fetches of an issuer's keys (JWKS): `ok` or `failed`.",
    "{fetch}",
)
LOOP_LAG = Instrument(
    "gateway_event_loop_lag_seconds",
    _P,
    ("worker",),
    "Maximum lag of the event loop in the last ten seconds.",
    "s",
)
MEMORY = Instrument(
    "gateway_worker_memory_bytes", _G, ("worker",), "Resident memory of a worker.", "By"
)
MEMORY_CAP = Instrument(
    "gateway_worker_memory_limit_bytes",
    _G,
    ("worker",),
    "Resident memory above which a worker refuses requests.",
    "By",
)
CPU = Instrument(
    "gateway_worker_cpu_seconds", _C, ("worker",), "CPU time of a worker, user and system.", "s"
)
WORKER_START = Instrument(
    "gateway_worker_start_time_seconds",
    _P,
    ("worker",),
    "Start time of a worker, in seconds since the epoch.",
    "s",
)
CLOSED_SERIES = Instrument(
    "gateway_metrics_overflows",
    _C,
    ("metric",),
    "Label sets counted as `other` because a metric has its maximum number of series.",
    "{label}",
)

READ = _defined(COUNTED)
"""Metrics that a worker reads from its state when it is asked for them."""

# -- of the admin process --------------------------------------------------------------------------

BUILD = Instrument(
    "gateway_build_info",
    _P,
    ("version", "python", "aiohttp"),
    "Constant 1. The labels are the versions in use.",
    "1",
)
WORKERS = Instrument(
    "gateway_workers",
    _G,
    ("state",),
    "Workers that answer the admin process (`up`) or do not (`down`).",
    "{worker}",
)
WORKER_STARTS = Instrument(
    "gateway_worker_starts",
    _C,
    ("worker",),
    "Starts of a worker. More than one means that it died.",
    "{start}",
)
RELOADS = Instrument(
    "gateway_config_reloads",
    _C,
    ("outcome",),
    "Reloads of the configuration: applied (`ok`) or rejected (`failed`).",
    "{reload}",
)
RELOAD_OK = Instrument(
    "gateway_config_last_reload_successful",
    _P,
    (),
    "1 if the configuration file was valid when it was last read, otherwise 0.",
    "1",
)
TRACE_STORE_LOSSES = Instrument(
    "gateway_trace_store_lost",
    _C,
    (),
    "Trace records that the local store lost because its disk is full or its file damaged.",
    "{request}",
)
TRACE_EXPORTS = Instrument(
    "gateway_trace_exported_spans",
    _C,
    ("outcome",),
    "Spans that the OpenTelemetry collector accepted (`sent`) or did not (`lost`).",
    "{span}",
)

ALERTS = Instrument(
    "gateway_alerts",
    _C,
    ("alert", "outcome"),
    "Events for the webhooks of `alerts`: delivered (`sent`), given up (`failed`), or dropped from "
    "a full queue (`dropped`).",
    "{event}",
)

SIGN_INS = Instrument(
    "gateway_sign_ins",
    _C,
    ("method", "outcome"),
    "Sign-ins of operators at the admin listener, by `issuer` or `token`: done (`ok`), refused "
    "(`refused`), or not possible because the issuer or the store does not answer (`failed`).",
    "{sign-in}",
)

ADMIN = _defined(COUNTED, READ)
"""Metrics that the admin process makes."""

ALL: Mapping[str, Instrument] = {one.name: one for one in (*COUNTED, *READ, *ADMIN)}

ATTRIBUTES: Mapping[str, str] = {
    name.replace(".", "_"): name
    for name in (
        "error.type",
        "gen_ai.operation.name",
        "gen_ai.provider.name",
        "gen_ai.request.model",
        "gen_ai.response.model",
        "gen_ai.token.type",
        "http.request.method",
        "http.response.status_code",
        "http.route",
    )
}
"""Attribute names of the conventions, by label."""

# -- newer names -----------------------------------------------------------------------------------

RENAMED: Mapping[str, tuple[str, str]] = {
    OPERATION_DURATION.name: (
        "gen_ai_client_inference_duration_seconds",
        "gen_ai.client.inference.duration",
    ),
    f"{TOKEN_USAGE.name}/input": (
        "gen_ai_client_inference_operation_input_tokens",
        "gen_ai.client.inference.operation.input_tokens",
    ),
    f"{TOKEN_USAGE.name}/output": (
        "gen_ai_client_inference_operation_output_tokens",
        "gen_ai.client.inference.operation.output_tokens",
    ),
}
"""Names in the GenAI conventions' own repository. Token usage is split by the type of token."""
