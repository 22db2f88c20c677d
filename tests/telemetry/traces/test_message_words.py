"""Fault and remedy by the message of a backend."""

from __future__ import annotations

import pytest

from gateway.telemetry.traces.message_words import words_for_message
from gateway.telemetry.traces.wording import Fault


@pytest.mark.parametrize(
    ("message", "fault"),
    [
        ("CUDA out of memory. Tried to allocate 20.00 MiB", Fault.BACKEND),
        ("torch.OutOfMemoryError: HIP", Fault.BACKEND),
        ("This model's maximum context length is 8192 tokens", Fault.CLIENT),
        ("prompt is too long: 210000 tokens > 200000 maximum", Fault.CLIENT),
        ("You exceeded your current quota, please check your plan", Fault.CONFIGURATION),
        ("Your credit balance is too low", Fault.CONFIGURATION),
    ],
)
def test_a_known_message_says_whose_fault_it_is(message: str, fault: Fault) -> None:
    found = words_for_message(message)
    assert found is not None
    assert found[0] is fault


@pytest.mark.parametrize("message", [None, "", "There is no more room to bloom.", "bad schema"])
def test_other_messages_say_nothing_of_it(message: str | None) -> None:
    assert words_for_message(message) is None
