from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model_names import (
    NamePattern,
    allowed_models,
    as_document,
    is_pattern,
    of_document,
    overlap,
    selected,
)

NAMES = st.text(alphabet="ab/*-", max_size=12)
PLAIN = st.text(alphabet="ab/-", max_size=12)


@given(pattern=NAMES, name=PLAIN)
def test_a_star_matches_any_characters_and_nothing_else_is_special(pattern: str, name: str) -> None:
    expected = re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), name, re.DOTALL)

    assert NamePattern.of(pattern).matches(name) == (expected is not None)


@pytest.mark.parametrize("special", ["?", "[a-z]", ".", "a|b", "(a)", "\\d"])
def test_characters_of_other_pattern_languages_match_themselves(special: str) -> None:
    pattern = NamePattern.of(f"x{special}*")

    assert pattern.matches(f"x{special}1")
    assert not pattern.matches("xa1")


@given(pattern=NAMES, prefix=PLAIN, rest=PLAIN)
def test_a_pattern_that_matches_a_name_overlaps_with_each_beginning_of_it(
    pattern: str, prefix: str, rest: str
) -> None:
    if NamePattern.of(pattern).matches(prefix + rest):
        assert overlap(pattern, prefix)


def test_a_pattern_does_not_overlap_with_another_prefix() -> None:
    assert not overlap("vllm/*", "ollama/")
    assert not overlap("vllm/llama", "ollama/")
    assert overlap("*", "ollama/")


@given(lists=st.lists(st.lists(NAMES, max_size=3), max_size=3), name=PLAIN)
def test_a_model_is_allowed_if_every_list_allows_it(lists: list[list[str]], name: str) -> None:
    allowed = allowed_models(lists)

    if not lists:
        assert allowed is None
        assert of_document(as_document(allowed)) is None
    else:
        assert allowed is not None
        in_each = [any(NamePattern.of(one).matches(name) for one in names) for names in lists]
        assert (name in allowed) == all(in_each)
        assert of_document(as_document(allowed)) == allowed
        assert hash(allowed) == hash(allowed_models(lists))


def test_lists_without_patterns_stay_a_set() -> None:
    assert allowed_models([["a", "b"], ["b"]]) == frozenset({"b"})
    assert allowed_models([["a", "b/*"], ["b/1", "c"]]) == frozenset({"b/1"})


def test_a_name_is_more_specific_than_a_pattern_and_a_long_pattern_than_a_short_one() -> None:
    patterns = ["gpt-*", "gpt-4o", "*", "gpt-4*"]

    ranked = sorted(patterns, key=lambda one: NamePattern.of(one).specificity, reverse=True)

    assert ranked == ["gpt-4o", "gpt-4*", "gpt-*", "*"]


def test_names_are_selected_in_the_order_of_the_list_and_once() -> None:
    known = ["b/2", "a", "b/1", "c"]

    assert selected(known, ["c", "b/*", "missing", "*"]) == ["c", "b/2", "b/1", "a"]


def test_a_name_is_no_pattern() -> None:
    assert is_pattern("vllm/*")
    assert not is_pattern("meta-llama/Llama-3.1-8B-Instruct")
