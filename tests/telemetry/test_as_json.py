"""Whatever there is to tell can be told."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from gateway.telemetry.as_json import as_json

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()), inner),
    max_leaves=8,
)


@given(ANYTHING)
def test_it_is_json_whatever_it_is(document: Any) -> None:
    orjson.loads(as_json(document))


def test_what_is_no_text_is_told_as_a_question_mark() -> None:
    told = orjson.loads(as_json({"a\ud800": ["\udcff", 1 << 70, None, 1.5]}))
    assert told == {"a?": ["?", str(1 << 70), None, 1.5]}
