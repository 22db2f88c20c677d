"""Placeholder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


class Candidate(Protocol):
    @property
    def key(self) -> str: ...
    @property
    def weight(self) -> float: ...
    @property
    def in_flight(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Hint:
    key: str | None = None
    body: bytes | None = None


class Balancer(Protocol):
    def pick(self, candidates: Sequence[Candidate], hint: Hint) -> int: ...


class LeastRequests:
    def __init__(self) -> None:
        self._turn = 0

    def pick(self, candidates: Sequence[Candidate], hint: Hint) -> int:
        self._turn += 1
        n = len(candidates)
        return min(
            ((self._turn + i) % n for i in range(n)),
            key=lambda i: (candidates[i].in_flight + 1) / candidates[i].weight,
        )
