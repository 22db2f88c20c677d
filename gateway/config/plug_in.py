"""Objects from outside, by their dotted names: plug-ins and hooks."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from gateway.config.wording import in_words


class PlugInUnusable(Exception):
    """Plug-in cannot be used. `message` says why, `path` which of its configuration keys is
    meant.
    """

    def __init__(self, message: str, path: tuple[str | int, ...] = ("use",)) -> None:
        super().__init__(message)
        self.message = message
        self.path = path


def found_at(name: str) -> Any:
    """Return what a dotted name refers to. Raise PlugInUnusable."""
    module_name, _, attribute = name.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except Exception as exc:  # code of the plug-in may raise anything
        raise PlugInUnusable(f"cannot import {module_name}: {_told(exc)}") from exc
    found = getattr(module, attribute, None)
    if found is None:
        raise PlugInUnusable(f"{module_name} has no {attribute}")
    return found


def has_options(found: object) -> bool:
    """Tell whether a class has an `Options` model."""
    model = getattr(found, "Options", None)
    return inspect.isclass(model) and issubclass(model, BaseModel)


def made_with(found: Any, options: Mapping[str, Any]) -> Any:
    """Return an instance of a class, made with its validated options if it has an `Options` model.
    Raise PlugInUnusable.
    """
    try:
        parsed = [found.Options.model_validate(dict(options))] if has_options(found) else []
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False)[0]
        message = in_words(first["type"], first["msg"], first.get("ctx", {}))
        raise PlugInUnusable(message, ("options", *first["loc"])) from exc
    try:
        return found(*parsed)
    except Exception as exc:
        raise PlugInUnusable(f"cannot be made: {_told(exc)}", ("options",)) from exc


def _told(exc: Exception) -> str:
    return f"{type(exc).__name__}: {exc}"
