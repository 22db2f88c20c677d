"""libyaml and PyYAML's parser in Python: the same nodes, and the errors of the latter."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.yaml_nodes import compose

ROOT = Path(__file__).parents[2]
TEXTS = [
    (ROOT / "config.yaml").read_text()[:2000],
    "a: &x [1, 2.5]\nb: *x\nc: {<<: {d: ~}, e: }\n",
    "a: |\n  foo\n   bar\n\nb: >-\n  x\n  y\n",
    "a: 'it''s'\nb: \"\\u1234\\n\"\nc: 2026-01-01\n",
    "%YAML 1.1\n---\na: !!str 1\n...\n",
    "- 1\n- - 2\n  - ${A:-3}\n- ? a\n  : b\n",
]
PIECES = [
    *":-?[]{},&*!|>'\"%@`# \n\t\\~=0é\r\x85\ufeff\x07\ud800",
    "---",
    "<<: ",
    "&a ",
    "*a",
    ": ",
]


@st.composite
def edited(draw: st.DrawFn) -> str:
    """Part of a text in which some characters are replaced."""
    text = draw(st.sampled_from(TEXTS))
    begin = draw(st.integers(0, len(text) - 1))
    text = text[begin : begin + draw(st.integers(1, 150))]
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(st.sampled_from(PIECES)) + text[at + draw(st.integers(0, 2)) :]
    return text


def described(node: yaml.Node | None) -> Iterator[Any]:
    """Yield what a reader of the configuration asks of the nodes. An empty value has no place."""
    if node is None:
        return
    empty = node.value == ""
    yield node.tag, None if empty else (node.start_mark.line, node.start_mark.column)
    if isinstance(node, yaml.ScalarNode):
        yield node.value, node.style or None
    for child in node.value if not isinstance(node, yaml.ScalarNode) else ():
        for part in child if isinstance(child, tuple) else (child,):
            yield list(described(part))


def outcome(text: str, parse: Any) -> object:
    """Return the nodes, or the error."""
    try:
        return list(described(parse(text)))
    except yaml.YAMLError as exc:
        return str(exc)


@given(edited())
def test_any_text_has_the_same_nodes_or_the_same_error(text: str) -> None:
    assert outcome(text, compose) == outcome(text, lambda it: yaml.compose(it, yaml.SafeLoader))


@pytest.mark.parametrize("piece", ["[", "{a: ", "- ", "[{a: "])
def test_a_deep_nesting_is_refused_and_ends_no_process(piece: str) -> None:
    with pytest.raises(RecursionError):
        compose(piece * 50_000)


def test_libyaml_is_there() -> None:
    assert yaml.__with_libyaml__
