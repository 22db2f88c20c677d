"""Which models a caller may name to an upstream, and where a request names one.

A key for certain models must not reach another by a route that passes on whatever it gets, by a
path or query that counts more than the body, or by a body that only the backend can read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote

from gateway.auth.principal import Principal

_DEPLOYMENT = re.compile(r"/(?:deployments|model|engines)/([^/]+)/")
"""Azure's paths, Bedrock's, and OpenAI's old ones."""
_BELOW_MODELS = re.compile(r"/models/(.+)")
_VERB = re.compile(
    r":[A-Za-z]+$|(?:/versions/[^/]+)?/(?:infer|generate|generate_stream|ready|config|stats)$"
)
"""What Gemini's and Triton's paths have behind the name."""
_IN_QUERY = ("model", "deployment")
_OLLAMA = re.compile(r"/api/(?:show|pull|push|delete|create|copy)$")
_OLLAMA_FIELDS = ("name", "from", "source", "destination")
"""Of the bodies at these paths, beside `model`."""


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model of the configuration."""

    name: str
    """What callers call it."""
    scopes: frozenset[str]
    """Those a caller needs."""

    def serves(self, principal: Principal | None) -> bool:
        """Whether a caller may use it."""
        if principal is None:
            return not self.scopes
        return self.scopes <= principal.scopes and (
            principal.models is None or self.name in principal.models
        )


class ModelAccess:
    """What callers may name to one upstream, in its own names."""

    def __init__(self, served: Mapping[str, Sequence[ServedModel]]) -> None:
        """`served` are the configuration's models by what the upstream calls them."""
        self._served = served
        self._aliases = {model.name for models in served.values() for model in models} - set(served)
        self._scopes = [model.scopes for models in served.values() for model in models]
        self._guarded = any(self._scopes)

    def restricts(self, principal: Principal | None) -> bool:
        """Whether there are models that a caller may not use. On the path of every request."""
        if principal is None:
            return self._guarded
        return principal.models is not None or (
            self._guarded and not all(scopes <= principal.scopes for scopes in self._scopes)
        )

    def allows(self, name: str, principal: Principal | None) -> bool:
        """Whether a caller may name this to the upstream."""
        # Ollama's `latest` is what a name without a tag means.
        served = self._served.get(name) or self._served.get(name.removesuffix(":latest"))
        if served is not None:
            return any(model.serves(principal) for model in served)
        if principal is None or principal.models is None:
            return True
        return name in principal.models and name not in self._aliases


def names_in_path(path: str) -> list[str]:
    """The models that a canonical path names."""
    names = [unquote(name) for name in _DEPLOYMENT.findall(path)]
    below = _BELOW_MODELS.search(path)
    if below is not None:
        names.append(unquote(_VERB.sub("", below[1])))
    return names


def names_in_query(query: str) -> list[str]:
    """The models that a query names."""
    return [value for key, value in parse_qsl(query) if key.lower() in _IN_QUERY] if query else []


def names_for_management(path: str, document: Mapping[str, Any]) -> list[str]:
    """The models that a request to Ollama names which shows, makes or copies one."""
    if _OLLAMA.search(path) is None:
        return []
    values = [document.get(key) for key in _OLLAMA_FIELDS]
    return [value for value in values if isinstance(value, str)]
