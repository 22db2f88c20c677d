"""What the numbers in an answer mean, in every dialect's shape."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.dialects.usage import reported_usage
from gateway.usage import Usage


def counted(document: dict[str, Any]) -> tuple[int, int, int, int, int]:
    """Input, output, and of them: read from a cache, written to it, reasoning."""
    used = reported_usage(document)
    assert used is not None
    return used.input, used.output, used.cached, used.cache_write, used.reasoning


def usage(**numbers: Any) -> dict[str, Any]:
    return {"usage": numbers}


def openai(prompt: int, completion: int, **numbers: Any) -> dict[str, Any]:
    return usage(prompt_tokens=prompt, completion_tokens=completion, **numbers)


@pytest.mark.parametrize(
    ("document", "numbers"),
    [
        (openai(7, 5), (7, 5, 0, 0, 0)),
        (openai(7, 5, total_tokens=12), (7, 5, 0, 0, 0)),
        (usage(input_tokens=7, output_tokens=5), (7, 5, 0, 0, 0)),
        ({"response": usage(input_tokens=7, output_tokens=5)}, (7, 5, 0, 0, 0)),
        ({"message": usage(input_tokens=7, output_tokens=1)}, (7, 1, 0, 0, 0)),
        ({"x_groq": openai(7, 5)}, (7, 5, 0, 0, 0)),
        ({"done": True, "prompt_eval_count": 7, "eval_count": 5}, (7, 5, 0, 0, 0)),
    ],
)
def test_every_dialect_has_its_place_for_usage(
    document: dict[str, Any], numbers: tuple[int, ...]
) -> None:
    assert counted(document) == numbers


@pytest.mark.parametrize(
    ("document", "numbers"),
    [
        (usage(total_tokens=9), (9, 0, 0, 0, 0)),
        (usage(prompt_tokens=9, total_tokens=9), (9, 0, 0, 0, 0)),
        (usage(completion_tokens=4, total_tokens=9), (5, 4, 0, 0, 0)),
    ],
)
def test_the_total_tells_what_its_parts_leave_out(
    document: dict[str, Any], numbers: tuple[int, ...]
) -> None:
    assert counted(document) == numbers


CACHED = {"prompt_tokens_details": {"cached_tokens": 100}}


@pytest.mark.parametrize(
    ("document", "numbers"),
    [
        (openai(150, 5, **CACHED), (150, 5, 100, 0, 0)),
        (openai(150, 5, total_tokens=155, **CACHED), (150, 5, 100, 0, 0)),
        (openai(50, 5, total_tokens=155, **CACHED), (150, 5, 100, 0, 0)),
        (openai(50, 5, **CACHED), (150, 5, 100, 0, 0)),
        (openai(150, 5, prompt_cache_hit_tokens=100, total_tokens=155), (150, 5, 100, 0, 0)),
        (openai(150, 5, cached_tokens=100), (150, 5, 100, 0, 0)),
        (
            usage(
                input_tokens=40,
                output_tokens=5,
                cache_read_input_tokens=100,
                cache_creation_input_tokens=10,
            ),
            (150, 5, 100, 10, 0),
        ),
        (
            openai(150, 5, total_tokens=155, cache_read_input_tokens=100, **CACHED),
            (150, 5, 100, 0, 0),
        ),
    ],
)
def test_cached_tokens_are_counted_once_inside_the_input_or_beside_it(
    document: dict[str, Any], numbers: tuple[int, ...]
) -> None:
    assert counted(document) == numbers


THOUGHTS = {"completion_tokens_details": {"reasoning_tokens": 30}}


@pytest.mark.parametrize(
    ("document", "numbers"),
    [
        (openai(10, 35, total_tokens=45, **THOUGHTS), (10, 35, 0, 0, 30)),
        (openai(10, 35, **THOUGHTS), (10, 35, 0, 0, 30)),
        (openai(10, 5, total_tokens=45, **THOUGHTS), (10, 35, 0, 0, 30)),
        (openai(10, 5, **THOUGHTS), (10, 35, 0, 0, 30)),
        (openai(10, 35, total_tokens=75, **THOUGHTS), (10, 65, 0, 0, 30)),
        (openai(10, 5, total_tokens=45), (10, 35, 0, 0, 30)),
        (openai(10, 0, total_tokens=45), (10, 35, 0, 0, 35)),
        (openai(10, 0, total_tokens=10), (10, 0, 0, 0, 0)),
        (
            openai(50, 5, total_tokens=185, **CACHED, **THOUGHTS),
            (150, 35, 100, 0, 30),
        ),
    ],
)
def test_reasoning_is_counted_once_inside_the_output_or_beside_it(
    document: dict[str, Any], numbers: tuple[int, ...]
) -> None:
    assert counted(document) == numbers


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"usage": None},
        {"usage": []},
        openai(0, 0),
        usage(prompt_tokens="7"),
        usage(prompt_tokens=-7),
        usage(prompt_tokens=True),
        usage(type="duration", seconds=12),
        {"message": {"tool_calls": [{"function": {"arguments": openai(1, 1)}}]}},
        {"choices": [openai(1, 1)]},
    ],
)
def test_nothing_else_is_usage(document: dict[str, Any]) -> None:
    assert reported_usage(document) is None


def test_usage_adds_up() -> None:
    used = Usage(1, 2, 3, 4, 5) + Usage(10, 20, 30, 40, 50, estimated=True)
    assert (used.input, used.output, used.cached, used.cache_write) == (11, 22, 33, 44)
    assert (used.reasoning, used.estimated) == (55, True)
