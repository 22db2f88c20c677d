"""A trace store in a folder of its own, and what it reports of itself."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.telemetry.traces.store import Retention, TraceStore
from tests.telemetry.traces.stored import LONG, NOW, Reports


@pytest.fixture
def reports() -> Reports:
    """Reports of a store, or of an export, on itself."""
    return Reports()


@pytest.fixture
def store(tmp_path: Path, reports: Reports) -> Iterator[TraceStore]:
    """An empty store. It leaves no thread behind."""
    path, threads = tmp_path / "sub" / "traces.db", threading.active_count()
    store = TraceStore(path, Retention(age_s=1e9), reports, now=lambda: NOW)
    yield store
    store.close(LONG)
    assert threading.active_count() == threads
