"""Access to models: which models a caller may name to an upstream, and where a request names one.

A caller restricted to certain models must not reach others: not by a route that forwards any
request, not by a path or query that overrides the body, and not by a body that only the backend can
read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote

from gateway.auth.principal import Principal
from gateway.dialects import DIALECTS

_DEPLOYMENT = re.compile(r"/(?:deployments|model|engines|endpoints)/([^/]+)", re.IGNORECASE)
"""Paths of Azure, which takes them in any case, of Bedrock, Vertex, and older OpenAI clients."""
_BELOW_MODELS = re.compile(r"/(?:tuned)?models/(.+)", re.IGNORECASE)
_ELSEWHERE = re.compile(
    r"/(?:batches|files|uploads|fine_tuning|evals|(?:un)?load_lora_adapter)(?:/|$)", re.IGNORECASE
)
"""Paths whose requests use models that a file or another resource names."""
_VERB = re.compile(
    r":[A-Za-z]+$|(?:/versions/[^/]+)?/(?:infer|generate|generate_stream|ready|config|stats)$"
)
"""Suffix after the model name in paths of Gemini and Triton."""
_IN_QUERY = ("model", "deployment")
_NAMED = tuple(one.named_models for one in DIALECTS.values() if one.named_models is not None)


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model of the configuration."""

    name: str
    """Name by which callers request the model."""
    scopes: frozenset[str]
    """Scopes that a caller needs, all of them."""

    def serves(self, principal: Principal | None) -> bool:
        """Tell whether a caller may use the model."""
        if principal is None:
            return not self.scopes
        return self.scopes <= principal.scopes and (
            principal.models is None or self.name in principal.models
        )


class ModelAccess:
    """Models that callers may name to one upstream, by the upstream's own names."""

    def __init__(self, served: Mapping[str, Sequence[ServedModel]]) -> None:
        """`served` maps the upstream's names to the models of the configuration."""
        self._served = served
        self._aliases = {model.name for models in served.values() for model in models} - set(served)
        self._scopes = [model.scopes for models in served.values() for model in models]
        self._guarded = any(self._scopes)

    def restricts(self, principal: Principal | None) -> bool:
        """Tell whether there are models that the caller may not use. Runs on the path of every
        request.
        """
        if principal is None:
            return self._guarded
        return principal.models is not None or (
            self._guarded and not all(scopes <= principal.scopes for scopes in self._scopes)
        )

    def allows(self, name: str, principal: Principal | None) -> bool:
        """Tell whether a caller may name this model to the upstream."""
        # Ollama adds the tag `latest` to a name without a tag.
        served = self._served.get(name) or self._served.get(name.removesuffix(":latest"))
        if served is not None:
            return any(model.serves(principal) for model in served)
        if principal is None or principal.models is None:
            return True
        return name in principal.models and name not in self._aliases


def names_in_path(path: str) -> list[str]:
    """Return the models named in a canonical path."""
    names = [unquote(_VERB.sub("", name)) for name in _DEPLOYMENT.findall(path)]
    below = _BELOW_MODELS.search(path)
    if below is not None:
        names.append(unquote(_VERB.sub("", below[1])))
    return names


def names_in_query(query: str) -> list[str]:
    """Return the models named in a query. Some servers divide it at semicolons, too."""
    fields = parse_qsl(query.replace(";", "&")) if query else []
    return [value for key, value in fields if key.lower() in _IN_QUERY]


def is_indirect(path: str) -> bool:
    """Tell whether models may be named in something that is not in the request. A `model` in its
    body says nothing then.
    """
    return _ELSEWHERE.search(path) is not None


def names_for_management(path: str, document: Mapping[str, Any]) -> list[str]:
    """Return the models that a request names otherwise than by `model`, in any dialect: an upstream
    of one dialect may serve the API of another, too.
    """
    return [name for named in _NAMED for name in named(path, document)]
