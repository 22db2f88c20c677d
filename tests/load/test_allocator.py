"""How much memory the C allocator takes from the kernel anew."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

_BODIES = """
import resource
from gateway.load.allocator import keep_freed_memory
keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def bodies():
    [b"x" * (256 * 1024) for _ in range(16)]
bodies()
before = faults()
for _ in range(20):
    bodies()
print(faults() - before)
"""
_PAGES = 20 * 16 * 64
"""Pages of all bodies."""

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries")


def _faults(**more: str) -> int:
    environment = {key: value for key, value in os.environ.items() if "MALLOC" not in key}
    command = [sys.executable, "-c", _BODIES]
    done = subprocess.run(
        command, env=environment | more, check=True, capture_output=True, timeout=60
    )
    return int(done.stdout)


def test_the_memory_of_a_body_is_used_for_the_next_one() -> None:
    assert _faults() < _PAGES / 20


def test_settings_of_the_environment_are_left_alone() -> None:
    assert _faults(MALLOC_TRIM_THRESHOLD_="131072", MALLOC_MMAP_THRESHOLD_="131072") > _PAGES / 2
