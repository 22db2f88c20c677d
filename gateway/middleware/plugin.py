"""Plug-ins: middleware from outside, by its dotted name.

Either an async function with aiohttp's middleware signature, which takes no options; or a class
with an `Options` pydantic model, made with the validated options and called as a middleware:

    class Stamp:
        class Options(BaseModel):
            header: str

        def __init__(self, options: Options) -> None: ...

        async def __call__(self, request, handler): ...
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from typing import Any, cast

from pydantic import BaseModel, ValidationError

from gateway.config.wording import in_words
from gateway.middleware.chain import Middleware


class PluginError(Exception):
    """Plug-in cannot be used. `message` says why, `path` which of its configuration keys is
    meant.
    """

    def __init__(self, message: str, path: tuple[str | int, ...] = ("use",)) -> None:
        super().__init__(message)
        self.message = message
        self.path = path


def load_plugin(name: str, options: Mapping[str, Any]) -> Middleware:
    """Return the middleware that a dotted name refers to. Raise PluginError."""
    module_name, _, attribute = name.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except Exception as exc:  # code of the plug-in may raise anything
        raise PluginError(f"cannot import {module_name}: {_told(exc)}") from exc
    found = getattr(module, attribute, None)
    if found is None:
        raise PluginError(f"{module_name} has no {attribute}")
    if inspect.iscoroutinefunction(found):
        if options:
            raise PluginError("a function takes no options", ("options",))
        return cast(Middleware, found)
    model = getattr(found, "Options", None)
    if not (inspect.isclass(found) and inspect.isclass(model) and issubclass(model, BaseModel)):
        raise PluginError("neither an async function nor a class with an Options model")
    if not inspect.iscoroutinefunction(inspect.getattr_static(found, "__call__", None)):
        raise PluginError("its instances have no async __call__(request, handler)")
    try:
        parsed = model.model_validate(dict(options))
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False)[0]
        message = in_words(first["type"], first["msg"], first.get("ctx", {}))
        raise PluginError(message, ("options", *first["loc"])) from exc
    try:
        return cast(Middleware, cast(Any, found)(parsed))
    except Exception as exc:
        raise PluginError(f"cannot be made: {_told(exc)}", ("options",)) from exc


def _told(exc: Exception) -> str:
    return f"{type(exc).__name__}: {exc}"
