"""The section `telemetry.traces`."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from gateway.config.models.traces import Traces


def test_a_pattern_to_redact_is_a_regular_expression() -> None:
    assert Traces(redact=(r"\bsk-\w+",)).redact == (r"\bsk-\w+",)
    with pytest.raises(ValidationError, match="not a regular expression: "):
        Traces(redact=("(",))


@pytest.mark.parametrize("sample", [-0.1, 1.1, float("nan")])
def test_a_sample_is_a_share(sample: float) -> None:
    with pytest.raises(ValidationError):
        Traces(sample=sample)
