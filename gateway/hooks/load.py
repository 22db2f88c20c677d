"""Hooks from outside, by their dotted name.

A hook is a class with some of the methods `on_request`, `on_answer`, `on_event` and `on_window`. It
may have an `Options` model; its instance is then made with the validated options.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from gateway.config.plug_in import PlugInUnusable, found_at, has_options, made_with

_METHODS = ("on_request", "on_answer", "on_event", "on_window")


def load_hook(name: str, options: Mapping[str, Any]) -> object:
    """Return an instance of the class that a dotted name refers to. Raise PlugInUnusable."""
    found = found_at(name)
    if not inspect.isclass(found):
        raise PlugInUnusable("is not a class")
    _check(found)
    if getattr(found, "Options", None) is None:
        if options:
            raise PlugInUnusable("takes no options", ("options",))
    elif not has_options(found):
        raise PlugInUnusable("its Options is no pydantic model")
    return made_with(found, options)


def _check(found: type) -> None:
    methods = {name for name in _METHODS if callable(getattr(found, name, None))}
    if not methods:
        raise PlugInUnusable(f"has none of the methods {', '.join(_METHODS)}")
    streams = methods & {"on_event", "on_window"}
    if "on_answer" in methods and not streams:
        raise PlugInUnusable("has on_answer alone, so streams would pass it: add on_window")
    if streams == {"on_event"} and "on_answer" not in methods:
        raise PlugInUnusable("has on_event alone, so whole answers would pass it: add on_answer")
    if len(streams) > 1:
        raise PlugInUnusable("has both on_event and on_window")
    window = getattr(found, "window", 0)
    if not isinstance(window, int | property) or (isinstance(window, int) and window < 0):
        raise PlugInUnusable("its `window` is no number of characters")
