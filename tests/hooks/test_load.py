"""Hooks by dotted name: one that cannot be used says why, and which key is meant."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.config.plug_in import PlugInUnusable
from gateway.hooks.load import load_hook

CODE = """
from pydantic import BaseModel

class Fine:
    class Options(BaseModel):
        size: int

    def __init__(self, options):
        if options.size == 13:
            raise RuntimeError("unlucky")
        self.size = options.size

    async def on_request(self, request): ...

class Plain:
    def on_window(self, window): ...

class Deaf: ...

class OnlyWhole:
    def on_answer(self, answer): ...

class OnlyEvents:
    def on_event(self, event): ...

class Both:
    def on_answer(self, answer): ...
    def on_event(self, event): ...
    def on_window(self, window): ...

class Negative:
    window = -1
    def on_window(self, window): ...

class Odd:
    Options = dict
    def on_window(self, window): ...

def function(request): ...
"""


@pytest.fixture(autouse=True)
def odd_hooks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "odd_hooks.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(tmp_path))
    with monkeypatch.context() as patch:
        patch.delitem(__import__("sys").modules, "odd_hooks", raising=False)
        yield
    __import__("sys").modules.pop("odd_hooks", None)


def test_a_hook_gets_its_validated_options() -> None:
    made = load_hook("odd_hooks.Fine", {"size": 3})
    assert getattr(made, "size", None) == 3


def test_a_hook_without_options_is_made_without() -> None:
    assert type(load_hook("odd_hooks.Plain", {})).__name__ == "Plain"


@pytest.mark.parametrize(
    ("name", "options", "reason", "path"),
    [
        ("no_such_package.x", {}, "cannot import no_such_package: ModuleNotFound", ("use",)),
        ("odd_hooks.missing", {}, "odd_hooks has no missing", ("use",)),
        ("odd_hooks.function", {}, "is not a class", ("use",)),
        ("odd_hooks.Deaf", {}, "has none of the methods on_request, on_answer", ("use",)),
        ("odd_hooks.OnlyWhole", {}, "on_answer alone, so streams would pass it", ("use",)),
        ("odd_hooks.OnlyEvents", {}, "on_event alone, so whole answers would pass", ("use",)),
        ("odd_hooks.Both", {}, "has both on_event and on_window", ("use",)),
        ("odd_hooks.Negative", {}, "its `window` is no number of characters", ("use",)),
        ("odd_hooks.Odd", {}, "its Options is no pydantic model", ("use",)),
        ("odd_hooks.Plain", {"a": 1}, "takes no options", ("options",)),
        ("odd_hooks.Fine", {"size": "big"}, "has to be a whole number", ("options", "size")),
        ("odd_hooks.Fine", {}, "is missing", ("options", "size")),
        ("odd_hooks.Fine", {"size": 13}, "cannot be made: RuntimeError", ("options",)),
    ],
)
def test_one_that_cannot_be_used_says_why(
    name: str, options: dict[str, object], reason: str, path: tuple[str, ...]
) -> None:
    with pytest.raises(PlugInUnusable) as caught:
        load_hook(name, options)
    assert reason in caught.value.message
    assert caught.value.path == path
