"""Stores as they are configured: shared by workers, or the reason why there are none."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config import Config, load_text
from gateway.config.problems import Fault
from gateway.stores.memory.records import MemoryRecords
from gateway.stores.sqlite.records import SqliteRecords
from gateway.wiring.store import stores
from tests.support.gateway import config_text, simple_config


def config(url: str) -> Config:
    document = simple_config("http://127.0.0.1:1") | {"store": {"url": url}}
    return load_text(config_text(document, {}))


@pytest.mark.parametrize(("workers", "kind"), [(1, MemoryRecords), (2, SqliteRecords)])
async def test_several_workers_share_a_file_instead_of_memory(
    tmp_path: Path, workers: int, kind: type
) -> None:
    faults: list[Fault] = []
    folder = tmp_path if workers > 1 else None
    opened = stores(config("memory://"), folder, lambda *_: None, faults)
    assert opened is not None
    assert isinstance(opened.records, kind)
    await opened.close()
    assert (tmp_path / "store.db").exists() is (workers > 1)


def test_a_store_that_cannot_be_opened_is_a_fault_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    faults: list[Fault] = []
    assert stores(config(f"sqlite:///{tmp_path}/file/x.db"), None, lambda *_: None, faults) is None
    [(path, why)] = faults
    assert path == ("store", "url")
    assert why.startswith("cannot be used: ")
