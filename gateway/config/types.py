"""Text types of settings: names, URLs, rates, budgets, header names.

Each type is a string with a check of its form, and an error message in plain words. Most also have
a pattern for the JSON Schema. Durations and sizes are in `units.py`, secrets in `secrets.py`.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic_core.core_schema import CoreSchema, no_info_before_validator_function

from gateway.auth.allowance import BUDGET, BUDGET_EXPECTED, RATE, RATE_EXPECTED
from gateway.dialects import DIALECTS
from gateway.limiting import keys
from gateway.store import location

if TYPE_CHECKING:
    Dialect = str
else:
    Dialect = Literal[tuple(DIALECTS)]
"""API dialect of a caller or an upstream. It determines the form of errors."""

_LISTEN = re.compile(r"(?P<host>\[[0-9A-Fa-f:]+\]|[^:\[\]]*):(?P<port>[0-9]{1,5})")
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
_PATH = r"/[A-Za-z0-9._~/-]*"
_URL = r"https?://[^/?#@\s]+(?:/[^?#\s]*)?"
_PROXY = r"(?:http|socks5)://(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]):[0-9]{1,5}/?"
_AUTHORITY = r"(?:[A-Za-z0-9_][A-Za-z0-9._-]{0,252}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?"
_DOTTED = r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+"
_HASHED = "|".join(
    (*keys.HASHED, r"header\.[A-Za-z0-9-]+", keys.CLAIM_PATTERN, r"body\.[A-Za-z0-9_-]+")
)
_SERVICE = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?"
_NAMESERVER = re.compile(r"(?P<host>[0-9.]+|\[[0-9A-Fa-f:]+\])(?::(?P<port>[0-9]{1,5}))?")
_ORIGIN = r"\*|https?://[a-z0-9.-]+(?::[0-9]{1,5})?"
_LINK = r"https?://\S*\{(?:trace_id|request_id)\}\S*"
_PARAMETER = (
    r"(?!(?:model|stream|stream_options|messages|input|prompt|options)$)[a-z][a-z0-9_]{0,63}"
)
_HEADER = re.compile(r"[!#$%&'*+.^`|~0-9A-Za-z-]+")


@dataclass(frozen=True, slots=True)
class TextForm:
    """Form of a text: a pattern, which the JSON Schema has too, and the message about others."""

    pattern: str
    otherwise: str
    """Message about a text that does not match: the form that was expected."""

    def __get_pydantic_core_schema__(
        self, source: type[str], handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        # This runs before pydantic's type check: for a bare number, this message is more helpful
        # than the message that a text is required.
        return no_info_before_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, str]:
        return {"type": "string", "pattern": f"^(?:{self.pattern})$"}

    def _check(self, value: object) -> object:
        if not isinstance(value, str) or re.fullmatch(self.pattern, value) is None:
            raise ValueError(self.otherwise)
        return value


def _file_name(value: str, info: ValidationInfo) -> str:
    base = (info.context or {}).get("base")
    return value if base is None else str(base / value)


def check_listen(value: str) -> str:
    """Return the address unchanged. Raise ValueError unless it is HOST:PORT."""
    match = _LISTEN.fullmatch(value)
    if match is None or int(match["port"]) > 65535:
        raise ValueError("not an address to listen on: write HOST:PORT, such as 127.0.0.1:8080")
    return value


def _network(value: str) -> str:
    ipaddress.ip_network(value)
    return value


def _nameserver(value: str) -> str:
    parse_nameserver(value)
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


def _listen(value: object) -> str:
    """Check an address to listen on. `listen: 8080` is a number in YAML, and gets a better hint."""
    if isinstance(value, int) and not isinstance(value, bool):
        raise ValueError(f"not an address to listen on: write HOST:PORT, such as 127.0.0.1:{value}")
    if not isinstance(value, str):
        raise ValueError("not an address to listen on: write HOST:PORT, such as 127.0.0.1:8080")
    return check_listen(value)


Listen = Annotated[str, BeforeValidator(_listen)]
LinkTemplate = Annotated[
    str,
    TextForm(
        _LINK, "not the template of a link: write http(s)://… with {trace_id} or {request_id} in it"
    ),
]
FileName = Annotated[str, AfterValidator(_file_name)]
"""Path of a file, relative to the configuration's folder."""
Network = Annotated[str, AfterValidator(_network)]
HeaderName = Annotated[str, AfterValidator(_header_name)]
HeaderValue = Annotated[str, AfterValidator(_header_value)]
Name = Annotated[
    str,
    TextForm(_NAME, "not a name: use letters, digits, dots, hyphens and underscores, 64 at most"),
]
Path = Annotated[
    str, TextForm(_PATH, "not a path: begin with /, and use letters, digits, . _ ~ - and /")
]
Url = Annotated[
    str,
    TextForm(
        _URL, "not an endpoint: write http://HOST:PORT or https://HOST, with a base path if need be"
    ),
]
ProxyUrl = Annotated[
    str,
    TextForm(
        _PROXY, "not a proxy: write http://HOST:PORT or socks5://HOST:PORT, without a credential"
    ),
]
Authority = Annotated[str, TextForm(_AUTHORITY, "not a host: write HOST or HOST:PORT")]
Rate = Annotated[str, TextForm(RATE, RATE_EXPECTED)]
DottedName = Annotated[str, TextForm(_DOTTED, "not a dotted name, such as acme.headers.Stamp")]
Identity = Annotated[tuple[Name, ...] | Literal["anonymous"], BeforeValidator(_providers)]
"""Identity providers of a route, or `anonymous`."""

AsymmetricAlgorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"
]
Algorithm = Literal["HS256", "HS384", "HS512"] | AsymmetricAlgorithm
OneOrMore = Annotated[
    tuple[Annotated[str, Field(min_length=1)], ...],
    BeforeValidator(_one_or_more),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]
_Digest = Annotated[
    str,
    TextForm(r"[0-9a-f]{64}", "not a SHA-256 digest: 64 hexadecimal digits in lower case"),
]
Digests = Annotated[
    tuple[_Digest, ...],
    BeforeValidator(_one_or_more),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]
"""SHA-256 digests in hexadecimal, or one of them."""
Required = str | int | bool | tuple[str | int | bool, ...]
Jwks = Annotated[
    str,
    TextForm(r"auto|https?://[^?#@\s]+(?:\?[^#\s]*)?", "write auto, or the URL of the keys"),
]
Key = Annotated[str, TextForm(keys.PATTERN, f"not a key: write {keys.EXPECTED}")]
HASHED_EXPECTED = ", ".join((*keys.HASHED, "header.NAME", "claim.NAME"))
"""Words of the values to hash, except the last one, for messages and descriptions."""
HashedValue = Annotated[
    str, TextForm(_HASHED, f"not a value: write {HASHED_EXPECTED} or body.NAME")
]
Budget = Annotated[str, TextForm(BUDGET, BUDGET_EXPECTED)]
StoreUrl = Annotated[str, TextForm(location.PATTERN, location.EXPECTED)]
Origin = Annotated[
    str,
    TextForm(
        _ORIGIN, "not an origin: write scheme and host, such as https://app.example.com, or *"
    ),
]
Currency = Annotated[str, TextForm(r"[A-Z]{3}", "three letters, such as USD")]


ServiceName = Annotated[
    str, TextForm(_SERVICE, "not a name of SRV records, such as _http._tcp.vllm.internal")
]
Nameserver = Annotated[str, AfterValidator(_nameserver)]


def parse_nameserver(text: str) -> tuple[str, int]:
    """Return address and port (default 53) of ADDRESS or ADDRESS:PORT. Raise ValueError."""
    match = _NAMESERVER.fullmatch(text)
    try:
        host = str(ipaddress.ip_address(match["host"].strip("[]"))) if match else ""
    except ValueError:
        host = ""
    port = int(match["port"] or 53) if match else 0
    if not host or not 0 < port < 65536:
        raise ValueError("not a name server: write its ADDRESS or ADDRESS:PORT, such as 10.0.0.53")
    return host, port


ParameterName = Annotated[
    str,
    TextForm(
        _PARAMETER,
        "not a parameter that a rule may change: write its name, such as temperature or max_tokens",
    ),
]
"""Parameter of a request, without those that decide on the kind of request and answer."""
