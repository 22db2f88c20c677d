"""Prefix affinity: route a conversation to an endpoint that has its prompt prefix in its cache."""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Callable, Sequence
from math import ceil
from zlib import crc32

from gateway.upstream.balancing.balancer import Candidate, Hint
from gateway.upstream.balancing.consistent_hash import ConsistentHash
from gateway.upstream.balancing.prompt import Prompt, find_prompt
from gateway.upstream.balancing.rendezvous import SLACK, Rendezvous, with_room

_KNOWN_ENDPOINTS = 256
_CRC = (1 << 32) - 1


class PrefixAffinity:
    """Remember which endpoints received which prompt prefixes, block by block.

    A request goes to the endpoint that received the longest part of its prompt, if that part is at
    least `threshold` of the prompt's blocks and the endpoint has room (see `with_room`). Otherwise
    it goes to the endpoint that rendezvous hashing gives for the conversation, which is the same
    one in all workers although they share no memory.

    One conversation in `pioneers` always goes to its hashed endpoint. Such conversations carry a
    prefix that many conversations share to further endpoints. Without them the first endpoint
    would attract all of these conversations.

    A request without a prompt in its body is balanced by consistent hashing of its key, or by
    least requests if it has no key.

    The memory is 180 to 200 bytes for each of `max_entries` blocks.
    """

    def __init__(
        self,
        *,
        max_entries: int = 65_536,
        block_bytes: int = 512,
        max_blocks: int = 128,
        threshold: float = 0.25,
        pioneers: int = 8,
        slack: float = SLACK,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._max_entries = max_entries
        self._block_bytes = block_bytes
        self._max_blocks = max_blocks
        self._threshold = threshold
        self._pioneers = pioneers
        self._slack = slack
        self._rendezvous = Rendezvous()
        self._promptless = ConsistentHash(slack=slack, draw=draw)
        self._seen: OrderedDict[int, int] = OrderedDict()
        """Digest of a prompt's blocks → bit set of the endpoints that got it. Oldest first."""
        self._bits: dict[str, int] = {}

    @property
    def endpoints(self) -> int:
        """Number of endpoints that are remembered."""
        return len(self._bits)

    def __len__(self) -> int:
        """Return the number of remembered blocks."""
        return len(self._seen)

    def pick(self, candidates: Sequence[Candidate], hint: Hint) -> int:
        """Return the index of the endpoint, and remember that the request is sent there."""
        body = hint.body
        prompt = find_prompt(body) if body else None
        if body is None or prompt is None:
            return self._promptless.pick(candidates, hint)
        blocks, conversation = self._digests(body, prompt)
        bits = self._bits_of(candidates)
        free = with_room(candidates, self._slack)
        if conversation % self._pioneers:
            free = self._holders(blocks, bits, free) or free
        chosen = self._rendezvous.nearest(conversation, candidates, free)
        self._remember(blocks, bits, chosen)
        return chosen

    def _digests(self, body: bytes, prompt: Prompt) -> tuple[list[int], int]:
        """Return the digest of the prompt up to each block's end, and that up to `prompt.opening`.

        Chained CRCs take a quarter of the time of a cryptographic hash. A collision (1 in 2^32 for
        each block at the same position) sends a request to an endpoint that has nothing cached.
        """
        size = self._block_bytes
        start, opening = prompt
        count = min((len(body) - start) // size, self._max_blocks)
        blocks = []
        crc = 0
        for place in range(count):
            at = start + place * size
            crc = crc32(body[at : at + size], crc)
            blocks.append(place << 32 | crc)
        whole = min((opening - start) // size, count)
        before = blocks[whole - 1] & _CRC if whole else 0
        return blocks, crc32(body[start + whole * size : opening], before)

    def _bits_of(self, candidates: Sequence[Candidate]) -> list[int]:
        """Return one bit for each candidate. It stays the same while its blocks are remembered."""
        known = self._bits
        if len(known) > max(_KNOWN_ENDPOINTS, 4 * len(candidates)):
            # Most of these endpoints no longer exist.
            known.clear()
            self._seen.clear()
        return [known.setdefault(one.key, 1 << len(known)) for one in candidates]

    def _holders(self, blocks: list[int], bits: list[int], free: list[int]) -> list[int]:
        """Return those of `free` that received the longest prefix; empty below the threshold."""
        wanted = 0
        for index in free:
            wanted |= bits[index]
        enough = max(ceil(self._threshold * len(blocks)), 1)
        for place in range(len(blocks) - 1, enough - 2, -1):
            saw = self._seen.get(blocks[place], 0) & wanted
            if saw:
                return [index for index in free if bits[index] & saw]
        return []

    def _remember(self, blocks: list[int], bits: list[int], chosen: int) -> None:
        """Mark the blocks as sent to the chosen endpoint, and unmark endpoints that are absent."""
        seen = self._seen
        present = 0
        for bit in bits:
            present |= bit
        # Last block first: it is also the first to be evicted, as in the endpoint's own cache.
        for block in reversed(blocks):
            seen[block] = seen.get(block, 0) & present | bits[chosen]
            seen.move_to_end(block)
        while len(seen) > self._max_entries:
            seen.popitem(last=False)
