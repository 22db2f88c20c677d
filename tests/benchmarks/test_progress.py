"""Progress of a long benchmark."""

from __future__ import annotations

import pytest

from benchmarks.progress import Progress, tried


def test_every_step_is_told_with_its_number(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress([1.0, 2.0])
    progress.begin("first")
    progress.begin("second")
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("first (1 of 2, all end about ")
    assert second.startswith("second (2 of 2, all end about ")


def test_a_part_that_fails_is_told_and_the_rest_goes_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail() -> int:
        raise KeyError("no such figure")

    assert tried("a part", fail) is None
    assert "a part failed: KeyError('no such figure')" in capsys.readouterr().err
    assert tried("another", lambda: 1) == 1
