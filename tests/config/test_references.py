"""Names used in the file are defined in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.config.documents import Document, document, keys_in, said_of


def route(**fields: Any) -> Document:
    return {"name": "r", "path": "/v1/", "auth": "anonymous", "upstream": "a", **fields}


def provider(**fields: Any) -> Document:
    return {"p": {"type": "jwt", "issuer": "i", "audience": "a", **fields}}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"upstream": "vlm"}, "upstream: there is no upstream 'vlm'; did you mean 'vllm'?"),
        ({"limits": ["per-ip"]}, "limits[0]: there is no limit 'per-ip'; did you mean 'per_ip'?"),
        ({"models": ["lama"]}, "models[0]: there is no model 'lama'; did you mean 'llama'?"),
        ({"auth": ["corp", "crop"]}, "auth[1]: there is no provider 'crop'; did you mean 'corp'?"),
    ],
)
def test_a_name_that_is_not_there_gets_the_nearest_that_is(
    tmp_path: Path, fields: Document, expected: str
) -> None:
    keys_in(tmp_path)
    sections = {
        "upstreams": {"vllm": {"endpoints": [{"url": "http://10.0.0.1"}]}},
        "limits": {"per_ip": {"key": "ip", "requests": "1/second"}},
        "models": {"llama": {"upstream": "vllm"}},
        "auth": {"corp": provider(algorithm="HS256", secret={"file": "secret"})["p"]},
        "routes": [route(**{"upstream": "vllm", **fields})],
    }
    assert said_of(document(**sections), tmp_path) == [f"routes[0].{expected}"]


def test_a_model_of_an_upstream_that_is_not_there() -> None:
    assert said_of(document(models={"m": {"upstream": "aa"}})) == [
        "models.m.upstream: there is no upstream 'aa'; did you mean 'a'?"
    ]
