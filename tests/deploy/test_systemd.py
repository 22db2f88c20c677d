"""deploy/systemd: the unit's options, as systemd itself would judge them."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from gateway.config import models

UNIT = Path(__file__).parents[2] / "deploy/systemd/llm-gateway.service"
ANALYZE = shutil.which("systemd-analyze")
_MOST_EXPOSED = 2.0
"""On systemd's scale from 0, safe, to 10."""


def service() -> configparser.SectionProxy:
    """Its `[Service]`."""
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(UNIT)
    return parser["Service"]


def test_systemd_has_time_for_the_default_drain() -> None:
    server = models.ServerSettings()
    assert int(service()["TimeoutStopSec"]) > server.drain + server.drain_delay


def test_the_command_line_is_one_the_gateway_has() -> None:
    assert re.fullmatch(r"\S+/gateway serve --config \S+", service()["ExecStart"])
    assert re.fullmatch(r"\S+/gateway check \S+", service()["ExecStartPre"])


@pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze exists on Linux with systemd only")
def test_systemd_calls_the_unit_hardened() -> None:
    assert ANALYZE is not None
    judged = subprocess.run(
        [ANALYZE, "security", "--offline=true", "--no-pager", UNIT], capture_output=True, text=True
    )
    exposure = re.search(r"Overall exposure level for .*: ([\d.]+)", judged.stdout)
    assert exposure is not None, judged.stdout + judged.stderr
    assert float(exposure[1]) <= _MOST_EXPOSED
