"""Responses to clients that ask for a route's models, in the format the client expects.

Clients of several dialects use the same path, `/v1/models`. Their headers tell them apart.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from urllib.parse import unquote

from aiohttp import web

from gateway.dialects import DIALECTS
from gateway.dialects.dialect import ModelLists
from gateway.dialects.model_entry import ModelEntry
from gateway.errors import ModelNotFound
from gateway.request import Request

_MODELS = "models"
_HEALTH = re.compile(r"(?:^|&)health=(?:true|1)(?:&|$)")


class ModelListing:
    """Model list of one route. It is built once; any other request costs two lookups."""

    __slots__ = ("_details", "_entries", "_expected", "_known", "_lists", "_models")

    def __init__(self, route_path: str, dialect: str, known: Mapping[str, ModelEntry]) -> None:
        """`known` are the models of the route, by name."""
        self._known = known
        # The client's own base path may be part of the route's path or come after it.
        base = route_path.removesuffix("/") + "/"
        models = self._models = DIALECTS[dialect].models
        bases = (base, f"{base}v1/")
        self._lists: dict[str, Callable[[Iterable[ModelEntry]], bytes] | None] = {
            below + _MODELS: None for below in bases
        }
        """Writer of the list by path; None if the request's headers decide on the format."""
        self._entries = tuple(f"{below}{_MODELS}/" for below in bases)
        bases = (base, f"{base}{DIALECTS[dialect].paths.base[1:]}/")
        self._lists |= {b + path: models.others[path] for b in bases for path in models.others}
        details = () if models.details is None else models.details[:1]
        self._details = frozenset(b + path for b in bases for path in details)
        self._expected = [
            (other.models.expects, other.models)
            for other in DIALECTS.values()
            if other.models.expects is not None
        ]

    def asked(self, path: str) -> bool:
        """Tell whether a GET of this canonical path asks for the models."""
        return path.rstrip("/") in self._lists or path.startswith(self._entries)

    def describes(self, path: str) -> bool:
        """Tell whether a POST to this path asks for the model that its body names."""
        return path in self._details

    def asks_health(self, query: str) -> bool:
        """Tell whether a request for the models asks for their health, too."""
        return _HEALTH.search(query) is not None

    def answer(
        self, request: Request, names: Sequence[str], health: Mapping[str, str] | None = None
    ) -> web.Response:
        """Return a response that lists the models `names`, which the caller may use, or describes
        one of them. `health` is told with them.

        Raise ModelNotFound.
        """
        path = request.exchange.path
        models = [self._known[name] for name in names]
        if health is not None:
            models = [replace(model, health=health[model.name]) for model in models]
        listed = path.rstrip("/")
        if listed in self._lists:
            listing = self._lists[listed] or self._models_for(request).list
            return _json(listing(models))
        below = next(each for each in self._entries if path.startswith(each))
        name = unquote(path.removeprefix(below))
        for model in models:
            if model.name == name:
                return _json(self._models_for(request).entry(model))
        raise ModelNotFound(name)

    def description(self, name: str | None) -> web.Response:
        """Return the description of a model whose backend cannot be asked in the caller's dialect.
        It is generic for a name that the route does not know.
        """
        assert self._models.details is not None
        model = self._known.get(name or "") or ModelEntry(name or "")
        return _json(self._models.details[1](model))

    def _models_for(self, request: Request) -> ModelLists:
        headers = request.headers
        for expects, models in self._expected:
            if expects(headers):
                return models
        return self._models


def _json(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="application/json")
