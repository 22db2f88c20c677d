"""YAML text for files that people read on, in the flow style of the examples."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import yaml


def quoted(text: str) -> str:
    """Return a YAML scalar that is read as this text. A JSON string is also a YAML string."""
    plain = re.fullmatch(r"[A-Za-z][A-Za-z0-9._-]*", text) and yaml.safe_load(text) == text
    return text if plain else json.dumps(text, ensure_ascii=False)


def flow(value: Any) -> str:
    """Return a value as YAML on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{quoted(key)}: {flow(one)}" for key, one in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(flow, value)) + "]"
    return quoted(value) if isinstance(value, str) else json.dumps(value)
