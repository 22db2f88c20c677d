"""Upstreams in the file."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from gateway.config import models


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"header": "x-api-key"},
        {"value": {"env": "K"}},
        {"bearer": {"env": "K"}, "header": "x-api-key", "value": {"env": "K"}},
        {"bearer": {"env": "K"}, "value": {"env": "K"}},
    ],
)
def test_credentials_are_a_bearer_or_a_header_with_its_value(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="either `bearer`, or `header` and `value`"):
        models.Credentials.model_validate(fields)
