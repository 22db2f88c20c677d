"""Operations of the admin API: what a route accepts and returns, declared at its handler.

The declaration is the route: `routes` binds the declared handlers of an object, and `openapi.py`
describes the same declarations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Literal, TypeVar

from aiohttp import web
from aiohttp.typedefs import Handler

from gateway.admin.answer import answer
from gateway.admin.bad_input import BadInput
from gateway.admin.feed import Source
from gateway.store.records import StoreUnavailable

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
_Handler = TypeVar("_Handler", bound=Callable[..., Any])
_ATTRIBUTE = "__operation__"


@dataclass(frozen=True, slots=True)
class Parameter:
    """Parameter of a path or a query."""

    name: str
    description: str
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})
    """JSON Schema of the value."""
    required: bool = False
    """True if the query must contain the parameter. Parameters of the path are always there."""


@dataclass(frozen=True, slots=True)
class Operation:
    """Operation of the API: a method of a path. Decorates its handler."""

    method: Method
    path: str
    """Path as OpenAPI writes it, with parameters in braces."""
    summary: str
    """Summary of what it does, as one line of Markdown."""
    _: KW_ONLY
    returns: object = None
    """Type of the JSON document that it returns. None: an empty object, or no JSON."""
    media: str = "application/json"
    body: object = None
    """Type of the JSON document that it accepts. None: no body."""
    parameters: Iterable[Parameter] = ()
    errors: Mapping[int, str] = field(default_factory=dict)
    """Meaning of each error status that only this operation has. The body is an `AdminError`,
    unless `refusal` says otherwise.
    """
    refusal: object = None
    """Type of the document of its own errors, if it is no `AdminError`."""
    is_open: bool = False
    """True if it needs no authentication."""
    is_source: bool = False
    """True if the handler is a source: a method without a request that returns the document."""
    select: Callable[[Any, Mapping[str, str]], Any] | None = None
    """Function that returns the part of a source's document that a query asks for; None for a
    source without parameters. It may raise BadInput.
    """

    def __call__(self, handler: _Handler) -> _Handler:
        """Declare the operation of a handler."""
        setattr(handler, _ATTRIBUTE, self)
        return handler


def operations(kind: type) -> Iterator[tuple[str, Operation]]:
    """Yield the name and the operation of each declared method, in the order of the class."""
    for name, member in vars(kind).items():
        if isinstance(found := getattr(member, _ATTRIBUTE, None), Operation):
            yield name, found


def routes(api: object) -> list[web.RouteDef]:
    """Return the routes of an object's declared handlers."""
    return [
        web.route(one.method, one.path, _handler(one, getattr(api, name)))
        for name, one in operations(type(api))
    ]


def sources(api: object) -> dict[str, Source]:
    """Return the sources of an object by the last part of their paths."""
    return {
        one.path.rpartition("/")[2]: getattr(api, name)
        for name, one in operations(type(api))
        if one.is_source
    }


def _handler(one: Operation, method: Any) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            if not one.is_source:
                response: web.StreamResponse = await method(request)
                return response
            document = await method()
            return answer(one.select(document, request.query) if one.select else document)
        except BadInput as exc:
            return answer({"error": str(exc)}, 400)
        except StoreUnavailable as exc:
            return answer({"error": f"the store does not answer: {exc}"}, 503)

    return handle
