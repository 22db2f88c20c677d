"""Queues exist only in front of models and upstreams that have a limit."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.config import Config, load_text
from gateway.wiring.admission import admission
from tests.support.gateway import config_text, simple_config


def config(model: dict[str, Any], upstream: dict[str, Any]) -> Config:
    document = simple_config("http://127.0.0.1:1", upstream=upstream)
    document["models"] = {"m": {"upstream": "main", **model}}
    return load_text(config_text(document, {}))


QUEUE = {"admission": {"concurrency": 1}}


@pytest.mark.parametrize(
    ("model", "upstream", "queued"),
    [({}, {}, False), (QUEUE, {}, True), ({}, QUEUE, True), (QUEUE, QUEUE, True)],
)
def test_there_is_a_queue_where_one_is_configured(
    model: dict[str, Any], upstream: dict[str, Any], queued: bool
) -> None:
    assert (admission(config(model, upstream)) is not None) is queued
