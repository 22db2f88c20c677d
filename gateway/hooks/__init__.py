"""Hooks: plug-ins that read, change and refuse requests and answers. This is their interface."""

from gateway.dialects.passages import Passage, PassageKind
from gateway.hooks.content import HookedAnswer, HookedRequest, Refused, TextWindow
from gateway.hooks.events import HookedEvent

__all__ = [
    "HookedAnswer",
    "HookedEvent",
    "HookedRequest",
    "Passage",
    "PassageKind",
    "Refused",
    "TextWindow",
]
