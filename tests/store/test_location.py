"""The URL of a store, parsed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.store.location import PATTERN, locate


@pytest.mark.parametrize(
    ("url", "kind", "is_shared", "path"),
    [
        ("memory://", "memory", False, None),
        ("sqlite:///var/lib/store.db", "sqlite", True, Path("/var/lib/store.db")),
        ("redis://10.0.0.1", "redis", True, None),
        ("rediss://10.0.0.1:6379/0", "redis", True, None),
        ("redis+sentinel://10.0.0.1/main", "redis", True, None),
        ("rediss+cluster://10.0.0.1", "redis", True, None),
    ],
)
def test_a_url_says_kind_reach_and_file(
    url: str, kind: str, is_shared: bool, path: Path | None
) -> None:
    location = locate(url)
    assert location.kind is not None
    assert (location.kind.name, location.is_shared, location.path) == (kind, is_shared, path)
    assert re.fullmatch(PATTERN, url)


@pytest.mark.parametrize("url", ["", "mysql://u:pw@db", "redis+x://h", "Memory://"])
def test_another_url_has_no_kind(url: str) -> None:
    assert locate(url).kind is None
    assert not re.fullmatch(PATTERN, url)


def test_credentials_are_not_shown() -> None:
    location = locate("redis+sentinel://me:p@ss@10.0.0.1:1/main?sentinel_password=hidden%40")
    assert location.shown == "redis+sentinel://10.0.0.1:1/main"
