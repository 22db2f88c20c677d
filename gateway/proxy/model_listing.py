"""Answering what clients of a route ask about its models, in the shape that they read.

Anthropic's SDK and Claude Code ask at the path that OpenAI's clients ask at, `/v1/models`: their
headers tell them apart.
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
    """Of one route. Built once; a request that asks something else costs two look-ups."""

    __slots__ = ("_described", "_entries", "_lists", "_shape")

    def __init__(self, route_path: str, dialect: str) -> None:
        # Where a client's own path begins may be a part of the route's path, or come behind it.
        base = route_path.removesuffix("/") + "/"
        self._shape = ANTHROPIC if dialect == "anthropic" else OPENAI
        bases = (base, f"{base}v1/")
        self._lists: dict[str, Callable[[Iterable[str]], bytes] | None] = {
            below + _MODELS: None for below in bases
        }
        """None: in the shape that the request decides."""
        self._entries = tuple(f"{below}{_MODELS}/" for below in bases)
        self._described: frozenset[str] = frozenset()
        if dialect == "ollama":
            bases = (base, f"{base}api/")
            self._lists |= {below + path: OLLAMA[path] for below in bases for path in OLLAMA}
            self._described = frozenset(below + OLLAMA_SHOW for below in bases)

    def asked(self, path: str) -> bool:
        """Whether a GET of this canonical path asks about the models."""
        return path.rstrip("/") in self._lists or path.startswith(self._entries)

    def describes(self, path: str) -> bool:
        """Whether a POST to this path asks about the model that its body names."""
        return path in self._described

    def answer(self, request: GatewayRequest, names: Sequence[str]) -> web.Response:
        """What the caller may use, the models of these names: all of it, or one model.

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
        """What is told of a model whose backend cannot be asked in the caller's dialect."""
        return _json(ollama_show())

    def _shape_for(self, request: GatewayRequest) -> ModelShape:
        headers = request._message.headers
        if _VERSION in headers or (_KEY in headers and _AUTHORIZATION not in headers):
            return ANTHROPIC
        return self._shape


def _json(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="application/json")
