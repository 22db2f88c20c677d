"""Text of a configuration for probed backends: commented YAML."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gateway.cli.probe import Credential, FoundBackend, FoundModel
from gateway.cli.yaml_text import quoted
from gateway.config.types import Dialect
from gateway.dialects import DIALECTS

_MOST_MODELS = 20
"""Number of models of an upstream that are listed; the others are only counted in a comment."""
_INDENT = "  "


@dataclass(slots=True)
class _Upstream:
    """Upstream whose endpoints are backends of the same kind, with the same models."""

    name: str
    first: FoundBackend
    endpoints: list[str]


def configuration(found: Sequence[FoundBackend], *, anonymous: bool) -> str:
    """Return a commented YAML configuration for the backends."""
    upstreams = _grouped(found)
    lines = [
        "# Made by `gateway init`; docs/configuration.md has every key.",
        "server: {listen: 127.0.0.1:8080}",
        "",
    ]
    if not anonymous:
        lines += [
            "# API keys, made by `gateway keys create`. docs/authentication.md has single sign-on.",
            "auth:",
            "  keys: {type: api_key, file: keys.yaml}",
            "",
        ]
    lines.append("upstreams:")
    for upstream in upstreams:
        lines += _upstream_lines(upstream)
    lines += ["", "# The names callers use.", "models:"]
    listed: dict[str, _Upstream] = {}
    for upstream in upstreams:
        lines += _model_lines(upstream, listed)
    lines += ["", *_route_lines(listed, anonymous=anonymous)]
    return "\n".join(lines) + "\n"


def _grouped(found: Sequence[FoundBackend]) -> list[_Upstream]:
    groups: list[_Upstream] = []
    for one in found:
        if not one.models:
            continue
        twin = next((group for group in groups if _are_equal(group.first, one)), None)
        if twin is not None:
            twin.endpoints.append(one.endpoint)
            continue
        slug = re.sub(r"[^a-z0-9]+", "-", one.product.lower()).strip("-")
        taken = sum(re.fullmatch(rf"{slug}(?:-\d+)?", group.name) is not None for group in groups)
        name = slug if not taken else f"{slug}-{taken + 1}"
        groups.append(_Upstream(name, one, [one.endpoint]))
    return groups


def _are_equal(one: FoundBackend, other: FoundBackend) -> bool:
    return (one.product, one.dialect, one.models) == (other.product, other.dialect, other.models)


def _upstream_lines(upstream: _Upstream) -> Iterator[str]:
    found = upstream.first
    yield f"{_INDENT}{upstream.name}: # {found.product}"
    yield f"{_INDENT * 2}dialect: {found.dialect}"
    yield f"{_INDENT * 2}endpoints:"
    for url in dict.fromkeys(upstream.endpoints):
        yield f"{_INDENT * 3}- {{url: {quoted(url)}}}"
    if found.credential is not None:
        yield f"{_INDENT * 2}credentials: {_credential(found.credential)}"
    needed = DIALECTS[found.dialect].needed_headers.items()
    if needed:
        fields = ", ".join(f'{name.decode()}: "{value.decode()}"' for name, value in needed)
        yield f"{_INDENT * 2}headers: {{{fields}}}"
    if found.health is not None:
        yield f"{_INDENT * 2}health: {{path: {found.health}}}"
    if len(upstream.endpoints) > 1 and found.product in ("vLLM", "SGLang", "llama.cpp"):
        yield f"{_INDENT * 2}balance: prefix # where the conversation's KV cache is"
    if found.product in ("Ollama", "llama.cpp"):
        yield f"{_INDENT * 2}timeouts: {{first_byte: 10m}} # loading a model takes a while"


def _credential(credential: Credential) -> str:
    secret = f"{{env: {credential.variable}}}"
    if credential.header:
        return f"{{header: {credential.header}, value: {secret}}}"
    return f"{{bearer: {secret}}}"


def _model_lines(upstream: _Upstream, listed: dict[str, _Upstream]) -> Iterator[str]:
    models = upstream.first.models
    for model in models[:_MOST_MODELS]:
        name = model.name if model.name not in listed else f"{upstream.name}/{model.name}"
        listed[name] = upstream
        own = "" if name == model.name else f", model: {quoted(model.name)}"
        line = f"{_INDENT}{quoted(name)}: {{upstream: {upstream.name}{own}}}"
        yield line + _context_comment(model)
    if len(models) > _MOST_MODELS:
        yield f"{_INDENT}# {upstream.name} lists {len(models) - _MOST_MODELS} more models."


def _context_comment(model: FoundModel) -> str:
    return "" if model.context_tokens is None else f" # context: {model.context_tokens} tokens"


def _route_lines(listed: dict[str, _Upstream], *, anonymous: bool) -> Iterator[str]:
    auth = "anonymous" if anonymous else "[keys]"
    shared = [name for name, upstream in listed.items() if upstream.first.versioned]
    if shared:
        dialects = {upstream.first.dialect for upstream in listed.values()}
        yield "# The SDKs of each route's dialect reach all models: what differs is translated."
        yield "routes:"
        yield from _route("openai", "/v1/", "openai", auth, shared)
        yield from _route("anthropic", "/v1/messages", "anthropic", auth, shared, "[POST]")
        if "ollama" in dialects:
            yield from _route("ollama", "/api/", "ollama", auth, shared)
    else:
        yield "routes:"
    for upstream in {id(one): one for one in listed.values()}.values():
        if not upstream.first.versioned:
            own = [name for name, other in listed.items() if other is upstream]
            yield f"{_INDENT}# Its API is not below /v1: the route's path is taken off."
            path = f"/{upstream.name}/v1/"
            yield from _route(upstream.name, path, "openai", auth, own, strip=True)


def _route(
    name: str,
    path: str,
    dialect: Dialect,
    auth: str,
    models: Sequence[str],
    methods: str | None = None,
    *,
    strip: bool = False,
) -> Iterator[str]:
    yield f"{_INDENT}- name: {name}"
    yield f"{_INDENT * 2}path: {path}"
    if methods is not None:
        yield f"{_INDENT * 2}methods: {methods}"
    if strip:
        yield f"{_INDENT * 2}strip: true"
    yield f"{_INDENT * 2}dialect: {dialect}"
    yield f"{_INDENT * 2}auth: {auth}"
    yield f"{_INDENT * 2}models: [{', '.join(map(quoted, models))}]"
