"""Makers of the SQLite store: limits and records share one file."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.limiting.demand import Demand, Kind
from gateway.store.location import locate
from gateway.stores.sqlite.makers import open_limits, open_records


async def test_limits_and_records_are_in_the_file_of_the_url(tmp_path: Path) -> None:
    location = locate(f"sqlite:///{tmp_path}/store.db")
    limits, records = open_limits(location), open_records(location)
    assert (tmp_path / "store.db").exists()
    await limits.decide([Demand(Kind.TAKE, "k", 1.0, 1.0, 0.001)])
    await records.put("kind", "k", b"value")
    assert await records.all("kind") == {"k": b"value"}
    await limits.close()
    await records.close()


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        open_limits(locate(f"sqlite:///{tmp_path}/file/store.db"))


def test_a_missing_folder_is_no_place_for_a_store(tmp_path: Path) -> None:
    location = locate(f"sqlite://{tmp_path}/missing/store.db")
    for open_one in (open_limits, open_records):
        with pytest.raises(FileNotFoundError, match="there is no such folder"):
            open_one(location)
    assert not (tmp_path / "missing").exists()
