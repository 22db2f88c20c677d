"""Growth of a parser's CPU time with its input, and of the memory that a cache keeps."""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Callable

FACTOR = 4
LINEAR_AT_MOST = 9.0
"""Limit between linear growth (4 times the work) and quadratic growth (16 times)."""
_TRIES = 5


def growth(work: Callable[[int], Callable[[], object]], size: int) -> float:
    """Return how many times longer the work takes for an input of FACTOR times the size. `work`
    makes an input of a size, and returns the function to time. If the growth looks linear, it is
    not measured again.
    """
    small = large = float("inf")
    gc.disable()
    try:
        for _ in range(_TRIES):
            small = min(small, _cpu_s(work(size)))
            large = min(large, _cpu_s(work(FACTOR * size)))
            if large < LINEAR_AT_MOST * small:
                break
    finally:
        gc.enable()
    return large / small


def memory_growth(make: Callable[[], Callable[[int], object]], count: int) -> float:
    """Return how many times more memory is kept after twice as many uses. `make` returns the
    function to use with each number; `count` is the size at which the memory should be full.
    """
    return kept_bytes(make(), 2 * count) / kept_bytes(make(), count)


def kept_bytes(use: Callable[[int], object], count: int) -> int:
    """Return the memory that is kept after `count` uses, in bytes."""
    tracemalloc.start()
    try:
        for number in range(count):
            use(number)
        gc.collect()
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


def _cpu_s(call: Callable[[], object]) -> float:
    began = time.thread_time()
    call()
    return time.thread_time() - began
