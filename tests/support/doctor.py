"""Runs of `gateway doctor`, and the findings that they print."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import main
from tests.support.gateway import config_text

Findings = list[dict[str, str]]
LISTING = {"object": "list", "data": [{"id": "m", "object": "model", "owned_by": "vllm"}]}
"""Answer of a backend that lists the model `m`."""


class Doctor:
    """Command `gateway doctor --json`. `code` is the exit code of the last run."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._file = folder / "config.yaml"
        self._capsys = capsys
        self.code = -1

    async def __call__(self, config: dict[str, Any], *options: str) -> Findings:
        """Run the command on a configuration, and return its findings."""
        self._file.write_text(config_text(config, {"telemetry": {"traces": {"local": None}}}))
        arguments = ["doctor", "--json", "--config", str(self._file), *options]
        self.code = await asyncio.to_thread(main, arguments)
        return [json.loads(line) for line in self._capsys.readouterr().out.splitlines()]


def of(findings: Findings, word: str) -> dict[str, str]:
    """Return the only finding with the word in its subject or text."""
    [found] = (one for one in findings if word in one["subject"] + one["text"])
    return found


def one_model(url: str, **upstream: Any) -> dict[str, Any]:
    """Return a configuration with one upstream and its model `m`."""
    return {
        "upstreams": {"main": {"endpoints": [{"url": url}], **upstream}},
        "models": {"m": {"upstream": "main"}},
        "routes": [{"name": "r", "path": "/v1/", "auth": "anonymous", "models": ["m"]}],
    }
