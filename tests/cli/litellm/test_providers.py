"""Where the models of a provider are."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.cli.litellm.providers import PROVIDERS, UNTRANSLATED, endpoint
from gateway.dialects.anthropic import requests as anthropic
from gateway.dialects.ollama import requests as ollama
from gateway.dialects.openai.requests import read
from gateway.dialects.translation.options import TranslationOptions
from gateway.errors import RequestError

PARAMETERS: dict[str, Any] = {
    "audio": {"voice": "a", "format": "wav"},
    "frequency_penalty": 1,
    "logit_bias": {"1": 1},
    "logprobs": True,
    "max_completion_tokens": 5,
    "metadata": {"a": "b"},
    "min_p": 0.1,
    "n": 2,
    "parallel_tool_calls": False,
    "prediction": {"type": "content", "content": "x"},
    "presence_penalty": 1,
    "prompt_cache_key": "x",
    "reasoning_effort": "low",
    "repetition_penalty": 1.1,
    "safety_identifier": "x",
    "seed": 1,
    "service_tier": "auto",
    "stop": ["x"],
    "store": True,
    "temperature": 0.5,
    "top_k": 3,
    "top_logprobs": 2,
    "top_p": 0.5,
    "user": "u",
    "verbosity": "low",
    "web_search_options": {"search_context_size": "low"},
}


@pytest.mark.parametrize(
    ("prefix", "base", "expected"),
    [
        ("openai", None, ("https://api.openai.com", True)),
        ("openai", "https://api.openai.com/v1/", ("https://api.openai.com", True)),
        ("openai", "http://h:1/v1/chat/completions", ("http://h:1", True)),
        ("openai", "https://h/api/paas/v4", ("https://h/api/paas/v4", False)),
        ("groq", "https://api.groq.com/openai/v1", ("https://api.groq.com/openai", True)),
        ("groq", "https://api.groq.com/openai", ("https://api.groq.com/openai", True)),
        ("azure", None, ("${AZURE_API_BASE}/openai", True)),
        ("azure", "https://h.openai.azure.com/", ("https://h.openai.azure.com/openai", True)),
        ("azure", "https://h/openai/deployments/d?api-version=1", ("https://h/openai", True)),
        ("anthropic", "https://h/v1/messages", ("https://h", True)),
        ("anthropic", "https://h/anthropic", ("https://h/anthropic", True)),
        ("ollama", None, ("http://localhost:11434", True)),
        ("ollama_chat", "http://h:1/api", ("http://h:1", True)),
        ("hosted_vllm", None, None),
        ("hosted_vllm", "os.environ/BASE", ("${BASE}", True)),
        ("hosted_vllm", "h:8000", None),
        ("hosted_vllm", "http://user:password@h:8000", None),
        ("hosted_vllm", "http://[", None),
        ("hosted_vllm", 5, None),
    ],
)
def test_the_endpoint_is_what_stands_before_v1(
    prefix: str, base: Any, expected: tuple[str, bool] | None
) -> None:
    assert endpoint(prefix, PROVIDERS[prefix], base) == expected


def test_a_provider_with_a_key_has_an_address_or_is_azure() -> None:
    for name, provider in PROVIDERS.items():
        assert bool(provider.url) or not provider.variable or name == "azure"


@pytest.mark.parametrize("dialect", ["anthropic", "ollama"])
def test_parameters_that_are_dropped_are_those_that_cannot_be_translated(dialect: str) -> None:
    writers = {"anthropic": anthropic.write, "ollama": ollama.write}
    refused = set()
    for name, value in PARAMETERS.items():
        body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], name: value}
        try:
            writers[dialect](read(body), TranslationOptions())
        except RequestError:
            refused.add(name)
    assert refused == set(UNTRANSLATED[dialect])
