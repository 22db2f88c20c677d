"""Names of trace attributes, all in one place, because OpenTelemetry still renames those for GenAI.

`1.44` are the names of the semantic conventions 1.44
(https://opentelemetry.io/docs/specs/semconv/); `next` are those of the GenAI conventions since they
have a repository of their own (https://github.com/open-telemetry/semantic-conventions-genai). Names
that are in no convention begin with `gateway.`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from gateway.dialects.paths import OPERATION_PATHS


@dataclass(frozen=True, slots=True)
class GenAiNames:
    """Attribute names of a request to a model."""

    schema_url: str
    operation: str = "gen_ai.operation.name"
    provider: str = "gen_ai.provider.name"
    conversation: str = "gen_ai.conversation.id"
    request_model: str = "gen_ai.request.model"
    request_stream: str = "gen_ai.request.stream"
    response_id: str = "gen_ai.response.id"
    response_model: str = "gen_ai.response.model"
    finish_reasons: str = "gen_ai.response.finish_reasons"
    time_to_first_chunk: str = "gen_ai.response.time_to_first_chunk"
    time_to_first_token: str = "gateway.response.time_to_first_token"  # noqa: S105 -- no secret
    input_tokens: str = "gen_ai.usage.input_tokens"
    output_tokens: str = "gen_ai.usage.output_tokens"
    cache_read_tokens: str = "gen_ai.usage.cache_read.input_tokens"
    cache_written_tokens: str = "gen_ai.usage.cache_creation.input_tokens"
    reasoning_tokens: str = "gen_ai.usage.reasoning.output_tokens"
    input_messages: str = "gen_ai.input.messages"
    output_messages: str = "gen_ai.output.messages"
    system_instructions: str = "gen_ai.system_instructions"


_PINNED = GenAiNames("https://opentelemetry.io/schemas/1.44.0")
NAMES: Mapping[str, GenAiNames] = {
    "1.44": _PINNED,
    "next": replace(
        _PINNED, schema_url="", cache_written_tokens="gen_ai.usage.cache_write.input_tokens"
    ),
}
"""Attribute names by the value of `telemetry.traces.semconv`."""

_PROVIDERS = {
    "api.anthropic.com": "anthropic",
    "api.cohere.com": "cohere",
    "api.deepseek.com": "deepseek",
    "api.groq.com": "groq",
    "api.mistral.ai": "mistral_ai",
    "api.openai.com": "openai",
    "api.perplexity.ai": "perplexity",
    "api.x.ai": "x_ai",
    "generativelanguage.googleapis.com": "gcp.gemini",
}
_AZURE = (".openai.azure.com", ".services.ai.azure.com", ".cognitiveservices.azure.com")


def http_route(route_path: str, path: str) -> str:
    """Return `http.route`: the route's path, with the operation if the request names one directly
    below it. No other part of a path is used, so that clients cannot create values.
    """
    base = route_path.rstrip("/")
    if path.startswith(base) and path[len(base) :].removeprefix("/v1") in OPERATION_PATHS:
        return path
    return route_path


def provider(dialect: str, host: str) -> str:
    """Return `gen_ai.provider.name` by the upstream's host, or else its dialect."""
    if host.endswith(_AZURE):
        return "azure.ai.openai"
    if host.startswith("bedrock") and host.endswith(".amazonaws.com"):
        return "aws.bedrock"
    return _PROVIDERS.get(host, dialect)
