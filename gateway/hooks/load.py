"""Hooks from outside, by their dotted name.

A hook is a class with some of the methods `on_request`, `on_answer`, `on_event` and `on_window`. It
may have an `Options` model; its instance is then made with the validated options.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from typing import Any, cast

from pydantic import BaseModel, ValidationError

from gateway.config.wording import in_words

_METHODS = ("on_request", "on_answer", "on_event", "on_window")


class HookNotLoaded(Exception):
    """Hook cannot be used. `message` says why, `path` which of its configuration keys is meant."""

    def __init__(self, message: str, path: tuple[str | int, ...] = ("use",)) -> None:
        super().__init__(message)
        self.message = message
        self.path = path


def load_hook(name: str, options: Mapping[str, Any]) -> object:
    """Return an instance of the class that a dotted name refers to. Raise HookNotLoaded."""
    module_name, _, attribute = name.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except Exception as exc:  # code of the hook may raise anything
        raise HookNotLoaded(f"cannot import {module_name}: {_told(exc)}") from exc
    found = getattr(module, attribute, None)
    if found is None:
        raise HookNotLoaded(f"{module_name} has no {attribute}")
    if not inspect.isclass(found):
        raise HookNotLoaded("is not a class")
    _check(found)
    made = _arguments(found, options)
    try:
        return cast(Any, found)(*made)
    except Exception as exc:
        raise HookNotLoaded(f"cannot be made: {_told(exc)}", ("options",)) from exc


def _check(found: type) -> None:
    methods = {name for name in _METHODS if callable(getattr(found, name, None))}
    if not methods:
        raise HookNotLoaded(f"has none of the methods {', '.join(_METHODS)}")
    streams = methods & {"on_event", "on_window"}
    if "on_answer" in methods and not streams:
        raise HookNotLoaded("has on_answer alone, so streams would pass it: add on_window")
    if streams == {"on_event"} and "on_answer" not in methods:
        raise HookNotLoaded("has on_event alone, so whole answers would pass it: add on_answer")
    if len(streams) > 1:
        raise HookNotLoaded("has both on_event and on_window")
    window = getattr(found, "window", 0)
    if not isinstance(window, int | property) or (isinstance(window, int) and window < 0):
        raise HookNotLoaded("its `window` is no number of characters")


def _arguments(found: type, options: Mapping[str, Any]) -> list[BaseModel]:
    model = getattr(found, "Options", None)
    if model is None:
        if options:
            raise HookNotLoaded("takes no options", ("options",))
        return []
    if not (inspect.isclass(model) and issubclass(model, BaseModel)):
        raise HookNotLoaded("its Options is no pydantic model")
    try:
        return [model.model_validate(dict(options))]
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False)[0]
        message = in_words(first["type"], first["msg"], first.get("ctx", {}))
        raise HookNotLoaded(message, ("options", *first["loc"])) from exc


def _told(exc: Exception) -> str:
    return f"{type(exc).__name__}: {exc}"
