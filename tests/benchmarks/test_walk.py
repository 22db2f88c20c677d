"""Figures of a walk, and the walk of a real request."""

from __future__ import annotations

import pytest

from benchmarks.lockstep import Step
from benchmarks.walk import Call, Walk, measure, render, render_markdown, shown


def call(file: str, step: Step = Step.REQUEST, function: str = "f") -> Call:
    return Call(step, file, function, 1)


def test_a_reentry_is_a_stay_in_a_file_that_was_left() -> None:
    made = Walk((call("a"), call("a"), call("b"), call("a"), call("c"), call("b")))
    assert (made.files, len(made.stays), made.reentries) == (3, 5, 2)


def test_a_step_divides_a_stay_but_is_no_reentry() -> None:
    made = Walk((call("a"), call("a", Step.EVENT)))
    assert (made.files, len(made.stays), made.reentries) == (1, 2, 0)


def test_calls_after_the_end_are_those_of_the_last_step() -> None:
    made = Walk((call("a"), call("b", Step.END), call("b", Step.END), call("c", Step.END)))
    assert made.after_the_end == (3, 2)


def test_a_walk_is_written_in_the_order_of_its_stays() -> None:
    made = {"bare": Walk((call("a"), call("a"), call("b", function="g"), call("a", Step.END)))}
    assert "    a: f ×2\n      b: g\n" in render(made).replace("      a", "    a")  # noqa: RUF001


def test_the_page_has_each_file_once_for_each_step() -> None:
    calls = (call("a"), call("b"), call("a"), call("c"), call("a", Step.END))
    text = render_markdown({"bare": Walk(calls)})
    assert text == (
        f"**Bare**: 3 files.\n\n- {Step.REQUEST}:\n  `a` → `b` → `c`\n- {Step.END}:\n  `a`"
    )


@pytest.fixture(scope="module")
def walks() -> dict[str, Walk]:
    return measure()


def test_every_step_of_a_streamed_chat_is_walked(walks: dict[str, Walk]) -> None:
    for made in walks.values():
        assert {each.step for each in made.calls} == set(Step)
        assert all(each.depth > 0 for each in made.calls)


def test_the_architecture_page_shows_the_walk(walks: dict[str, Walk]) -> None:
    """If it does not: `python -m benchmarks walk --update`."""
    assert shown() == render_markdown(walks)
