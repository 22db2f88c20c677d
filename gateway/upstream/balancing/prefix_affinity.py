"""A conversation goes on where its prefix is cached."""

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
    """Remembers which endpoints saw the beginning of a prompt, block by block.

    A request goes to an endpoint that saw the longest part of it, if that is at least `threshold`
    of its blocks and the endpoint has room (see `with_room`). Else it goes to the home of its
    conversation, which workers find alike without sharing what they remember. One conversation in
    `pioneers` always goes home: these carry a beginning that many conversations have in common to
    further endpoints, where it would otherwise draw all of them to the first.

    Without a prompt in the body it is consistent hashing by key, or least requests.

    What is remembered takes 180 to 200 bytes for each of `max_entries` blocks.
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
        """By the digest of all up to a block's end: the bits of who saw it. Oldest first."""
        self._bits: dict[str, int] = {}

    def __len__(self) -> int:
        """How many blocks are remembered."""
        return len(self._seen)

    def pick(self, candidates: Sequence[Candidate], hint: Hint) -> int:
        """Takes it that the request is sent there, and remembers so."""
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
        """Of the prompt up to the end of each block, and up to the end of the opening.

        Chained CRCs take a quarter of the time of a cryptographic hash. One that matches by chance
        (1 in 2^32 for each block of the same place) sends a request where nothing is cached.
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
        """One for each, the same as long as anything is remembered of it."""
        known = self._bits
        if len(known) > max(_KNOWN_ENDPOINTS, 4 * len(candidates)):
            # Most of them are gone for good.
            known.clear()
            self._seen.clear()
        return [known.setdefault(one.key, 1 << len(known)) for one in candidates]

    def _holders(self, blocks: list[int], bits: list[int], free: list[int]) -> list[int]:
        """Those of `free` that saw most, if that is enough; none if nobody did."""
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
        """Add the chosen one to the others that are here; forget those that are not."""
        seen = self._seen
        present = 0
        for bit in bits:
            present |= bit
        # The end first: it is also the first to be forgotten, as in the endpoint's own cache.
        for block in reversed(blocks):
            seen[block] = seen.get(block, 0) & present | bits[chosen]
            seen.move_to_end(block)
        while len(seen) > self._max_entries:
            seen.popitem(last=False)
