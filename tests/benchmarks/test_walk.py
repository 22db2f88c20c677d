"""Figures of a walk, and the walk of a real request."""

from __future__ import annotations

from benchmarks.lockstep import Step
from benchmarks.walk import Call, Walk, render, render_markdown, walk


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
    assert f"{Step.REQUEST}:\n\n1. `a`: f ×2\n2. `b`: g\n\n" in render_markdown(made)  # noqa: RUF001
    assert f"{Step.END}:\n\n3. `a`: f" in render_markdown(made)


def test_every_step_of_a_streamed_chat_is_walked() -> None:
    made = walk(whole=False)
    assert {each.step for each in made.calls} == set(Step)
    assert all(each.depth > 0 for each in made.calls)
