"""Section `upstreams`: the backends."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from gateway.config.models.credentials import Credentials
from gateway.config.models.egress import ProxySettings
from gateway.config.models.model_discovery import ModelDiscovery
from gateway.config.models.section import Section
from gateway.config.models.timeouts import UpstreamTimeouts
from gateway.config.models.wake import WakeSettings
from gateway.config.types import (
    HASHED_EXPECTED,
    Authority,
    Dialect,
    FileName,
    HashedValue,
    HeaderName,
    HeaderValue,
    Name,
    Nameserver,
    Network,
    ServiceName,
    Url,
)
from gateway.config.units import Duration, Share


class EndpointSettings(Section):
    """Address of an upstream, and the credential for it."""

    url: Url = Field(
        description="http(s)://host[:port][/base]; the base path precedes the request's path.",
    )
    name: Name | None = Field(
        None,
        description="Name of the endpoint in logs, metrics and the admin API; default: its URL. "
        "Endpoints with the same URL, such as two accounts of one provider, need names.",
    )
    credentials: Credentials | None = Field(
        None, description="Credential for this endpoint, in place of the upstream's."
    )
    weight: int = Field(
        1, ge=1, le=1000, description="Share of requests relative to the other endpoints."
    )
    priority: int = Field(
        0,
        ge=0,
        le=9,
        description="Priority: used when endpoints of lower numbers are unhealthy or full.",
    )


class Discover(Section):
    """Source of endpoints. While it fails or names none, the endpoints found before stay in use."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": [key]} for key in ("dns", "srv", "file")]}
    )

    dns: Url | None = Field(
        None,
        description="URL whose host has one endpoint at each of its addresses (A and AAAA). "
        "Host and TLS keep the name. Resolved again when the TTL is over.",
    )
    srv: ServiceName | None = Field(
        None,
        description="Name with one endpoint for each SRV record, such as "
        "_http._tcp.vllm.internal, with the record's priority and weight.",
    )
    scheme: Literal["http", "https"] = Field("http", description="Scheme of `srv` endpoints.")
    file: FileName | None = Field(
        None,
        description="YAML or JSON file with `endpoints: [{url, weight, priority}]`, read again "
        "within a second of every change. The lowest priority is used first.",
    )
    nameservers: tuple[Nameserver, ...] = Field(
        (),
        description="Name servers, as ADDRESS or ADDRESS:PORT, instead of those in "
        "/etc/resolv.conf; names are then complete, without its search list.",
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if sum(source is not None for source in (self.dns, self.srv, self.file)) != 1:
            raise ValueError("give exactly one of `dns`, `srv` and `file`")
        return self


class HashKey(Section):
    """Consistent hashing: requests with the same value go to the same endpoint, unless it is
    overloaded.
    """

    hash: HashedValue = Field(
        description=f"Value to hash: {HASHED_EXPECTED}, or body.NAME, a text at the top of the "
        "JSON body."
    )


class Retries(Section):
    """Retries. If no connection could be made, each endpoint is tried. A request that was sent is
    retried only if it is idempotent or `post` is set, and never after a byte of the answer came.
    """

    attempts: int = Field(2, ge=0, le=10, description="Largest number of retries.")
    post: bool = Field(
        False,
        description="Also retry POST and other methods that are not idempotent, where repeating "
        "does no harm, as with LLM calls.",
    )
    statuses: tuple[Annotated[int, Field(ge=400, le=599)], ...] = Field(
        (502, 503, 504), description="Statuses that are retried."
    )
    rotate: tuple[Annotated[int, Field(ge=400, le=499)], ...] = Field(
        (429,),
        description="Statuses by which an endpoint refuses a request that another one may "
        "accept, since it has a quota or a credential of its own. The request goes to an "
        "endpoint that was not asked yet, at once and whatever its method; the one that refused "
        "gets a pause.",
    )
    per_try: Duration | None = Field(
        None, gt=0, description="Replaces `first_byte` while another attempt may follow."
    )
    backoff: Duration = Field(
        0.025,
        description="Longest pause before the first retry, doubled for each further one; the "
        "pause is random below it.",
    )
    longest_backoff: Duration = Field(0.25, description="Longest pause before any retry.")
    budget: Share = Field(
        0.2, description="Largest share of requests that may be retries, besides `reserve`."
    )
    reserve: int = Field(3, ge=0, description="Number of retries beyond the budget.")


class Hedge(Section):
    """Hedged requests: a second endpoint is asked when the first is late, and the faster answer is
    used. Only requests that may be sent twice are hedged: see `retries.post`. Each hedge counts
    against the retry budget.
    """

    after: Duration | None = Field(
        None,
        gt=0,
        description="Delay of the second request. Default: the time within which 95 % of the "
        "answers begin.",
    )


class HealthCheck(Section):
    """Active health checks of each endpoint, independent of its traffic."""

    path: str = Field(
        pattern=r"/[!-~]*", description="Path of the GET request, below the endpoint's base."
    )
    interval: Duration = Field(10.0, gt=0, description="Time between two checks, with some jitter.")
    timeout: Duration = Field(2.0, gt=0, description="Longest wait for the answer.")
    statuses: tuple[Annotated[int, Field(ge=100, le=599)], ...] = Field(
        (), description="Statuses that pass; empty: 200 to 399."
    )
    body: str | None = Field(None, min_length=1, description="Text that the answer must contain.")
    healthy: int = Field(
        2, ge=1, description="Consecutive checks that must pass before an endpoint is used again."
    )
    unhealthy: int = Field(
        3, ge=1, description="Consecutive checks that must fail before an endpoint is unhealthy."
    )


class Outliers(Section):
    """Outlier detection: ejects endpoints for a time because of their responses, then lets them
    back in gradually.
    """

    enabled: bool = Field(True, description="Eject endpoints by their answers.")
    failures: int = Field(
        5,
        ge=1,
        description="Consecutive failures before ejection: 5xx, no connection, no answer in "
        "time, broken answers.",
    )
    base: Duration = Field(
        30.0, gt=0, description="Time of an ejection, multiplied by the number of recent ejections."
    )
    longest: Duration = Field(300.0, gt=0, description="Longest time of an ejection.")
    max_ejected: Share = Field(
        0.1,
        description="Largest share of endpoints that may be ejected; one always may. A failing "
        "endpoint takes the place of one that is only slow.",
    )
    panic: Share = Field(
        0.5,
        description="Share of working endpoints below which ejected ones serve like the others. "
        "Above it, they are asked only where a request would otherwise be refused.",
    )
    probes: int = Field(
        1, ge=1, description="Simultaneous requests that test an ejected endpoint (half-open)."
    )
    successes: int = Field(3, ge=1, description="Consecutive successes that end an ejection.")
    slow_start: Duration = Field(
        10.0, description="Time in which the share of a recovered endpoint grows to its full size."
    )
    slow_factor: float = Field(
        5.0,
        gt=1,
        description="An answer is slow if its first byte takes this many times longer than "
        "those of its siblings for prompts of that size.",
    )
    slow_floor: Duration = Field(
        0.5, description="An answer whose first byte comes within this time is never slow."
    )
    slow_answers: int = Field(
        10,
        ge=3,
        le=1000,
        description="Consecutive slow answers before ejection.",
    )


class Tls(Section):
    """TLS to an upstream. The certificate is verified unless `verify` is false."""

    ca: FileName | None = Field(
        None, description="PEM file of the authority to trust instead of the system's."
    )
    server_name: str | None = Field(
        None, description="Name for SNI and verification, if not the URL's host."
    )
    verify: bool = Field(True, description="false accepts any certificate: for tests only.")
    cert: FileName | None = Field(
        None, description="PEM file of the gateway's own certificate, with its chain (mutual TLS)."
    )
    key: FileName | None = Field(None, description="PEM file of its private key.")

    @model_validator(mode="after")
    def _both(self) -> Self:
        if (self.cert is None) != (self.key is None):
            raise ValueError("give both `cert` and `key`, or neither")
        return self


class AdmissionSettings(Section):
    """Concurrency limit with a queue. Waiting requests are served in fair order by tenant."""

    concurrency: int = Field(ge=1, description="Largest number of requests in progress.")
    queue: int = Field(
        100, ge=0, description="Largest number of waiting requests; one more gets 503 queue_full."
    )
    max_wait: Duration = Field(30.0, gt=0, description="Longest wait; then 503 queue_timeout.")


class TranslationSettings(Section):
    """Translation of requests for callers that use another dialect."""

    max_tokens: int = Field(
        4096,
        ge=1,
        description="`max_tokens` for requests without a maximum, which Anthropic requires.",
    )
    thinking: Literal["adaptive", "budget"] = Field(
        "adaptive",
        description="Form of Anthropic's thinking. `adaptive`: an effort. `budget`: a number of "
        "tokens, for models before Claude 4.6.",
    )
    max_tokens_field: Literal["max_completion_tokens", "max_tokens"] = Field(
        "max_completion_tokens",
        description="Field for the longest answer in OpenAI's dialect. If the backend refuses "
        "it with 400 or 422, the other one is tried and remembered.",
    )
    efforts: tuple[Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"], ...] = (
        Field(
            (),
            description="Values of `reasoning_effort` (OpenAI) or `effort` (Anthropic) that the "
            "backend knows; another value becomes the nearest. Default: none, low, medium and high "
            "for OpenAI; all but none and minimal for Anthropic.",
        )
    )
    base: str | None = Field(
        None,
        pattern=r"^(/[A-Za-z0-9._~%:@!$&'()*+,;=-]+)*$",
        description="Path between an endpoint's URL and `/chat/completions` and the like, such "
        "as /inference; empty for none. Default: /v1 (Ollama: /api), unless the URL ends in a "
        "version, such as /v1, /api/paas/v4 or /v1beta/openai.",
    )


class UpstreamSettings(Section):
    """Model backend with one or more equivalent endpoints."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["endpoints"]}, {"required": ["discover"]}]}
    )

    dialect: Dialect = Field("openai", description="Dialect of the upstream's API.")
    endpoints: tuple[EndpointSettings, ...] = Field(
        (), min_length=1, description="Endpoints; or `discover`."
    )
    discover: Discover | None = Field(
        None, description="Discovery of endpoints, instead of `endpoints`."
    )
    discover_models: ModelDiscovery | bool = Field(
        False, description="Serve the models that the upstream lists, besides those in `models`."
    )
    host: Authority = Field(
        "upstream",
        description="Host header for the upstream. `upstream`: that of the endpoint's URL; "
        "`preserve`: the client's; else this name. X-Forwarded-Host always has the client's.",
    )
    allow_addresses: tuple[Network, ...] = Field(
        (),
        description="Networks that endpoints may be in although they are otherwise refused: "
        "link-local, cloud metadata, carrier-grade NAT, 6to4, NAT64, Teredo, multicast, "
        "reserved.",
    )
    timeouts: UpstreamTimeouts = Field(
        default_factory=UpstreamTimeouts, description="Timeouts by phase of a request."
    )
    credentials: Credentials | None = Field(
        None, description="Credential that replaces the caller's."
    )
    headers: dict[HeaderName, HeaderValue] = Field(
        default_factory=dict, description="Headers that are set on every request to the upstream."
    )
    tls: Tls = Field(default_factory=Tls, description="TLS settings of https endpoints.")
    proxy: ProxySettings | Literal["environment"] | None = Field(
        None,
        description="Proxy to the upstream. `environment`: the proxy in HTTPS_PROXY, "
        "HTTP_PROXY, ALL_PROXY and NO_PROXY.",
    )
    admission: AdmissionSettings | None = Field(
        None, description="Queue in front of the upstream, for all its models together."
    )
    balance: (
        Literal["least_requests", "round_robin", "random", "prefix", "ttft", "tpot"] | HashKey
    ) = Field(
        "least_requests",
        description="Choice among endpoints. `prefix`: the one that has seen the beginning of "
        "the conversation, whose KV cache it may still have. `ttft`, `tpot`: one whose latest "
        "streamed answers had a short time to the first event, or a short time for each further "
        "token.",
    )
    health: HealthCheck | None = Field(None, description="Active health checks.")
    outliers: Outliers = Field(
        default_factory=Outliers,
        description="Ejection of failing and slow endpoints by their answers.",
    )
    retries: Retries = Field(default_factory=Retries, description="Retries of failed requests.")
    continues: Literal["prefill", "continue_final_message"] | None = Field(
        None,
        description="Continue a streamed chat at another endpoint when one dies in the middle "
        "of it, by this request field. Anthropic and llama.cpp: prefill; vLLM and SGLang: "
        "continue_final_message.",
    )
    translation: TranslationSettings = Field(
        default_factory=TranslationSettings,
        description="Translation for callers of another dialect.",
    )
    stream_options: bool = Field(
        True,
        description="Ask an OpenAI-shaped backend for the usage of its streams, where limits or "
        "callers of another dialect need it. If it answers 400 or 422, the request is tried once "
        "without, and that is remembered.",
    )
    end_mark: bool = Field(
        True,
        description="End a stream with an error if its last event is part of an answer, without "
        "a finish reason or an end mark such as `[DONE]` after it: the backend died. false for a "
        "backend that never marks the end.",
    )
    model_name: Literal["asked", "backend"] | None = Field(
        None,
        description="Model name in answers. `asked`: the one the caller asked for. `backend`: "
        "the backend's own, which llama.cpp makes the path of a file. Default: `asked` where "
        "answers are translated; `backend` where they pass as they are, since `asked` changes "
        "their bytes.",
    )
    wake: WakeSettings | None = Field(
        None, description="Scale from zero: hold requests until the backend has started."
    )
    hedge: Hedge | None = Field(None, description="Ask a second endpoint when the first is late.")
    max_connections: int = Field(
        1024, ge=1, description="Largest number of open connections to each endpoint."
    )
    max_requests: int = Field(
        1024, ge=1, description="Largest number of simultaneous requests to each endpoint."
    )
    pending: int = Field(
        1024,
        ge=0,
        description="Largest number of requests that wait while all endpoints are full; more is "
        "503.",
    )
    pending_wait: Duration = Field(5.0, gt=0, description="Longest wait for an endpoint; then 503.")
    keepalive: Duration = Field(
        4.0,
        description="Longest idle time of a connection; below uvicorn's 5s, so that the "
        "upstream is not the one that closes first.",
    )

    @property
    def model_discovery(self) -> ModelDiscovery | None:
        """Settings of model discovery; None if its models are not asked for."""
        found = self.discover_models
        if isinstance(found, bool):
            return ModelDiscovery() if found else None
        return found

    @property
    def has_credentials(self) -> bool:
        """True if requests get a credential of the gateway's."""
        own = any(endpoint.credentials is not None for endpoint in self.endpoints)
        return own or self.credentials is not None

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if bool(self.endpoints) == (self.discover is not None):
            raise ValueError("give either `endpoints` or `discover`")
        return self
