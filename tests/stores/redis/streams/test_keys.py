"""Keys of streams in Redis: one hash tag per stream, so that a Cluster keeps them together."""

from __future__ import annotations

import re

import pytest

from gateway.stores.redis.streams import keys

TAG = re.compile(r"\{([^}]+)\}")


def test_all_keys_of_a_stream_have_one_hash_tag() -> None:
    tags = [TAG.search(key) for key in (keys.events("a1"), keys.meta("a1"))]
    assert [tag and tag[1] for tag in tags] == ["a1", "a1"]


def test_kinds_and_names_do_not_share_keys() -> None:
    made = [
        key
        for name in ("a", "b")
        for key in (
            *(keys.events(name), keys.meta(name), keys.alive(name), keys.channel(name)),
            keys.claim(name.encode()),
        )
    ]
    assert len(set(made)) == len(made)


@pytest.mark.parametrize("key", [b"}", b"{}", b"\xff\n", b" "])
def test_bytes_of_an_idempotency_key_do_not_end_the_hash_tag(key: bytes) -> None:
    tag = TAG.search(keys.claim(key))
    assert tag is not None
    assert bytes.fromhex(tag[1]) == key
