"""Responses to clients that ask for a route's models, in the format the client expects.

Anthropic's SDK and Claude Code use the same path as OpenAI's clients, `/v1/models`. Their headers
tell them apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from urllib.parse import unquote

from aiohttp import web
from multidict import istr

from gateway.dialects.model_lists import (
    ANTHROPIC,
    OLLAMA,
    OLLAMA_SHOW,
    OPENAI,
    ModelShape,
    ollama_show,
)
from gateway.errors import ModelNotFound
from gateway.exchange import GatewayRequest

_VERSION = istr("anthropic-version")
_KEY = istr("x-api-key")
_AUTHORIZATION = istr("Authorization")
_MODELS = "models"


class ModelListing:
    """Model list of one route. It is built once; any other request costs two lookups."""

    __slots__ = ("_described", "_entries", "_lists", "_shape")

    def __init__(self, route_path: str, dialect: str) -> None:
        # The client's own base path may be part of the route's path or come after it.
        base = route_path.removesuffix("/") + "/"
        self._shape = ANTHROPIC if dialect == "anthropic" else OPENAI
        bases = (base, f"{base}v1/")
        self._lists: dict[str, Callable[[Iterable[str]], bytes] | None] = {
            below + _MODELS: None for below in bases
        }
        """Writer of the list by path; None if the request's headers decide on the format."""
        self._entries = tuple(f"{below}{_MODELS}/" for below in bases)
        self._described: frozenset[str] = frozenset()
        if dialect == "ollama":
            bases = (base, f"{base}api/")
            self._lists |= {below + path: OLLAMA[path] for below in bases for path in OLLAMA}
            self._described = frozenset(below + OLLAMA_SHOW for below in bases)

    def asked(self, path: str) -> bool:
        """Tell whether a GET of this canonical path asks for the models."""
        return path.rstrip("/") in self._lists or path.startswith(self._entries)

    def describes(self, path: str) -> bool:
        """Tell whether a POST to this path asks for the model that its body names."""
        return path in self._described

    def answer(self, request: GatewayRequest, names: Sequence[str]) -> web.Response:
        """Return a response that lists the models `names`, which the caller may use, or describes
        one of them.

        Raise ModelNotFound.
        """
        path = request.exchange.path
        listed = path.rstrip("/")
        if listed in self._lists:
            listing = self._lists[listed] or self._shape_for(request).list
            return _json(listing(names))
        below = next(each for each in self._entries if path.startswith(each))
        name = unquote(path.removeprefix(below))
        if name not in names:
            raise ModelNotFound
        return _json(self._shape_for(request).entry(name))

    def description(self) -> web.Response:
        """Return a generic description of a model, whose backend cannot be asked in the caller's
        dialect.
        """
        return _json(ollama_show())

    def _shape_for(self, request: GatewayRequest) -> ModelShape:
        headers = request._message.headers
        if _VERSION in headers or (_KEY in headers and _AUTHORIZATION not in headers):
            return ANTHROPIC
        return self._shape


def _json(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="application/json")
