"""YAML's syntax errors: the place that has to be changed, and plain words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import ConfigError, load_text


def only_problem(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_text(text)
    [problem] = caught.value.problems
    return str(problem).removeprefix("config.yaml:")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("server:\n\tlisten: x\n", "2:1: a tab stands here"),
        ('server:\n  listen: "127.0.0.1\nadmin: null\n', '2:11: the quote " that opens here'),
        ("a: 'x\nb: 1\n", "1:4: the quote ' that opens here is not closed"),
        ('a: "x\nb: {c: "y"}\n', '1:4: the quote " that opens here closes in line 2 only'),
        ("a: 'x\nb: 'y'\n", "1:4: the quote ' that opens here closes in line 2 only"),
        ('a: "x\n  y"\nb: "z" c\n', "3:8: "),
        ("a: [\n", "1:4: the [ that opens here is not closed"),
        ("a: {b: [1], c: {\n", "1:16: the { that opens here is not closed"),
        ("upstreams:\n   a: {}\n  b: {}\n", "3:3: the indentation fits no line above"),
        ("a: [1, 2\nb: 3\n", "1:4: the [ that opens here is not closed"),
        ("a: {b: 1\nc: 3\n", "1:4: the { that opens here is not closed"),
        ("a: b: c\n", "1:5: this colon belongs to no key"),
        ("a: 1\n---\nb: 2\n", "2:1: a second document begins here"),
        ("a: @x\n", "1:4: text that begins with @ needs quotes"),
        ("a: *x\n", "1:4: there is no such anchor: text that begins with * needs quotes"),
        (
            "a: {b: ${X}}\n",
            "1:4: the { that opens here is not closed, or a comma is missing in it; ",
        ),
    ],
)
def test_a_syntax_error_is_told_where_it_has_to_be_mended(text: str, said: str) -> None:
    assert only_problem(text).startswith(said)


@given(st.text(alphabet="ab:-[]{}\"'#&*!|>%@`, \n\t$", max_size=60))
def test_no_text_brings_the_reader_down(text: str) -> None:
    with pytest.raises(ConfigError):
        load_text(text)
