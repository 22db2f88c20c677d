"""Where the models of a provider are."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.cli.litellm.providers import PROVIDERS, endpoint


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
