"""Each kind of URL has a package that opens the store."""

from __future__ import annotations

import subprocess
import sys

import pytest

from gateway.store.location import KINDS, locate
from gateway.stores.makers import Makers, makers
from gateway.stores.memory import makers as memory
from gateway.stores.redis import makers as redis
from gateway.stores.sqlite import makers as sqlite

CHECKED: dict[str, Makers] = {"memory": memory, "sqlite": sqlite, "redis": redis}
"""The type checker compares each module with the interface."""


def test_every_kind_of_url_has_makers() -> None:
    assert {kind.name for kind in KINDS} == CHECKED.keys()
    for kind, module in CHECKED.items():
        assert makers(locate(f"{kind}://")) is module


def test_a_url_of_no_store_is_refused_without_its_password() -> None:
    with pytest.raises(ValueError, match="not a store") as refusal:
        makers(locate("mysql://user:hidden@db"))
    assert "hidden" not in str(refusal.value)


def test_redis_is_imported_only_for_a_store_in_redis() -> None:
    code = (
        "import sys, gateway.app, gateway.cli.main\n"
        "from gateway.store.location import locate\n"
        "from gateway.stores.makers import makers\n"
        "makers(locate('memory://')), makers(locate('sqlite:///x'))\n"
        "assert 'redis' not in sys.modules\n"
        "makers(locate('redis://h'))\n"
        "assert 'redis' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
