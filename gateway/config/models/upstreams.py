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
        description="http(s)://host[:port][/base]; the base path is put before the request's path.",
    )
    name: Name | None = Field(
        None,
        description="Name of the endpoint in logs, metrics and the admin API; default: its URL. "
        "Endpoints with the same URL, such as two accounts of one provider, need names.",
    )
    credentials: Credentials | None = Field(
        None, description="Credential for this endpoint, in place of the upstream's."
    )
    weight: int = Field(1, ge=1, le=1000, description="Share of requests relative to its siblings.")
    priority: int = Field(
        0, ge=0, le=9, description="Used once those of lower numbers are unhealthy or full."
    )


class Discover(Section):
    """Source of endpoints. While it fails or names none, the endpoints found before stay in use."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": [key]} for key in ("dns", "srv", "file")]}
    )

    dns: Url | None = Field(
        None,
        description="An endpoint at every address (A and AAAA) of this URL's host, which stays "
        "its name in Host and in TLS. Asked for again when the answer's TTL is over.",
    )
    srv: ServiceName | None = Field(
        None,
        description="An endpoint for every SRV record of this name, such as "
        "_http._tcp.vllm.internal, with the record's priority and weight.",
    )
    scheme: Literal["http", "https"] = Field("http", description="How `srv` endpoints are called.")
    file: FileName | None = Field(
        None,
        description="A YAML or JSON file with `endpoints: [{url, weight, priority}]`, read again "
        "within a second of every change. Those with the lowest priority come first.",
    )
    nameservers: tuple[Nameserver, ...] = Field(
        (),
        description="Whom to ask, as ADDRESS or ADDRESS:PORT, instead of those in "
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
        description=f"What is hashed: {HASHED_EXPECTED}, or body.NAME, a text at the top of the "
        "JSON body."
    )


class Retries(Section):
    """Retries. If no connection could be made, each endpoint is tried. A request that was sent is
    retried only if it is idempotent or `post` is set, and never after a byte of the answer came.
    """

    attempts: int = Field(2, ge=0, le=10, description="How often, beside the first time.")
    post: bool = Field(
        False,
        description="Also POST and the like, where doing it twice does no harm: LLM calls mostly.",
    )
    statuses: tuple[Annotated[int, Field(ge=400, le=599)], ...] = Field(
        (502, 503, 504), description="Answers that are not taken while another may be asked for."
    )
    rotate: tuple[Annotated[int, Field(ge=400, le=499)], ...] = Field(
        (429,),
        description="Statuses by which an endpoint refuses a request that another one may take, "
        "since it has a quota or a credential of its own. The request goes to an endpoint that was "
        "not asked yet, at once and whatever its method; the one that refused gets a pause.",
    )
    per_try: Duration | None = Field(
        None, gt=0, description="Instead of `first_byte`, while another attempt may follow."
    )
    backoff: Duration = Field(
        0.025, description="Longest pause before the first retry; doubled for each, random below."
    )
    longest_backoff: Duration = Field(0.25, description="And at most that.")
    budget: Share = Field(
        0.2, description="Of the requests: so many retries may there be, and `reserve` more."
    )
    reserve: int = Field(3, ge=0, description="Retries that need no budget.")


class Hedge(Section):
    """Hedged requests: a second endpoint is asked when the first is late, and the faster answer is
    used. Only requests that may be sent twice are hedged: see `retries.post`. Each hedge counts
    against the retry budget.
    """

    after: Duration | None = Field(
        None, gt=0, description="Default: the time within which 95 % of the answers begin."
    )


class HealthCheck(Section):
    """Active health checks of each endpoint, independent of its traffic."""

    path: str = Field(pattern=r"/[!-~]*", description="Asked with GET; below the endpoint's base.")
    interval: Duration = Field(10.0, gt=0, description="Time between two checks, more or less.")
    timeout: Duration = Field(2.0, gt=0, description="Longest wait for the answer.")
    statuses: tuple[Annotated[int, Field(ge=100, le=599)], ...] = Field(
        (), description="Good answers; empty: 200 to 399."
    )
    body: str | None = Field(None, min_length=1, description="Text that the answer has to hold.")
    healthy: int = Field(2, ge=1, description="Checks in a row that have to pass to be let in.")
    unhealthy: int = Field(3, ge=1, description="Checks in a row that have to fail to be out.")


class Outliers(Section):
    """Outlier detection: ejects endpoints for a time because of their responses, then lets them
    back in gradually.
    """

    enabled: bool = Field(True, description="Whether to.")
    failures: int = Field(
        5, ge=1, description="In a row: 5xx, no connection, no answer in time, broken answers."
    )
    base: Duration = Field(30.0, gt=0, description="How long, times the ejections of late.")
    longest: Duration = Field(300.0, gt=0, description="And at most that.")
    max_ejected: Share = Field(
        0.1,
        description="Of the endpoints; one may always be out. One that "
        "fails takes the place of one that is only slow.",
    )
    panic: Share = Field(
        0.5,
        description="With a smaller share of endpoints that work, ejected ones serve like the "
        "others; else they are asked only where a request would be refused.",
    )
    probes: int = Field(1, ge=1, description="Requests at once that try whether it is well again.")
    successes: int = Field(3, ge=1, description="Of these in a row let it back in.")
    slow_start: Duration = Field(10.0, description="Its share grows for so long then.")
    slow_factor: float = Field(
        5.0,
        gt=1,
        description="Slow: a streamed answer whose first byte comes so many times later than those "
        "of its siblings to prompts of that size.",
    )
    slow_floor: Duration = Field(
        0.5, description="An answer whose first byte comes within this time is never slow."
    )
    slow_answers: int = Field(
        10,
        ge=3,
        le=1000,
        description="Slow answers in a row, one after the other, that take an endpoint out.",
    )


class Tls(Section):
    """TLS to an upstream. The certificate is verified unless `verify` is false."""

    ca: FileName | None = Field(
        None, description="PEM file of the authority to trust instead of the system's."
    )
    server_name: str | None = Field(
        None, description="Name for SNI and verification, if not the URL's host."
    )
    verify: bool = Field(True, description="False accepts any certificate: for tests only.")
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

    concurrency: int = Field(ge=1, description="Requests under way at once.")
    queue: int = Field(100, ge=0, description="Requests that may wait; one more is 503 queue_full.")
    max_wait: Duration = Field(30.0, gt=0, description="Longest wait; then 503 queue_timeout.")


class TranslationSettings(Section):
    """Translation of requests for callers that use another dialect."""

    max_tokens: int = Field(
        4096, ge=1, description="Where the caller names no maximum, which Anthropic needs."
    )
    thinking: Literal["adaptive", "budget"] = Field(
        "adaptive",
        description="How Anthropic is asked to think: with an effort, or with a number of tokens, "
        "as models before Claude 4.6 want it.",
    )
    max_tokens_field: Literal["max_completion_tokens", "max_tokens"] = Field(
        "max_completion_tokens",
        description="The field of OpenAI's dialect that says how long an answer may be. If the "
        "backend refuses it with 400 or 422, the other one is tried and remembered.",
    )
    efforts: tuple[Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"], ...] = (
        Field(
            (),
            description="Values of `reasoning_effort` (OpenAI) or `effort` (Anthropic) that the "
            "backend knows; another one becomes the nearest. Default: none, low, medium and high "
            "for OpenAI; all but none and minimal for Anthropic.",
        )
    )
    base: str | None = Field(
        None,
        pattern=r"^(/[A-Za-z0-9._~%:@!$&'()*+,;=-]+)*$",
        description="The path between an endpoint's URL and `/chat/completions` and the like, such "
        "as /inference; empty for none. Default: /v1 (Ollama: /api), unless the URL ends in a "
        "version, such as /v1, /api/paas/v4 or /v1beta/openai.",
    )


class UpstreamSettings(Section):
    """Model backend with one or more equivalent endpoints."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["endpoints"]}, {"required": ["discover"]}]}
    )

    dialect: Dialect = Field("openai", description="What the upstream speaks.")
    endpoints: tuple[EndpointSettings, ...] = Field(
        (), min_length=1, description="Where it is; this, or `discover`."
    )
    discover: Discover | None = Field(
        None, description="How to find out where it is, instead of `endpoints`."
    )
    discover_models: ModelDiscovery | bool = Field(
        False, description="Serve the models that it lists, beside those in `models`."
    )
    host: Authority = Field(
        "upstream",
        description="The Host that it is sent. `upstream`: that of the endpoint's URL; `preserve`: "
        "the client's; else this name. The client's is in X-Forwarded-Host in any case.",
    )
    allow_addresses: tuple[Network, ...] = Field(
        (),
        description="Networks it may be in although their addresses are refused otherwise: "
        "link-local, cloud metadata, carrier-grade NAT, 6to4, NAT64, Teredo, multicast, reserved.",
    )
    timeouts: UpstreamTimeouts = Field(
        default_factory=UpstreamTimeouts, description="Phase timeouts."
    )
    credentials: Credentials | None = Field(
        None, description="Put in place of the caller's credential."
    )
    headers: dict[HeaderName, HeaderValue] = Field(
        default_factory=dict, description="Set on every request to the upstream."
    )
    tls: Tls = Field(default_factory=Tls, description="For https endpoints.")
    proxy: ProxySettings | Literal["environment"] | None = Field(
        None,
        description="The proxy through which it is reached. `environment`: what HTTPS_PROXY, "
        "HTTP_PROXY, ALL_PROXY and NO_PROXY say.",
    )
    admission: AdmissionSettings | None = Field(
        None, description="A queue in front of it, for all its models together."
    )
    balance: (
        Literal["least_requests", "round_robin", "random", "prefix", "ttft", "tpot"] | HashKey
    ) = Field(
        "least_requests",
        description="Which endpoint is next. `prefix`: the one that has seen the beginning of the "
        "conversation, whose KV cache it may still hold. `ttft`, `tpot`: one whose latest streamed "
        "answers had a short time to the first event, or a short time for each further token.",
    )
    health: HealthCheck | None = Field(None, description="Active checks.")
    outliers: Outliers = Field(default_factory=Outliers, description="What answers tell.")
    retries: Retries = Field(default_factory=Retries, description="When to send again.")
    continues: Literal["prefill", "continue_final_message"] | None = Field(
        None,
        description="Go on with a streamed chat elsewhere when an endpoint dies in the middle of "
        "it: how that is asked for. Anthropic and llama.cpp: prefill; vLLM and SGLang: "
        "continue_final_message.",
    )
    translation: TranslationSettings = Field(
        default_factory=TranslationSettings, description="For callers of another dialect."
    )
    stream_options: bool = Field(
        True,
        description="Ask an OpenAI-shaped backend for the usage of its streams, where that is "
        "needed: for limits, and for callers of another dialect. If it answers 400 or 422, the "
        "request is tried once without, and that is remembered.",
    )
    end_mark: bool = Field(
        True,
        description="Break off a stream whose last event is a part of an answer, without a "
        "finish reason or an end mark such as `[DONE]` after it: the backend died. False for a "
        "backend that never marks the end.",
    )
    model_name: Literal["asked", "backend"] | None = Field(
        None,
        description="The model name in answers: the one the caller asked for, or the backend's "
        "own, which llama.cpp makes the path of a file. Default: `asked` where answers are "
        "translated; `backend` where they pass as they are, since `asked` touches their bytes.",
    )
    wake: WakeSettings | None = Field(
        None, description="It scales from zero: hold its requests until it has started."
    )
    hedge: Hedge | None = Field(None, description="Ask a second endpoint when the first is late.")
    max_connections: int = Field(1024, ge=1, description="Open connections to each endpoint.")
    max_requests: int = Field(1024, ge=1, description="Requests at once at each endpoint.")
    pending: int = Field(
        1024, ge=0, description="Requests that wait when all endpoints are full; more is 503."
    )
    pending_wait: Duration = Field(5.0, gt=0, description="How long they wait; then 503.")
    keepalive: Duration = Field(
        4.0,
        description="How long an idle connection is kept for reuse; below uvicorn's 5s, so that "
        "the upstream is not the one that closes first.",
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
