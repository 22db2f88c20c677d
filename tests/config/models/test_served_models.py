"""Models in the file."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from gateway.config import models


@pytest.mark.parametrize(
    "fields",
    [
        {"drop": ("seed",), "set": {"seed": 1}},
        {"drop": ("seed",), "refuse": ("seed",)},
        {"set": {"seed": 1}, "default": {"seed": 1}},
        {"refuse": ("n",), "cap": {"n": 1.0}},
    ],
)
def test_a_parameter_has_no_two_rules_that_contradict_each_other(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="two rules that contradict"):
        models.ParameterSettings.model_validate(fields)


def test_a_parameter_may_have_a_default_and_a_cap() -> None:
    told = models.ParameterSettings.model_validate(
        {"default": {"max_tokens": 500}, "cap": {"max_tokens": 1000.0}}
    )
    assert told.cap == {"max_tokens": 1000}


@pytest.mark.parametrize("name", ["model", "stream", "messages", "Temperature", "a b", ""])
def test_what_decides_on_the_kind_of_request_has_no_rule(name: str) -> None:
    with pytest.raises(ValidationError, match="not a parameter that a rule may change"):
        models.ParameterSettings.model_validate({"drop": (name,)})


def test_a_value_that_json_cannot_write_is_refused() -> None:
    with pytest.raises(ValidationError, match="cannot be written as JSON"):
        models.ParameterSettings.model_validate({"set": {"seed": 2**70}})
