"""Request metrics are counted where somebody reads them."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.config import load_text
from gateway.telemetry.metrics.registry import Registry
from gateway.wiring.metrics import counting
from tests.support.gateway import config_text, simple_config

OTLP = {"metrics": {"otlp": "http://127.0.0.1:1"}}
BY_ADMIN = {"listen": "127.0.0.1:0"}


@pytest.mark.parametrize(
    ("admin", "telemetry", "counted"),
    [
        (BY_ADMIN, {}, True),
        (None, {}, False),
        (None, OTLP, True),
        (BY_ADMIN, {"metrics": None}, False),
    ],
)
def test_metrics_are_counted_for_a_listener_or_an_export(
    admin: dict[str, str] | None, telemetry: dict[str, Any], counted: bool
) -> None:
    document = simple_config("http://127.0.0.1:1") | {"admin": admin, "telemetry": telemetry}
    config = load_text(config_text(document, {}))
    assert (counting(config, Registry()) is not None) is counted
