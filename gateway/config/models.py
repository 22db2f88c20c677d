"""The shape of `config.yaml`. Models describe YAML and nothing else: no behaviour, no I/O.

Checks that need more than one section (does this route's upstream exist?) are in `check.py`;
reading files, `${ENV}` and line numbers in `load.py`. Field descriptions are the source of
`docs/configuration.md`.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)

from gateway.config.secrets import Secret
from gateway.config.units import Duration, Size

Dialect = Literal["openai", "anthropic", "ollama"]
"""What a caller or an upstream speaks; decides the shape of errors."""

_LISTEN = re.compile(r"(?P<host>\[[0-9A-Fa-f:]+\]|[^:\[\]]*):(?P<port>[0-9]{1,5})")
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
_PATH = r"/[A-Za-z0-9._~/-]*"
_URL = r"https?://[^/?#@\s]+(?:/[^?#\s]*)?"
_RATE = r"[0-9]{1,12}/(?:second|minute|hour|day)"
_DOTTED = r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+"
_KEY = r"subject|tenant|ip|route|model|api_key|claim\..+"
_BUDGET = r"[0-9]{1,12}(?:\.[0-9]{1,6})? (?:tokens|[A-Z]{3})/(?:day|week|month)"
_STORE = r"memory://|sqlite:///.+|(?:redis|rediss|redis\+sentinel|redis\+cluster)://.+"
_ORIGIN = r"\*|https?://[a-z0-9.-]+(?::[0-9]{1,5})?"
_HEADER = re.compile(r"[!#$%&'*+.^`|~0-9A-Za-z-]+")


def _must_match(pattern: str, otherwise: str) -> AfterValidator:
    """A check against a pattern; `otherwise` says in plain words what was expected."""
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if compiled.fullmatch(value) is None:
            raise ValueError(otherwise)
        return value

    return AfterValidator(check)


def _pattern(pattern: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": f"^(?:{pattern})$"})


def _file_name(value: str, info: ValidationInfo) -> str:
    base = (info.context or {}).get("base")
    return value if base is None else str(base / value)


def check_listen(value: str) -> str:
    """The address itself. Raise ValueError unless it is HOST:PORT."""
    match = _LISTEN.fullmatch(value)
    if match is None or int(match["port"]) > 65535:
        raise ValueError("not an address to listen on: write HOST:PORT, such as 127.0.0.1:8080")
    return value


def _network(value: str) -> str:
    ipaddress.ip_network(value)
    return value


def _one_or_more(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _header_name(value: str) -> str:
    if not _HEADER.fullmatch(value):
        raise ValueError("not a header name (RFC 9110 section 5.1, and no underscore)")
    return value


def _header_value(value: str) -> str:
    if not value.isprintable():
        raise ValueError("a header value holds printable characters only")
    return value


def _providers(value: object) -> object:
    if value == "anonymous" or (isinstance(value, tuple) and value):
        return value
    raise ValueError("list the providers, such as [corp], or write anonymous")


Listen = Annotated[str, AfterValidator(check_listen)]
FileName = Annotated[str, AfterValidator(_file_name)]
"""A file, seen from the configuration's folder."""
Network = Annotated[str, AfterValidator(_network)]
HeaderName = Annotated[str, AfterValidator(_header_name)]
HeaderValue = Annotated[str, AfterValidator(_header_value)]
Name = Annotated[
    str,
    _must_match(
        _NAME, "not a name: use letters, digits, dots, hyphens and underscores, 64 at most"
    ),
    _pattern(_NAME),
]
Path = Annotated[
    str,
    _must_match(_PATH, "not a path: begin with /, and use letters, digits, . _ ~ - and /"),
    _pattern(_PATH),
]
Url = Annotated[
    str,
    _must_match(
        _URL, "not an endpoint: write http://HOST:PORT or https://HOST, with a base path if need be"
    ),
    _pattern(_URL),
]
Rate = Annotated[
    str,
    _must_match(
        _RATE, "not a rate: write a number per second, minute, hour or day, such as 60/minute"
    ),
    _pattern(_RATE),
]
DottedName = Annotated[
    str, _must_match(_DOTTED, "not a dotted name, such as acme.headers.Stamp"), _pattern(_DOTTED)
]


AsymmetricAlgorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"
]
Algorithm = Literal["HS256", "HS384", "HS512"] | AsymmetricAlgorithm
OneOrMore = Annotated[
    tuple[Annotated[str, Field(min_length=1)], ...],
    BeforeValidator(_one_or_more),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]
Required = str | int | bool | tuple[str | int | bool, ...]
Jwks = Annotated[
    str,
    _must_match(r"auto|https?://[^?#@\s]+(?:\?[^#\s]*)?", "write auto, or the URL of the keys"),
]


Key = Annotated[
    str,
    _must_match(_KEY, "not a key: write subject, tenant, ip, route, model, api_key or claim.NAME"),
    _pattern(_KEY),
]
Budget = Annotated[
    str,
    _must_match(_BUDGET, "not a budget: write it as 500 USD/month or 10000000 tokens/day"),
    _pattern(_BUDGET),
]
StoreUrl = Annotated[
    str,
    _must_match(_STORE, "not a store: write memory://, sqlite:///PATH, or the URL of a Redis"),
    _pattern(_STORE),
]
Origin = Annotated[
    str,
    _must_match(
        _ORIGIN, "not an origin: write scheme and host, such as https://app.example.com, or *"
    ),
    _pattern(_ORIGIN),
]
Currency = Annotated[str, _must_match(r"[A-Z]{3}", "three letters, such as USD")]


def parse_budget(text: str) -> tuple[float, str, str]:
    """Amount, unit (`tokens` or a currency) and period of a valid budget."""
    amount, _, rest = text.partition(" ")
    unit, _, period = rest.partition("/")
    return float(amount), unit, period


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Server(_Model):
    """The public listener."""

    listen: Listen = Field(
        "127.0.0.1:8080", description="Address and port; port 0 asks the kernel."
    )
    trusted_proxies: tuple[Network, ...] = Field(
        (),
        description="Networks whose X-Forwarded-* and X-Request-ID are believed, such as nginx's.",
    )
    max_connections: int = Field(
        10_000, ge=1, description="Open client connections; one more is answered 503 and closed."
    )
    header_bytes: Size = Field(
        32 * 1024, ge=1024, description="Request line and headers together; more is 431."
    )
    header_count: int = Field(100, ge=1, le=1000, description="Request headers; more is 431.")
    header_timeout: Duration = Field(
        10.0, gt=0, description="From a request's first byte to its last header; 408."
    )
    body_timeout: Duration = Field(
        30.0, gt=0, description="Longest silence inside a request body; 408."
    )
    send_timeout: Duration = Field(
        30.0,
        gt=0,
        description="Longest time a client may take no byte of what waits for it; then it is cut.",
    )
    keepalive: Duration = Field(75.0, description="How long an idle client connection stays open.")
    drain: Duration = Field(
        30.0, description="On SIGTERM, how long requests and streams may go on."
    )
    hide_server: bool = Field(True, description="Drop the upstream's Server header from responses.")


class Log(_Model):
    """The structured log on standard output."""

    format: Literal["auto", "json", "console"] = Field(
        "auto", description="auto: console on a terminal, JSON lines elsewhere."
    )
    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Lowest level kept."
    )
    access: bool = Field(True, description="One line for each request, when it ends.")


class Telemetry(_Model):
    """What the gateway tells about itself."""

    log: Log = Field(default_factory=Log, description="The log.")


class Demo(_Model):
    """A built-in backend that plays OpenAI, Ollama and Anthropic; for trying things out."""

    listen: Listen = Field("127.0.0.1:8081", description="Where the demo backend listens.")
    pace: Duration = Field(0.02, description="Time between two tokens.")


class Claims(_Model):
    """Which claims of a token say what; a dotted name looks inside: `realm_access.roles`."""

    subject: str = Field("sub", min_length=1, description="Who it is.")
    tenant: str | None = Field(None, description="Whose budget and limits it shares.")
    tier: str | None = Field(None, description="Its class of service, such as gold.")
    groups: str | None = Field(None, description="The groups it is in; a list.")
    scopes: tuple[str, ...] = Field(
        ("scope", "scp", "roles"), description="What it may do: texts of words, or lists."
    )


class JwtProvider(_Model):
    """Bearer tokens of one issuer, verified here."""

    type: Literal["jwt"]
    issuer: str = Field(min_length=1, description="The `iss` a token must carry.")
    audience: OneOrMore = Field(
        min_length=1, description="The `aud` a token must carry, or the ones of which it needs one."
    )
    algorithm: Algorithm | None = Field(
        None,
        description="With `secret` or `public_key`: the one algorithm accepted. What a token's "
        "header says is never trusted.",
    )
    secret: Secret | None = Field(
        None, description="HS256, HS384, HS512: the shared secret, as long as the hash or longer."
    )
    public_key: Secret | None = Field(None, description="The other algorithms: the key, in PEM.")
    jwks: Jwks | None = Field(
        None,
        description="Where the issuer's keys are, instead of a key here: `auto` finds them by "
        "OpenID Connect Discovery, or an https URL.",
    )
    algorithms: tuple[AsymmetricAlgorithm, ...] = Field(
        (),
        description="With `jwks`: those accepted; empty: all that are asymmetric. The first that "
        "fits is pinned to a key that names none.",
    )
    ca: FileName | None = Field(
        None, description="With `jwks`: PEM file of the authority to trust, not the system's."
    )
    leeway: Duration = Field(60.0, description="Clock skew allowed on exp, nbf and iat.")
    claims: Claims = Field(default_factory=Claims, description="Which claims say what.")
    require: dict[str, Required] = Field(
        default_factory=dict,
        description="Claims a token must have, with a value, or a list of which one has to be.",
    )
    headers: dict[HeaderName, str] = Field(
        default_factory=dict,
        description="Headers for the upstream, and the claims they are filled from. What clients "
        "send under these names is dropped.",
    )


class ApiKeyProvider(_Model):
    """API keys made by `gateway keys create`."""

    type: Literal["api_key"]
    file: FileName = Field(
        description="YAML file with the keys' salted hashes; changes take effect within a second."
    )
    header: HeaderName | None = Field(
        None, description="Where the key may stand, beside Authorization, x-api-key and api-key."
    )


Provider = Annotated[JwtProvider | ApiKeyProvider, Field(discriminator="type")]


class Tier(_Model):
    """What callers of one tier have, instead of what the limit says for everybody."""

    requests: Rate | None = Field(None, description="Rate, such as 600/minute.")
    burst: int | None = Field(None, ge=1, description="How many requests at once.")
    tokens: Rate | None = Field(None, description="LLM tokens, in and out, such as 1000000/minute.")
    token_burst: int | None = Field(None, ge=1, description="How many tokens at once.")
    concurrency: int | None = Field(None, ge=1, description="Requests under way at once.")
    budget: Budget | None = Field(None, description="Such as 5000 USD/month.")


class Limit(_Model):
    """How much callers may, counted in one unit or several; a request has to fit in all."""

    key: Key | tuple[Key, ...] = Field(
        description="Who shares: subject, tenant, ip, route, model, api_key or claim.NAME; "
        "a list means each combination."
    )
    requests: Rate | None = Field(None, description="A token bucket's rate, such as 60/minute.")
    burst: int | None = Field(
        None, ge=1, description="That bucket's size: requests at once; default: the rate's number."
    )
    tokens: Rate | None = Field(
        None,
        description="LLM tokens, in and out, such as 200000/minute: an estimate is reserved, and "
        "settled with what the response says it used.",
    )
    token_burst: int | None = Field(
        None, ge=1, description="Tokens at once; default: the rate's number."
    )
    concurrency: int | None = Field(None, ge=1, description="Requests under way at once.")
    budget: Budget | None = Field(
        None,
        description="For a calendar day, week or month in UTC: 500 USD/month, by the models' "
        "prices, or 10000000 tokens/day.",
    )
    tiers: dict[str, Tier] = Field(
        default_factory=dict, description="Other amounts, by the tier of the caller."
    )
    on_store_error: Literal["open", "closed", "local"] = Field(
        "local",
        description="Without the store: let requests through, refuse them with 503, or count in "
        "this process alone.",
    )


class Store(_Model):
    """Where limits are counted."""

    url: StoreUrl | Secret = Field(
        "memory://",
        description="memory:// for one process; sqlite:///PATH for the processes of a machine, "
        "and budgets that outlive a restart; redis://, rediss://, redis+sentinel:// or "
        "redis+cluster:// for replicas.",
    )


class Price(_Model):
    """What a model costs, for budgets in money."""

    input: float = Field(ge=0, description="For a million tokens in.")
    output: float = Field(ge=0, description="For a million tokens out.")
    currency: Currency = Field("USD", description="Three letters, as in the budgets.")


class Endpoint(_Model):
    """One address of an upstream."""

    url: Url = Field(
        description="http(s)://host[:port][/base]; the base path is put before the request's path.",
    )
    weight: int = Field(1, ge=1, le=1000, description="Share of requests relative to its siblings.")


class Timeouts(_Model):
    """How long each phase of an upstream exchange may take."""

    connect: Duration = Field(5.0, gt=0, description="TCP and TLS; 504 upstream_connect_timeout.")
    first_byte: Duration = Field(
        60.0, gt=0, description="Request sent to response head; 504 upstream_first_byte_timeout."
    )
    idle: Duration = Field(300.0, gt=0, description="Longest silence inside a response body.")


class Tls(_Model):
    """TLS towards an upstream; the certificate is always verified unless `verify` says no."""

    ca: FileName | None = Field(
        None, description="PEM file of the authority to trust instead of the system's."
    )
    server_name: str | None = Field(
        None, description="Name for SNI and verification, if not the URL's host."
    )
    verify: bool = Field(True, description="False accepts any certificate: for tests only.")


class Credentials(_Model):
    """What the gateway shows the upstream: a bearer token, or a secret in a header of its own."""

    bearer: Secret | None = Field(None, description="Sent as `Authorization: Bearer …`.")
    header: HeaderName | None = Field(
        None, description="A header instead, such as x-api-key (Anthropic) or api-key (Azure)."
    )
    value: Secret | None = Field(None, description="What stands in `header`.")

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.bearer is None) == (self.header is None) or (
            (self.header is None) != (self.value is None)
        ):
            raise ValueError("give either `bearer`, or `header` and `value`")
        return self


class Admission(_Model):
    """How many requests pass at once, and how the others wait: in fair order by tenant."""

    concurrency: int = Field(ge=1, description="Requests under way at once.")
    queue: int = Field(100, ge=0, description="Requests that may wait; one more is 503 queue_full.")
    max_wait: Duration = Field(30.0, gt=0, description="Longest wait; then 503 queue_timeout.")


class Shares(_Model):
    """Who gets how much of a busy backend: while nobody waits, this changes nothing."""

    weights: dict[str, Annotated[int, Field(ge=1, le=1000)]] = Field(
        default_factory=dict,
        description="By tenant, or by subject of those without: turns for each of the others' one.",
    )
    priorities: dict[str, int] = Field(
        default_factory=dict,
        description="By tier: a higher one goes first, always; without one it is 0.",
    )


class Upstream(_Model):
    """A model backend: one or more equal endpoints."""

    dialect: Dialect = Field("openai", description="What the upstream speaks.")
    endpoints: tuple[Endpoint, ...] = Field(min_length=1, description="Where it is.")
    timeouts: Timeouts = Field(default_factory=Timeouts, description="Phase timeouts.")
    credentials: Credentials | None = Field(
        None, description="Put in place of the caller's credential."
    )
    headers: dict[HeaderName, HeaderValue] = Field(
        default_factory=dict, description="Set on every request to the upstream."
    )
    tls: Tls = Field(default_factory=Tls, description="For https endpoints.")
    admission: Admission | None = Field(
        None, description="A queue in front of it, for all its models together."
    )
    max_connections: int = Field(
        1024, ge=1, description="Open connections to each endpoint; more is 503."
    )
    keepalive: Duration = Field(
        4.0,
        description="How long an idle connection is kept for reuse; below uvicorn's 5s, so that "
        "the upstream is not the one that closes first.",
    )


class Model(_Model):
    """A model name callers use, and what stands behind it."""

    upstream: Name = Field(description="The upstream that serves it.")
    model: str | None = Field(
        None, min_length=1, description="The upstream's own name for it; default: the same name."
    )
    scopes: tuple[str, ...] = Field(
        (), description="Scopes or roles a caller needs for it; to others it does not exist."
    )
    admission: Admission | None = Field(None, description="A queue for this model alone.")
    price: Price | None = Field(None, description="What it costs, for budgets in money.")


class Middleware(_Model):
    """A plug-in: any aiohttp middleware, or a factory that builds one from validated options."""

    use: DottedName = Field(
        description="Dotted name, such as acme.headers.stamp.",
    )
    options: dict[str, Any] = Field(
        default_factory=dict, description="Passed to the plug-in's own `Options` model."
    )


class Cors(_Model):
    """Which web pages may call the route from a browser."""

    origins: tuple[Origin, ...] = Field(
        min_length=1, description="Exact origins, such as https://app.example.com; or *."
    )
    headers: tuple[HeaderName, ...] = Field(
        ("Authorization", "Content-Type", "X-Request-ID", "Last-Event-ID", "Idempotency-Key"),
        description="Request headers a page may set.",
    )
    expose: tuple[HeaderName, ...] = Field(
        ("X-Request-ID", "Retry-After", "RateLimit", "RateLimit-Policy"),
        description="Response headers a page may read.",
    )
    credentials: bool = Field(False, description="Whether cookies may be sent along; not with *.")
    max_age: Duration = Field(600.0, description="How long a browser remembers the answer.")


class Route(_Model):
    """Which requests go where, and what they must pass on the way."""

    name: Name = Field(description="Shown in logs and by `gateway routes`.")
    path: Path = Field(
        description="Ends in / : everything below it. Otherwise exactly this path.",
    )
    methods: tuple[Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"], ...] = (
        Field((), description="Methods served; empty: all. Another method is 405.")
    )
    hosts: tuple[str, ...] = Field((), description="Host names served, without port; empty: all.")
    auth: Annotated[tuple[Name, ...] | Literal["anonymous"], BeforeValidator(_providers)] = Field(
        description="Providers tried in order, or `anonymous`, which has to be said."
    )
    scopes: tuple[str, ...] = Field(
        (), description="Scopes or roles a caller needs, all of them; else 403."
    )
    limits: tuple[Name, ...] = Field((), description="Limits every request must pass.")
    limit_headers: bool = Field(
        True, description="Tell callers what they have left: RateLimit and x-ratelimit-* fields."
    )
    cors: Cors | None = Field(None, description="Let web pages of other origins call it.")
    models: tuple[str, ...] = Field((), description="Models served here, by the name in the body.")
    upstream: Name | None = Field(
        None, description="Where requests go; beside `models`, where those without a model go."
    )
    strip: bool = Field(False, description="Take the route's path off before forwarding.")
    dialect: Dialect | None = Field(
        None, description="What callers speak here; default: what the upstream speaks."
    )
    body: Size = Field(10 * 1024**2, description="Largest request body; more is 413.")
    middleware: tuple[Middleware, ...] = Field(
        (), description="Plug-ins, run in this order after limits and before forwarding."
    )


class Config(_Model):
    """The whole file."""

    server: Server = Field(default_factory=Server, description="The public listener.")
    telemetry: Telemetry = Field(default_factory=Telemetry, description="Logs.")
    demo: Demo | None = Field(None, description="Run the built-in demo backend beside the gateway.")
    auth: dict[Name, Provider] = Field(
        default_factory=dict, description="Identity providers by name."
    )
    store: Store = Field(default_factory=Store, description="Where limits are counted.")
    limits: dict[Name, Limit] = Field(default_factory=dict, description="Limits by name.")
    upstreams: dict[Name, Upstream] = Field(min_length=1, description="Backends by name.")
    shares: Shares = Field(
        default_factory=Shares, description="Who gets how much of a busy backend."
    )
    models: dict[str, Model] = Field(default_factory=dict, description="Models by public name.")
    routes: tuple[Route, ...] = Field(
        min_length=1, description="Routes; the most specific path wins."
    )
