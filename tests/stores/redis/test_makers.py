"""Makers of the Redis store: clients that connect when they are first used."""

from __future__ import annotations

import pytest

from gateway.store.location import locate
from gateway.stores.redis.makers import open_limits, open_records, open_sharing


async def test_opening_a_store_connects_to_nothing() -> None:
    nowhere = locate("redis://127.0.0.1:1/0")
    for store in (open_limits(nowhere), open_records(nowhere)):
        await store.close()
    await open_sharing(nowhere, lambda *_: None).close()


@pytest.mark.parametrize("open_store", [open_limits, open_records])
def test_a_url_with_a_bad_port_is_refused(open_store: type) -> None:
    with pytest.raises(ValueError, match="port"):
        open_store(locate("redis://host:99999/0"))
