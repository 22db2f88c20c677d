"""Responses to clients that ask for a route's models, in the format the client expects.

Clients of several dialects use the same path, `/v1/models`. Their headers tell them apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from urllib.parse import unquote

from aiohttp import web

from gateway.dialects import DIALECTS
from gateway.dialects.dialect import ModelLists
from gateway.errors import ModelNotFound
from gateway.request import Request

_MODELS = "models"


class ModelListing:
    """Model list of one route. It is built once; any other request costs two lookups."""

    __slots__ = ("_details", "_entries", "_expected", "_lists", "_models")

    def __init__(self, route_path: str, dialect: str) -> None:
        # The client's own base path may be part of the route's path or come after it.
        base = route_path.removesuffix("/") + "/"
        models = self._models = DIALECTS[dialect].models
        bases = (base, f"{base}v1/")
        self._lists: dict[str, Callable[[Iterable[str]], bytes] | None] = {
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

    def answer(self, request: Request, names: Sequence[str]) -> web.Response:
        """Return a response that lists the models `names`, which the caller may use, or describes
        one of them.

        Raise ModelNotFound.
        """
        path = request.exchange.path
        listed = path.rstrip("/")
        if listed in self._lists:
            listing = self._lists[listed] or self._models_for(request).list
            return _json(listing(names))
        below = next(each for each in self._entries if path.startswith(each))
        name = unquote(path.removeprefix(below))
        if name not in names:
            raise ModelNotFound(name)
        return _json(self._models_for(request).entry(name))

    def description(self) -> web.Response:
        """Return a generic description of a model, whose backend cannot be asked in the caller's
        dialect.
        """
        assert self._models.details is not None
        return _json(self._models.details[1]())

    def _models_for(self, request: Request) -> ModelLists:
        headers = request.headers
        for expects, models in self._expected:
            if expects(headers):
                return models
        return self._models


def _json(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="application/json")
