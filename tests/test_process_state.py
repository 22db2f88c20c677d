"""State of a process: the caps that a new configuration changes, and what it leaves alone."""

from __future__ import annotations

from typing import Any

from gateway.config import Config, load_text
from gateway.process_state import ProcessState
from gateway.telemetry.logs.logger import make_logger
from tests.support.gateway import config_text, simple_config

MIB = 1024 * 1024


def config(**server: Any) -> Config:
    return load_text(config_text(simple_config("http://127.0.0.1:1", server=server), {}))


def begin(config: Config) -> ProcessState:
    return ProcessState.begin(config, make_logger(lambda _: None, level="info", console=False))


def test_request_bodies_have_a_quarter_of_the_memory_unless_told_otherwise() -> None:
    assert begin(config(max_memory="400MiB")).bodies.cap_bytes == 100 * MIB
    assert begin(config(max_memory="400MiB", body_memory="7MiB")).bodies.cap_bytes == 7 * MIB


def test_a_reload_changes_the_caps_of_a_running_process() -> None:
    state = begin(config(max_memory="400MiB", max_requests=10))
    state.carry(config(max_memory="800MiB", max_requests=20))
    assert state.overload.max_requests == 20
    assert state.overload.max_memory_bytes == 800 * MIB
    assert state.bodies.cap_bytes == 200 * MIB


def test_processes_share_no_metrics_and_no_trace_records() -> None:
    one, other = begin(config()), begin(config())
    assert one.registry is not other.registry
    assert one.records is not other.records
