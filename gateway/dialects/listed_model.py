"""Model as a backend lists it, and the fields that lists of several products share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

LONGEST_NAME = 256
_SPECIAL_CHARACTERS = "*<>\"'\\&$`{}|^?#%"
"""Characters that mean something in patterns, URLs, pages or shells."""
_SPECIAL = frozenset(_SPECIAL_CHARACTERS)
_SHOWN_NAMES = 3
_SHOWN_CHARS = 64


@dataclass(frozen=True, slots=True)
class ListedModel:
    """Model as a backend lists it."""

    name: str
    context_window: int | None = None
    """Tokens of prompt and answer together, if told."""
    max_output_tokens: int | None = None
    """Maximum tokens of one answer, if told."""
    parent: str | None = None
    """Name of the model that an adapter (LoRA) belongs to."""


class BadModelList(Exception):
    """A backend's list of models cannot be read. The text says why."""


def entries(document: object, key: str) -> list[Mapping[str, Any]]:
    """Return the entries of a list below `key`. Raise BadModelList."""
    found = document.get(key) if isinstance(document, dict) else None
    if not isinstance(found, list):
        raise BadModelList(f"its answer has no list `{key}`")
    return [one for one in found if isinstance(one, dict)]


def is_name(value: object) -> TypeGuard[str]:
    """Tell whether a field of an entry names a model."""
    return isinstance(value, str)


def is_usable(name: str) -> bool:
    """Tell whether the gateway can serve a model of this name: printable, of a sensible length, and
    without characters that are special where names are shown or matched.
    """
    return (
        0 < len(name) <= LONGEST_NAME
        and name.isprintable()
        and name == name.strip()
        and _SPECIAL.isdisjoint(name)
    )


def unusable_text(names: Sequence[str]) -> str:
    """Return the text that tells which listed models are not served because of their names."""
    shown = ", ".join(ascii(name[:_SHOWN_CHARS]) for name in names[:_SHOWN_NAMES])
    more = len(names) - _SHOWN_NAMES
    return (
        f"does not serve {shown}" + (f" and {more} more" if more > 0 else "") + ": a model's name "
        f"has at most {LONGEST_NAME} printable characters, and none of {_SPECIAL_CHARACTERS}"
    )


def size(entry: Mapping[str, Any], *keys: str) -> int | None:
    """Return the first of these fields that is a positive whole number."""
    return next((value for key in keys if _is_size(value := entry.get(key))), None)


def with_parents(models: Iterable[ListedModel]) -> list[ListedModel]:
    """Return the models, each name once. What an adapter does not tell, its parent does."""
    found: dict[str, ListedModel] = {}
    for model in models:
        found.setdefault(model.name, model)
    made = []
    for model in found.values():
        parent = found.get(model.parent or "")
        if parent is not None and parent is not model:
            model = ListedModel(
                model.name,
                model.context_window or parent.context_window,
                model.max_output_tokens or parent.max_output_tokens,
                model.parent,
            )
        made.append(model)
    return made


def _is_size(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= 1_000_000_000
