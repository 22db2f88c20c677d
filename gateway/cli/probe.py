"""Probe of a model backend: its product, dialect, models and context sizes.

Sends only GET requests for listings over HTTP, and Ollama's POST /api/show, which only reads too.
Nothing is generated.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeGuard
from urllib.parse import urlsplit

import aiohttp
import orjson

from gateway.cli.failures import why_unreachable
from gateway.config.types import Dialect
from gateway.dialects import DIALECTS
from gateway.http.urls import endpoint_fault

_TIMEOUT_S = 10.0
_LARGEST_BYTES = 8 * 1024 * 1024
_DESCRIBED = 20
"""Number of Ollama models whose context size is requested, with one request each."""
_NEEDED_HEADERS = {
    name.decode(): value.decode()
    for dialect in DIALECTS.values()
    for name, value in dialect.needed_headers.items()
}


class ProbeError(Exception):
    """The backend cannot be described. The text says why, and what to do."""


class KeyNeeded(ProbeError):
    """The backend refuses requests without its key."""

    def __init__(self, text: str, *, is_named: bool) -> None:
        super().__init__(text)
        self.is_named = is_named
        """True if the environment variable of the key is known."""


@dataclass(frozen=True, slots=True)
class Credential:
    """Environment variable with a provider's key, and the header to send the key in."""

    variable: str
    header: str = ""
    """Name of the header; empty for `Authorization: Bearer`."""

    def headers(self) -> dict[str, str]:
        """Return the headers of a request; none if the variable is not set."""
        key = os.environ.get(self.variable)
        if not key:
            return {}
        return {self.header: key} if self.header else {"Authorization": f"Bearer {key}"}


@dataclass(frozen=True, slots=True)
class FoundModel:
    """Model that the backend lists. `context_tokens` is None if the backend does not report it."""

    name: str
    context_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class FoundBackend:
    """Description of a backend, from its own responses."""

    product: str
    """Such as vLLM, SGLang, llama.cpp, Ollama, Anthropic, OpenAI, or OpenAI-compatible."""
    dialect: Dialect
    endpoint: str
    """URL of the endpoint for the configuration, to which the path of a request is appended."""
    models: tuple[FoundModel, ...]
    credential: Credential | None = None
    versioned: bool = True
    """True if its API is below /v1. Otherwise its paths directly follow the endpoint's URL."""
    health: str | None = None
    """Path of its health check, if known."""


_CREDENTIALS: Mapping[str, Credential] = {
    "api.openai.com": Credential("OPENAI_API_KEY"),
    "api.anthropic.com": Credential("ANTHROPIC_API_KEY", "x-api-key"),
    ".openai.azure.com": Credential("AZURE_OPENAI_API_KEY", "api-key"),
}
_PRODUCTS: Mapping[str, str] = {
    "vllm": "vLLM",
    "sglang": "SGLang",
    "llamacpp": "llama.cpp",
    "llama.cpp": "llama.cpp",
    "koboldcpp": "KoboldCpp",
    "demo": "demo backend",
}
"""Names of products, by the `owned_by` of their models."""
_WITH_HEALTH = ("vLLM", "SGLang", "llama.cpp", "demo backend")
"""Products with a health check at /health."""


def credential_for(url: str, variable: str | None) -> Credential | None:
    """Return the credential for a backend: that of a known provider, or one in the environment
    variable named by the user; None if there is neither.
    """
    host = urlsplit(url).hostname or ""
    known = next((one for end, one in _CREDENTIALS.items() if host.endswith(end)), None)
    if variable is None:
        return known
    return Credential(variable, known.header if known else "")


async def probe(
    url: str,
    variable: str | None = None,
    *,
    headers: Mapping[str, str] | None = None,
    context: ssl.SSLContext | None = None,
    dialect: Dialect | None = None,
    connector: aiohttp.BaseConnector | None = None,
) -> FoundBackend:
    """Describe the backend at `url`. `variable` names the environment variable with its key;
    `headers` are sent instead of a key from the environment. `context` verifies its certificate,
    the system's authorities by default. `dialect` is the one to ask in first: many backends speak
    several. `connector` leads to it, through a proxy for example. Raise ProbeError.
    """
    if "://" not in url:
        url = f"http://{url}"
    url = url.rstrip("/")
    if fault := endpoint_fault(url):
        raise ProbeError(f"{url}: {fault}")
    credential = credential_for(url, variable) if headers is None else None
    sent = _NEEDED_HEADERS | dict(headers or {})
    if credential is not None:
        sent |= credential.headers()
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    async with aiohttp.ClientSession(
        connector=connector, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False
    ) as session:
        return await _Probe(session, url, credential, sent, context).run(dialect)


class _Probe:
    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: str,
        credential: Credential | None,
        headers: Mapping[str, str],
        context: ssl.SSLContext | None,
    ) -> None:
        self._session = session
        self._context: ssl.SSLContext | bool = True if context is None else context
        self._url = url
        self._root = url.removesuffix("/v1")
        self._credential = credential
        self._headers = headers

    async def run(self, dialect: Dialect | None) -> FoundBackend:
        if dialect == "ollama" and (found := await self._ollama()) is not None:
            return found
        if self._url != self._root:
            # A URL that ends in /v1 is rarely meant so: the paths of requests begin with it, too.
            _, document = await self._ask(f"{self._url}/v1/models")
            if _entries(document) is not None:
                self._root = self._url
        status, document = await self._ask(f"{self._root}/v1/models")
        # Ollama also lists its models in OpenAI's form. Other products answer Ollama's paths, too:
        # one that says its name is not asked there.
        is_unknown = dialect is None and _product(_entries(document)) is None
        if is_unknown and (found := await self._ollama()) is not None:
            return found
        if status == 404:
            status, document = await self._ask(f"{self._url}/models")
            if (entries := _entries(document)) is not None:
                return self._openai(entries, self._url, versioned=False)
        if (entries := _entries(document)) is not None:
            if "has_more" in document:
                return self._anthropic(entries)
            return await self._described(self._openai(entries, self._root, versioned=True))
        if dialect == "openai" and (found := await self._ollama()) is not None:
            return found
        raise self._refusal(status)

    def _refusal(self, status: int) -> ProbeError:
        if status in (401, 403):
            if self._credential is None:
                how = "name the environment variable that holds its key with --key-env"
            elif self._credential.headers():
                how = f"it refuses the key in {self._credential.variable}"
            else:
                how = f"set {self._credential.variable} to its key"
            text = f"{self._url}: it asks for a key (status {status}): {how}"
            return KeyNeeded(text, is_named=self._credential is not None)
        return ProbeError(
            f"{self._url}: it lists no models: status {status} for /v1/models. "
            "Give the URL that stands before /v1"
        )

    async def _ollama(self) -> FoundBackend | None:
        status, document = await self._ask(f"{self._root}/api/tags")
        models = document.get("models") if status == 200 else None
        if not isinstance(models, list) or "data" in document:
            return None  # llama.cpp answers here with a listing in both forms
        names = [one["name"] for one in models if isinstance(one, dict) and _is_name(one, "name")]
        sizes = await asyncio.gather(*map(self._ollama_context, names[:_DESCRIBED]))
        sizes += [None] * (len(names) - len(sizes))
        found = tuple(FoundModel(*pair) for pair in zip(names, sizes, strict=True))
        return FoundBackend("Ollama", "ollama", self._root, found, self._credential)

    async def _ollama_context(self, name: str) -> int | None:
        status, document = await self._ask(f"{self._root}/api/show", {"model": name})
        details = document.get("model_info") if status == 200 else None
        if not isinstance(details, dict):
            return None
        lengths = (value for key, value in details.items() if key.endswith(".context_length"))
        return next(filter(_is_size, lengths), None)

    def _anthropic(self, entries: list[dict[str, Any]]) -> FoundBackend:
        models = tuple(FoundModel(one["id"], _context(one)) for one in entries)
        return FoundBackend("Anthropic", "anthropic", self._root, models, self._credential)

    def _openai(
        self, entries: list[dict[str, Any]], endpoint: str, *, versioned: bool
    ) -> FoundBackend:
        product = _product(entries)
        host = urlsplit(endpoint).hostname or ""
        if product is None:
            product = {"api.openai.com": "OpenAI"}.get(host, "OpenAI-compatible")
        if host.endswith(".openai.azure.com"):
            product = "Azure OpenAI"
        health = "/health" if product in _WITH_HEALTH else None
        models = tuple(FoundModel(one["id"], _context(one)) for one in entries)
        return FoundBackend(
            product, "openai", endpoint, models, self._credential, versioned, health
        )

    async def _described(self, found: FoundBackend) -> FoundBackend:
        """Return the description with the context size with which llama.cpp's server was started.
        Its listing contains only the size with which the model was trained.
        """
        if found.product != "llama.cpp":
            return found
        status, document = await self._ask(f"{self._root}/props")
        settings = document.get("default_generation_settings") if status == 200 else None
        size = settings.get("n_ctx") if isinstance(settings, dict) else None
        if not _is_size(size):
            return found
        models = tuple(FoundModel(one.name, size) for one in found.models)
        return replace(found, models=models)

    async def _ask(self, url: str, body: Any = None) -> tuple[int, dict[str, Any]]:
        """Return the status and the JSON object, empty if there is none. Raise ProbeError."""
        method = "GET" if body is None else "POST"
        try:
            async with self._session.request(
                method,
                url,
                headers=self._headers,
                json=body,
                allow_redirects=False,
                ssl=self._context,
            ) as response:
                data = await response.content.read(_LARGEST_BYTES)
                return response.status, _object(data)
        except (aiohttp.ClientConnectorCertificateError, ssl.SSLError) as exc:
            raise ProbeError(f"{self._url}: its TLS certificate is not trusted: {exc}") from exc
        except TimeoutError as exc:
            raise ProbeError(f"{self._url}: no answer within {_TIMEOUT_S:.0f} s") from exc
        except (aiohttp.ClientError, OSError) as exc:
            raise ProbeError(f"{self._url}: cannot be reached: {why_unreachable(exc)}") from exc


def _object(data: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError:
        return {}
    return document if isinstance(document, dict) else {}


def _entries(document: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """Return the models of a listing in OpenAI's or Anthropic's form, or None if it has another."""
    data = document.get("data")
    if not isinstance(data, list):
        return None
    return [one for one in data if isinstance(one, dict) and _is_name(one, "id")]


def _product(entries: list[dict[str, Any]] | None) -> str | None:
    """Return the product that the owners of the models name, or None."""
    owners = {one.get("owned_by") for one in entries or ()}
    return next((name for owner, name in _PRODUCTS.items() if owner in owners), None)


def _context(entry: Mapping[str, Any]) -> int | None:
    """Return the context size of a model in tokens, or None: max_model_len (vLLM, SGLang),
    max_input_tokens (Anthropic), context_length, or n_ctx_train (llama.cpp).
    """
    meta = entry.get("meta")
    places = [
        entry.get("max_model_len"),
        entry.get("max_input_tokens"),
        entry.get("context_length"),
    ]
    places.append(meta.get("n_ctx_train") if isinstance(meta, dict) else None)
    return next(filter(_is_size, places), None)


def _is_name(entry: Mapping[str, Any], key: str) -> bool:
    """Tell whether an entry's name can be used in a configuration, where `${` is special."""
    name = entry.get(key)
    return isinstance(name, str) and bool(name) and name.isprintable() and "${" not in name


def _is_size(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
