"""The longest silence of a backend in one request."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.telemetry.traces.silence import longest_silence_s
from tests.support.records import record


@pytest.mark.parametrize(
    ("changes", "silence_s"),
    [
        ({"first_byte_s": 0.5, "s": 2.0}, 0.5),
        ({"first_byte_s": None, "s": 30.0}, 30.0),
        ({"first_byte_s": 12.0, "queue_s": 10.0, "s": 14.0}, 2.0),
        ({"first_byte_s": None, "queue_s": 10.0, "s": 10.0}, 0.0),
        ({"gaps": {"longest_s": 8.0, "last_s": 1.5}}, 8.0),
        ({"gaps": {"longest_s": 0.1, "last_s": 4.0}, "s": 64.0}, 60.0),
        ({"gaps": {"longest_s": 0.0, "last_s": None}}, 0.5),
        ({"upstream": None, "first_byte_s": None, "s": 30.0}, 0.0),
    ],
)
def test_the_longest_silence_is_before_between_or_after_the_chunks(
    changes: dict[str, Any], silence_s: float
) -> None:
    assert longest_silence_s(record(**changes)) == silence_s
