"""Providers by the prefix of a LiteLLM model, and where their endpoints are."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from gateway.config.types import Dialect


@dataclass(frozen=True, slots=True)
class LiteLLMProvider:
    """Provider, as the prefix of a model names it."""

    dialect: Dialect = "openai"
    url: str = ""
    """Endpoint without /v1; empty if `api_base` has to name it."""
    variable: str = ""
    """Environment variable from which LiteLLM reads the key."""
    header: str = ""
    """Header of the key; empty: Authorization."""


PROVIDERS: Mapping[str, LiteLLMProvider] = {
    "openai": LiteLLMProvider("openai", "https://api.openai.com", "OPENAI_API_KEY"),
    "azure": LiteLLMProvider("openai", "", "AZURE_API_KEY", "api-key"),
    "anthropic": LiteLLMProvider(
        "anthropic", "https://api.anthropic.com", "ANTHROPIC_API_KEY", "x-api-key"
    ),
    "ollama": LiteLLMProvider("ollama", "http://localhost:11434"),
    "ollama_chat": LiteLLMProvider("ollama", "http://localhost:11434"),
    "hosted_vllm": LiteLLMProvider(),
    "openai_like": LiteLLMProvider(),
    "custom_openai": LiteLLMProvider(),
    "litellm_proxy": LiteLLMProvider(),
    "lm_studio": LiteLLMProvider(),
    "llamafile": LiteLLMProvider(),
    "groq": LiteLLMProvider("openai", "https://api.groq.com/openai", "GROQ_API_KEY"),
    "mistral": LiteLLMProvider("openai", "https://api.mistral.ai", "MISTRAL_API_KEY"),
    "deepseek": LiteLLMProvider("openai", "https://api.deepseek.com", "DEEPSEEK_API_KEY"),
    "together_ai": LiteLLMProvider("openai", "https://api.together.xyz", "TOGETHERAI_API_KEY"),
    "openrouter": LiteLLMProvider("openai", "https://openrouter.ai/api", "OPENROUTER_API_KEY"),
    "fireworks_ai": LiteLLMProvider(
        "openai", "https://api.fireworks.ai/inference", "FIREWORKS_API_KEY"
    ),
    "xai": LiteLLMProvider("openai", "https://api.x.ai", "XAI_API_KEY"),
    "cerebras": LiteLLMProvider("openai", "https://api.cerebras.ai", "CEREBRAS_API_KEY"),
    "nvidia_nim": LiteLLMProvider(
        "openai", "https://integrate.api.nvidia.com", "NVIDIA_NIM_API_KEY"
    ),
}
UNTRANSLATED: Mapping[str, tuple[str, ...]] = {
    "anthropic": (
        *("frequency_penalty", "presence_penalty", "repetition_penalty", "min_p", "seed", "n"),
        *("logit_bias", "logprobs", "top_logprobs", "audio", "web_search_options"),
    ),
    "ollama": ("logit_bias", "logprobs", "top_logprobs", "n", "audio", "web_search_options"),
}
"""Parameters without a counterpart in a dialect, by its name. LiteLLM's `drop_params` leaves them
out; the gateway refuses them, unless the model drops them.
"""
PLACEHOLDERS = frozenset(("", "none", "empty", "dummy", "fake", "fake-key", "not-needed", "na"))
"""Values of `api_key` for backends that ask for none."""
VARIABLE = re.compile(r"os\.environ/(\w+)")
"""Reference to an environment variable."""


def endpoint(prefix: str, provider: LiteLLMProvider, base: Any) -> tuple[str, bool] | None:
    """Return the URL of an endpoint, and whether its API is below /v1; None if it is no URL. `base`
    is `api_base`, or None.
    """
    azure = "/openai" if prefix == "azure" else ""
    if base is None:
        if prefix == "azure":
            base = "os.environ/AZURE_API_BASE"
        elif not provider.url:
            return None
        else:
            return provider.url, True
    if match := VARIABLE.fullmatch(str(base)):
        return f"${{{match[1]}}}{azure}", True
    try:
        parts = urlsplit(str(base).rstrip("/"))
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        return None
    root = f"{parts.scheme}://{parts.netloc}"
    if azure:
        return root + azure, True
    path = parts.path.removesuffix("/messages").removesuffix("/chat/completions")
    if provider.dialect == "ollama":
        return root + path.removesuffix("/v1").removesuffix("/api"), True
    below = path.removesuffix("/v1")
    is_openai = provider.dialect == "openai"
    known = root + path == provider.url
    return root + below, not is_openai or below != path or not path or known
