"""What a key stands for."""

from __future__ import annotations

import asyncio

import pytest

from gateway.resume.access import digest
from gateway.resume.claims import body_digest

PIECE = 256 * 1024


@pytest.mark.parametrize("size", [0, 1, PIECE, PIECE + 1, 3 * PIECE, 3 * PIECE + 7])
async def test_a_body_hashed_in_pieces_has_the_digest_of_the_whole(size: int) -> None:
    body = bytes(range(256)) * (size // 256 + 1)
    assert await body_digest(body[:size], "a=é") == digest(body[:size], "a=é".encode())


async def test_others_have_their_turns_while_a_large_body_is_hashed() -> None:
    hashing = asyncio.create_task(body_digest(bytes(10 * 1024 * 1024), ""))
    turns = 0
    while not hashing.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns >= 40
