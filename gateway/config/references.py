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


_REFERENCES = (
    ("models.*.upstream", "upstream"),
    ("models.*.deployments.*.upstream", "upstream"),
    ("models.*.fallbacks.*", "model"),
    ("models.*.mirror.to", "model"),
    ("routes.*.upstream", "upstream"),
    ("routes.*.issues", "provider"),
    ("routes.*.bridge.to", "route"),
    ("routes.*.mirror.to", "model"),
    ("routes.*.audit_prompts.redact.*", "hook"),
    ("routes.*.channels.publish_limits.*", "limit"),
    ("routes.*.channels.follow_limits.*", "limit"),
    ("routes.*.auth.*", "provider"),
    ("routes.*.limits.*", "limit"),
    ("routes.*.models.*", "model"),
    ("routes.*.hooks.*", "hook"),
)
"""Places of names, and what they name. A star stands for every entry of a mapping or list."""


def check_references(document: object) -> Iterator[Finding]:
    """Yield every reference to a name that is not defined.

    Works on the plain document, so that these problems are found even if other values are invalid.
    """
    file = _mapping(document)
    for place, kind in _REFERENCES:
        for path, name in _values(file, place.split("."), ()):
            yield from _reference(file, path, kind, name)


def _values(
    node: object, parts: Sequence[str], path: ConfigPath
) -> Iterator[tuple[ConfigPath, object]]:
    """Yield the values at a place below a node, with their paths."""
    if not parts:
        yield path, node
    elif parts[0] != "*":
        yield from _values(_mapping(node).get(parts[0]), parts[1:], (*path, parts[0]))
    else:
        for key, value in (*_mapping(node).items(), *enumerate(_sequence(node))):
            here = (*path, key if isinstance(key, int) else str(key))
            yield from _values(value, parts[1:], here)


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
