"""Conversion of the text of a LiteLLM file into the text of a configuration.

What has a counterpart is converted. Every other setting becomes a comment with its path and the
reason; its value is left out, because it may be a secret.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from gateway.cli.litellm.findings import Findings
from gateway.cli.litellm.reading import LiteLLMReader
from gateway.cli.yaml_text import flow, quoted
from gateway.dialects import DIALECTS

_RETRIED = [500, 502, 503, 504]
"""Answers of a backend after which LiteLLM asks it again."""


class NotLiteLlm(Exception):
    """The text is not the configuration of a LiteLLM proxy. The message says why."""


@dataclass(slots=True)
class Conversion:
    """Result of a conversion."""

    text: str
    variables: list[str]
    """Environment variables that it reads."""
    left_out: int
    """Number of settings that became comments."""


def convert(source: str, name: str, *, anonymous: bool) -> Conversion:
    """Convert the text of the file `name`. Raise NotLiteLlm."""
    try:
        document = yaml.safe_load(source)
    except yaml.YAMLError as exc:
        # The text of the exception quotes the line, which may hold a secret.
        mark = getattr(exc, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark is not None else ""
        raise NotLiteLlm(f"not valid YAML{where}") from None
    if not isinstance(document, dict) or not isinstance(document.get("model_list"), list):
        raise NotLiteLlm("it has no `model_list`, which the file of a LiteLLM proxy has")
    found = LiteLLMReader(document).read()
    if not found.listed:
        reason = ": ".join(found.notes[0]) if found.notes else "`model_list` is empty"
        raise NotLiteLlm(f"no model of it can be converted: {reason}")
    written = [
        f"# Converted from {one_line(name)} by `gateway init --from`.",
        "# docs/configuration.md has every key.",
        *lines(found, anonymous=anonymous),
    ]
    return Conversion("\n".join(written) + "\n", found.variables, len(found.notes))


def lines(found: Findings, *, anonymous: bool) -> Iterator[str]:
    """Yield the lines of the configuration."""
    yield "server: {listen: 127.0.0.1:4000} # LiteLLM's port"
    if found.store is not None:
        yield ""
        if found.store:
            yield f"store: {{url: {quoted(found.store)}}}"
        else:
            yield "# REDIS_URL is redis://:PASSWORD@HOST:PORT/0; rediss:// with TLS."
            yield "store: {url: {env: REDIS_URL}}"
    if not anonymous:
        yield ""
        if found.asks_for_keys:
            yield "# Instead of general_settings.master_key and virtual keys: a caller gets a"
            yield "# key by `gateway keys create --owner NAME`. Operators have admin.token."
        else:
            yield "# API keys, made by `gateway keys create`. LiteLLM asked for none: it had no"
            yield "# general_settings.master_key."
        yield "auth:"
        yield "  keys: {type: api_key, file: keys.yaml}"
    limits = found.limits
    if limits:
        yield ""
        yield "# rpm and tpm: all callers of a model together."
        yield "limits:"
        yield f"  per-model: {flow({'key': 'model', **limits})}"
    yield from _upstream_lines(found)
    yield ""
    yield "models:"
    names = found.upstream_names()
    for name, model in found.models.items():
        more = {"fallbacks": model.fallbacks} if model.fallbacks else {}
        if not model.deployments:
            own = _served(name, names[model.upstream], model.backend)
            yield f"  {quoted(name)}: {flow({**own, **model.settings, **more})}"
            continue
        yield f"  {quoted(name)}:"
        yield "    deployments:"
        for one in model.deployments:
            own = _served(name, names[one.upstream], one.backend)
            yield f"      - {flow({**own, **one.settings})}"
        balance = {"balance": found.balance} if found.balance else {}
        for key, value in {**balance, **model.settings, **more}.items():
            yield f"    {key}: {flow(value)}"
    yield ""
    yield from _route_lines(found, anonymous=anonymous)
    if found.notes:
        yield ""
        yield "# Not converted:"
        for place, reason in dict.fromkeys(found.notes):
            yield f"# - {one_line(place)}: {one_line(reason)}"


def _served(name: str, upstream: str, backend: str) -> dict[str, Any]:
    """Return what names an upstream and its own name for a model, if that is another."""
    return {"upstream": upstream} | ({"model": backend} if backend != name else {})


def _upstream_lines(found: Findings) -> Iterator[str]:
    # A deployment that fails is not asked again: the next one is.
    rotated = {one.upstream for model in found.models.values() for one in model.deployments}
    yield ""
    yield "upstreams:"
    for upstream, name in found.upstream_names().items():
        yield f"  {name}:"
        yield f"    dialect: {upstream.dialect}"
        yield "    endpoints:"
        for url, weight, priority in upstream.endpoints:
            more = {
                **({"weight": weight} if weight != 1 else {}),
                **({"priority": priority} if priority else {}),
            }
            yield f"      - {flow({'url': url, **more})}"
        if upstream.variable:
            secret = {"env": upstream.variable}
            header = {"header": upstream.header, "value": secret}
            yield f"    credentials: {flow(header if upstream.header else {'bearer': secret})}"
        needed = DIALECTS[upstream.dialect].needed_headers.items()
        headers = {key.decode(): value.decode() for key, value in needed}
        if headers := headers | dict(upstream.headers):
            yield f"    headers: {flow(headers)}"
        timeouts = {"first_byte": upstream.first_byte, "total": upstream.total}
        if timeouts := {key: value for key, value in timeouts.items() if value}:
            yield f"    timeouts: {flow(timeouts)}"
        if upstream.dialect == "openai":
            yield "    model_name: asked"
        if upstream.attempts is not None and upstream not in rotated:
            retries = {"attempts": upstream.attempts, "post": True, "statuses": _RETRIED}
            yield f"    retries: {flow(retries)}"
        if found.balance and len(upstream.endpoints) > 1:
            yield f"    balance: {found.balance}"


def _route_lines(found: Findings, *, anonymous: bool) -> Iterator[str]:
    listed, names = found.listed, found.upstream_names()
    shared = [name for name, model in listed.items() if model.upstream.versioned]
    common = {"auth": "anonymous" if anonymous else ["keys"]} | (
        {"limits": ["per-model"]} if found.limits else {}
    )
    yield "# Callers name /v1 in their base URL: http://HOST:4000/v1."
    yield "routes:"
    if shared:
        route: dict[str, Any] = {"name": "openai", "path": "/v1/", "dialect": "openai"}
        yield f"  - {flow({**route, **common, 'models': shared})}"
        route = {"name": "anthropic", "path": "/v1/messages", "methods": ["POST"]}
        yield f"  - {flow({**route, 'dialect': 'anthropic', **common, 'models': shared})}"
    for upstream, name in names.items():
        own = [one for one, model in listed.items() if model.upstream == upstream]
        if own and not upstream.versioned:
            yield "  # Its API is not below /v1: the route's path is taken off."
            route = {"name": name, "path": f"/{name}/v1/", "strip": True, "dialect": "openai"}
            yield f"  - {flow({**route, **common, 'models': own})}"


def one_line(text: str) -> str:
    return " ".join("".join(one if one.isprintable() else " " for one in text).split())
