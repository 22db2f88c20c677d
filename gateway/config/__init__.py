"""Configuration: YAML files, which are checked completely before anything is built from them."""

from __future__ import annotations

from gateway.config.load import (
    Loaded,
    keep,
    load,
    load_again,
    load_document,
    load_for_command,
    load_kept,
    load_source,
    load_source_text,
    load_text,
)
from gateway.config.models import Config
from gateway.config.problems import ConfigError, Problem

__all__ = [
    "Config",
    "ConfigError",
    "Loaded",
    "Problem",
    "keep",
    "load",
    "load_again",
    "load_document",
    "load_for_command",
    "load_kept",
    "load_source",
    "load_source_text",
    "load_text",
]
