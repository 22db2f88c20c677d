"""Identity providers in the file."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.config import models


def jwt(**fields: Any) -> dict[str, Any]:
    return {"type": "jwt", "issuer": "i", "audience": "a", **fields}


@pytest.mark.parametrize(
    ("written", "audience"), [("a", ("a",)), (("a",), ("a",)), (("a", "b"), ("a", "b"))]
)
def test_an_audience_may_be_one_text_or_several(written: Any, audience: tuple[str, ...]) -> None:
    provider = models.JwtProviderSettings.model_validate(jwt(audience=written))
    assert provider.audience == audience
