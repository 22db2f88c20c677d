"""Settings of the C allocator, which provides the memory of request bodies.

By default, glibc returns freed memory to the kernel at once: blocks of 128 KiB or more, and what is
free at the end of the heap. The kernel then has to clear and map every page of the next body: 256
pages for each MiB, which took half of the CPU time of a request with a body of 1 MiB.
"""

from __future__ import annotations

import ctypes
import os

KEPT_BYTES = 32 * 1024 * 1024
"""Free memory at the end of the heap that is not returned to the kernel."""
_LARGEST_BYTES = 32 * 1024 * 1024
"""Blocks of this size or more are mapped alone, and returned when they are freed. It is the highest
value that glibc takes. orjson takes a block of twelve times the size of a body.
"""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt(3)."""


def keep_freed_memory() -> None:
    """Keep up to 32 MiB of freed memory for the next bodies.

    Do nothing where the C library has no mallopt(3), or where the environment tunes malloc.
    """
    names = os.environ
    if any(name.startswith("MALLOC_") for name in names) or "GLIBC_TUNABLES" in names:
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_BYTES)
