"""What every section of the file has in common: known keys, strict values, no changes."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from gateway.config import load_text, models


def complaints(model: type[BaseModel], fields: dict[str, Any]) -> list[str]:
    """The paths at which a section is refused; none if it is fine."""
    try:
        model.model_validate(fields)
    except ValidationError as exc:
        return [".".join(map(str, error["loc"])) for error in exc.errors()]
    return []


def route(**fields: Any) -> dict[str, Any]:
    return {"name": "r", "path": "/v1/", "auth": "anonymous", "upstream": "u", **fields}


def jwt(**fields: Any) -> dict[str, Any]:
    return {"type": "jwt", "issuer": "i", "audience": "a", **fields}


def test_a_route_has_to_say_who_may_use_it() -> None:
    fields = route()
    del fields["auth"]
    assert complaints(models.Route, fields) == ["auth"]


@pytest.mark.parametrize(
    ("model", "fields", "where"),
    [
        (models.ServerSettings, {"max_connections": 0}, "max_connections"),
        (models.ServerSettings, {"header_count": 0}, "header_count"),
        (models.ServerSettings, {"header_count": 1001}, "header_count"),
        (models.EndpointSettings, {"url": "http://a", "weight": 0}, "weight"),
        (models.EndpointSettings, {"url": "http://a", "weight": 1001}, "weight"),
        (models.Limit, {"key": "ip", "requests": "1/day", "burst": 0}, "burst"),
        (models.UpstreamSettings, {"endpoints": ()}, "endpoints"),
        (models.JwtProviderSettings, jwt(issuer=""), "issuer"),
        (models.JwtProviderSettings, jwt(audience=()), "audience"),
        (models.Model, {"upstream": "u", "model": ""}, "model"),
    ],
)
def test_numbers_lists_and_texts_have_bounds(
    model: type[BaseModel], fields: dict[str, Any], where: str
) -> None:
    assert complaints(model, fields) == [where]


@pytest.mark.parametrize(
    ("model", "fields", "where"),
    [
        (models.ServerSettings, {"max_connections": "10"}, "max_connections"),
        (models.ServerSettings, {"max_connections": 10.0}, "max_connections"),
        (models.ServerSettings, {"max_connections": True}, "max_connections"),
        (models.ServerSettings, {"hide_server": 1}, "hide_server"),
        (models.ServerSettings, {"drain": 30}, "drain"),
        (models.ServerSettings, {"header_bytes": 32768}, "header_bytes"),
        (models.Log, {"format": None}, "format"),
        (models.EndpointSettings, {"url": b"http://a"}, "url"),
        (models.Route, route(methods=("get",)), "methods.0"),
    ],
)
def test_nothing_is_converted(model: type[BaseModel], fields: dict[str, Any], where: str) -> None:
    assert complaints(model, fields) == [where]


def _sections() -> list[type[BaseModel]]:
    return [
        kind
        for kind in vars(models).values()
        if isinstance(kind, type)
        and issubclass(kind, BaseModel)
        and kind.__module__.startswith(models.__name__ + ".")
        and not kind.__name__.startswith("_")
    ]


@pytest.mark.parametrize("section", _sections(), ids=lambda kind: str(kind.__name__))
def test_no_section_takes_a_key_it_does_not_know(section: type[BaseModel]) -> None:
    assert "surprise" in complaints(section, {"surprise": 1})


def test_a_configuration_cannot_be_changed() -> None:
    config = load_text(
        "upstreams: {a: {endpoints: [{url: 'http://a'}]}}\n"
        "routes: [{name: a, path: /, auth: anonymous, upstream: a}]\n"
    )
    with pytest.raises(ValidationError, match="frozen"):
        config.server.drain = 1.0  # type: ignore[misc]
