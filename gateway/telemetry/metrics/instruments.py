"""The metrics: name, kind, unit, labels, buckets and help text.

`instruments.md`, the page of the reference, has them as tables. All other code for metrics (the
endpoint, OTLP) reads them here. The names of `http.*` and `gen_ai.*` are those of OpenTelemetry's
semantic conventions, in Prometheus' spelling. Other names begin with `gateway_`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

PAGE = Path(__file__).with_suffix(".md").read_text(encoding="utf-8")
_ROW = re.compile(r"^\| `(\w+)` \| ([a-z, ]+) \| `(.+?)` \| (.*?) \| (.+) \|$", re.MULTILINE)
_BUCKETS = re.compile(r"^\| `(\w+)` \| ([\d., ]+) \|$", re.MULTILINE)
_DOTTED = re.compile(r"^\| `(\w+)` \| `([\w.]+)` \|$", re.MULTILINE)


class InstrumentKind(Enum):
    """Kind of a metric, which decides how the values of several workers are merged."""

    COUNTER = "counter"
    """Counter that only grows. The values of all workers are added, including dead ones."""
    GAUGE = "gauge"
    """Current value. The values of live workers are added."""
    PEAK = "gauge, maximum"
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


def _instruments(title: str) -> tuple[Instrument, ...]:
    """Return the metrics of a section of the page."""
    section = PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    dotted, bounds = dict(_DOTTED.findall(PAGE)), dict(_BUCKETS.findall(PAGE))
    found = []
    for exposed, kind, unit, labels, text in _ROW.findall(section):
        name = exposed.removesuffix("_total")
        buckets = tuple(map(float, bounds[name].split(", "))) if name in bounds else ()
        known = tuple(re.findall(r"`(\w+)`", labels))
        otel = dotted.get(name, "")
        found.append(Instrument(name, InstrumentKind(kind), known, text, unit, buckets, otel))
    return tuple(found)


COUNTED = _instruments("Counted where a request ends")
"""Metrics in the registry of each worker."""
READ = _instruments("Read when somebody asks")
"""Metrics that a worker reads from its state when it is asked for them."""
ADMIN = _instruments("Of the gateway as a whole")
"""Metrics that the admin process makes."""
ALL: Mapping[str, Instrument] = {one.name: one for one in (*COUNTED, *READ, *ADMIN)}

HTTP_DURATION = ALL["http_server_request_duration_seconds"]
REQUESTS = ALL["gateway_requests"]
ERRORS = ALL["gateway_errors"]
RECLAIMED = ALL["gateway_reclaimed"]
CLIENT_ABORTS = ALL["gateway_client_aborts"]
REQUEST_BYTES = ALL["gateway_request_bytes"]
RESPONSE_BYTES = ALL["gateway_response_bytes"]
STALLS = ALL["gateway_relay_stalls"]
STALL_SECONDS = ALL["gateway_relay_stall_seconds"]
OPERATION_DURATION = ALL["gen_ai_client_operation_duration_seconds"]
TOKEN_USAGE = ALL["gen_ai_client_token_usage"]
FIRST_TOKEN = ALL["gen_ai_server_time_to_first_token_seconds"]
PER_TOKEN = ALL["gen_ai_server_time_per_output_token_seconds"]
TOKENS = ALL["gateway_tokens"]
COST = ALL["gateway_cost"]
TENANT_REQUESTS = ALL["gateway_tenant_requests"]
TENANT_FIRST_TOKEN = ALL["gateway_tenant_time_to_first_token_seconds"]
TENANT_PER_TOKEN = ALL["gateway_tenant_time_per_output_token_seconds"]
QUEUE_WAIT = ALL["gateway_queue_wait_seconds"]
QUEUE_POSITION = ALL["gateway_queue_position"]
TRANSLATION_SKIPPED = ALL["gateway_translation_skipped"]
LIMIT_DECISIONS = ALL["gateway_limit_decisions"]
LIMIT_REMAINING = ALL["gateway_limit_remaining_ratio"]
FALLBACKS = ALL["gateway_fallbacks"]
CONTINUATIONS = ALL["gateway_continuations"]
UPSTREAM_REQUESTS = ALL["gateway_upstream_requests"]
UPSTREAM_FIRST_BYTE = ALL["gateway_upstream_first_byte_seconds"]
UPSTREAM_ATTEMPTS = ALL["gateway_upstream_attempts"]
HOOK_CALLS = ALL["gateway_hook_calls"]
HOOK_SECONDS = ALL["gateway_hook_seconds"]
SHADOW_REQUESTS = ALL["gateway_shadow_requests"]
SHADOW_DURATION = ALL["gateway_shadow_duration_seconds"]
SHADOW_FIRST_TOKEN = ALL["gateway_shadow_time_to_first_token_seconds"]
SHADOW_TOKENS = ALL["gateway_shadow_tokens"]

ACTIVE_REQUESTS = ALL["http_server_active_requests"]
ACTIVE_STREAMS = ALL["gateway_active_streams"]
SILENT_STREAMS = ALL["gateway_silent_streams"]
CONNECTIONS = ALL["gateway_client_connections"]
RUNTIMES = ALL["gateway_runtimes"]
REFUSED_CONNECTIONS = ALL["gateway_refused_connections"]
QUEUE_DEPTH = ALL["gateway_queue_depth"]
QUEUE_PASSING = ALL["gateway_queue_passing"]
UPSTREAM_PENDING = ALL["gateway_upstream_pending"]
UPSTREAM_MODELS = ALL["gateway_upstream_models"]
MODEL_LISTS = ALL["gateway_upstream_model_lists"]
UPSTREAM_WAKING = ALL["gateway_upstream_waking"]
WAITING_FOR_START = ALL["gateway_upstream_waiting_for_start"]
UPSTREAM_STARTS = ALL["gateway_upstream_starts"]
ENDPOINT_STATE = ALL["gateway_endpoint_state"]
ENDPOINT_IN_FLIGHT = ALL["gateway_endpoint_requests_in_flight"]
ENDPOINT_CONNECTIONS = ALL["gateway_endpoint_connections"]
RETRIES = ALL["gateway_upstream_retries"]
HEDGES = ALL["gateway_upstream_hedges"]
EJECTIONS = ALL["gateway_upstream_ejections"]
PANICS = ALL["gateway_upstream_panics"]
RETRY_BUDGET = ALL["gateway_upstream_retry_budget"]
OVERLOAD_REFUSALS = ALL["gateway_overload_refusals"]
STORE_BREAKER = ALL["gateway_store_breaker"]
STORE_FAILURES = ALL["gateway_store_failures"]
UNSTORED_DECISIONS = ALL["gateway_limit_decisions_without_store"]
LEASES = ALL["gateway_limit_leases"]
JOURNAL_BYTES = ALL["gateway_journal_bytes"]
JOURNAL_CAP = ALL["gateway_journal_limit_bytes"]
JOURNAL_STREAMS = ALL["gateway_journal_streams"]
JOURNAL_GENERATIONS = ALL["gateway_journal_generations"]
JOURNAL_EVICTIONS = ALL["gateway_journal_evictions"]
JOURNAL_DEFERRED = ALL["gateway_journal_deferred"]
JOURNAL_UNWRITTEN = ALL["gateway_journal_unwritten"]
CHANNELS_OPEN = ALL["gateway_channels"]
CHANNEL_FOLLOWERS = ALL["gateway_channel_followers"]
CHANNEL_BYTES = ALL["gateway_channel_history_bytes"]
CHANNEL_EVENTS = ALL["gateway_channel_events"]
CHANNEL_GAPS = ALL["gateway_channel_gaps"]
CHANNEL_DISCONNECTS = ALL["gateway_channel_disconnects"]
JOURNAL_TAKEOVERS = ALL["gateway_journal_takeovers"]
CACHE_REQUESTS = ALL["gateway_cache_requests"]
CACHE_STORED = ALL["gateway_cache_stored"]
CACHE_SAVED = ALL["gateway_cache_saved_tokens"]
CACHE_EVICTIONS = ALL["gateway_cache_evictions"]
CACHE_FAILURES = ALL["gateway_cache_store_failures"]
CACHE_BYTES = ALL["gateway_cache_bytes"]
CACHE_SHARED_BYTES = ALL["gateway_cache_shared_bytes"]
AUDIT_RECORDS = ALL["gateway_prompt_audit_records"]
AUDIT_BYTES = ALL["gateway_prompt_audit_written_bytes"]
AUDIT_QUEUE = ALL["gateway_prompt_audit_queue_bytes"]
AUDIT_FAILING = ALL["gateway_prompt_audit_failing"]
AUDIT_FAILURES = ALL["gateway_prompt_audit_failures"]
AUDIT_UPLOADS = ALL["gateway_prompt_audit_uploads"]
AUDIT_REMOVALS = ALL["gateway_prompt_audit_removals"]
TRACE_DROPS = ALL["gateway_trace_records_dropped"]
KEY_FETCHES = ALL["gateway_key_fetches"]
LOOP_LAG = ALL["gateway_event_loop_lag_seconds"]
MEMORY = ALL["gateway_worker_memory_bytes"]
MEMORY_CAP = ALL["gateway_worker_memory_limit_bytes"]
CPU = ALL["gateway_worker_cpu_seconds"]
WORKER_START = ALL["gateway_worker_start_time_seconds"]
CLOSED_SERIES = ALL["gateway_metrics_overflows"]

BUILD = ALL["gateway_build_info"]
WORKERS = ALL["gateway_workers"]
WORKER_STARTS = ALL["gateway_worker_starts"]
RELOADS = ALL["gateway_config_reloads"]
RELOAD_OK = ALL["gateway_config_last_reload_successful"]
TRACE_STORE_LOSSES = ALL["gateway_trace_store_lost"]
TRACE_EXPORTS = ALL["gateway_trace_exported_spans"]
ALERTS = ALL["gateway_alerts"]
SIGN_INS = ALL["gateway_sign_ins"]

RECLAIM_REASONS: Mapping[str, str] = {
    "websocket_idle": "idle",
    "upstream_idle_timeout": "upstream_idle",
    "session_expired": "max_session",
    "stream_expired": "max_stream",
}
"""Reasons of `RECLAIMED`, by the code of the error."""
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
