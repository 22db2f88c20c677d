"""Check that all names used in a configuration are defined in it."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence

from gateway.config.findings import Finding
from gateway.config.problems import ConfigPath
from gateway.model_names import is_pattern, overlap, selected

_SECTIONS = {
    "provider": "auth",
    "limit": "limits",
    "model": "models",
    "upstream": "upstreams",
    "route": "routes",
    "hook": "hooks",
}


def check_references(document: object) -> Iterator[Finding]:
    """Yield every reference to a name that is not defined.

    Works on the plain document, so that these problems are found even if other values are invalid.
    """
    file = _mapping(document)
    for name, model in _mapping(file.get("models")).items():
        where = ("models", str(name), "upstream")
        yield from _reference(file, where, "upstream", _mapping(model).get("upstream"))
        for number, one in enumerate(_sequence(_mapping(model).get("deployments"))):
            at: ConfigPath = ("models", str(name), "deployments", number, "upstream")
            yield from _reference(file, at, "upstream", _mapping(one).get("upstream"))
        for number, other in enumerate(_sequence(_mapping(model).get("fallbacks"))):
            place = ("models", str(name), "fallbacks", number)
            yield from _reference(file, place, "model", other)
        mirror = ("models", str(name), "mirror", "to")
        yield from _reference(file, mirror, "model", _to(model))
    for index, item in enumerate(_sequence(file.get("routes"))):
        route, path = _mapping(item), ("routes", index)
        yield from _reference(file, (*path, "upstream"), "upstream", route.get("upstream"))
        yield from _reference(file, (*path, "issues"), "provider", route.get("issues"))
        bridge = (*path, "bridge", "to")
        yield from _reference(file, bridge, "route", _mapping(route.get("bridge")).get("to"))
        yield from _reference(file, (*path, "mirror", "to"), "model", _to(route))
        redact = _mapping(route.get("audit_prompts")).get("redact")
        for number, name in enumerate(_sequence(redact)):
            here: ConfigPath = (*path, "audit_prompts", "redact", number)
            yield from _reference(file, here, "hook", name)
        channels = _mapping(route.get("channels"))
        for key in ("publish_limits", "follow_limits"):
            for number, name in enumerate(_sequence(channels.get(key))):
                yield from _reference(file, (*path, "channels", key, number), "limit", name)
        for key, kind in (
            *(("auth", "provider"), ("limits", "limit"), ("models", "model")),
            ("hooks", "hook"),
        ):
            for number, name in enumerate(_sequence(route.get(key))):
                yield from _reference(file, (*path, key, number), kind, name)


def _to(section: object) -> object:
    """Return the model that a model or a route copies its requests to."""
    return _mapping(_mapping(section).get("mirror")).get("to")


def _reference(
    file: Mapping[object, object], path: ConfigPath, kind: str, name: object
) -> Iterator[Finding]:
    section = file.get(_SECTIONS[kind])
    known = [str(key) for key in _mapping(section)]
    known += [str(_mapping(item).get("name")) for item in _sequence(section)]
    if isinstance(name, str) and name not in known:
        many = is_pattern(name) and path[-2] == "models"
        if kind == "model" and (many or not is_pattern(name)) and _may_be_discovered(file, name):
            return
        if kind == "model" and many:
            if not selected(known, [name]):
                yield path, f"'{name}' matches no model", "see `models` and `discover_models`"
            return
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean '{close[0]}'?" if close else None
        yield path, f"there is no {kind} '{name}'", hint


def _may_be_discovered(file: Mapping[object, object], name: str) -> bool:
    """Tell whether an upstream may list a model which this name or pattern means."""
    for upstream in _mapping(file.get("upstreams")).values():
        found = _mapping(upstream).get("discover_models")
        if found is True or isinstance(found, Mapping):
            prefix = _mapping(found).get("prefix", "")
            if isinstance(prefix, str) and overlap(name, prefix):
                return True
    return False


def _sequence(value: object) -> Sequence[object]:
    return value if isinstance(value, (list, tuple)) else ()


def _mapping(value: object) -> Mapping[object, object]:
    return value if isinstance(value, Mapping) else {}
