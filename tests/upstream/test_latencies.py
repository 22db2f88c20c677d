"""How long answers take to begin: quantiles, and who is out of line."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.upstream.latencies import Beginning, Quantile, Slowness, SlownessOptions


@given(st.lists(st.floats(0.0, 100.0), min_size=20, max_size=600))
def test_a_quantile_is_that_of_the_last_256(values: list[float]) -> None:
    quantile = Quantile()
    for value in values:
        quantile.add(value)
    recent = sorted(values[-256:])
    assert quantile.at(0.95) == recent[min(len(recent) - 1, int(0.95 * len(recent)))]
    assert quantile.at(0.0) == recent[0]
    assert quantile.at(1.0) == recent[-1]


def test_a_quantile_of_few_is_not_told() -> None:
    quantile = Quantile()
    for _ in range(19):
        quantile.add(1.0)
    assert quantile.at(0.95) is None


# -- who is slow -------------------------------------------------------------------------------

ANSWERS = SlownessOptions().answers


def answer(
    slowness: Slowness, key: str, at: float, seconds: float, **more: Any
) -> tuple[float, float] | None:
    """An answer of `key`, of three endpoints."""
    siblings = [other for other in "abc" if other != key]
    return slowness.add(key, Beginning(at, seconds, idle_s=1000.0, **more), siblings)


def with_quick_siblings(seconds: float = 0.2, **more: Any) -> Slowness:
    """Ten answers each of `a` and `b`, at second 0."""
    slowness = Slowness(SlownessOptions())
    for key in "ab":
        for _ in range(10):
            assert answer(slowness, key, 0.0, seconds, **more) is None
    return slowness


def found_after(slowness: Slowness, seconds: float, *, pause_s: float = 0.1, **more: Any) -> int:
    """How many answers of `c`, one after the other, it takes until `c` is slow; 0: never."""
    at = seconds
    for number in range(1, 3 * ANSWERS):
        if at > 50.0:
            break  # those of the siblings are about to be old
        if answer(slowness, "c", at, seconds, **more) is not None:
            return number
        at += seconds + pause_s
    return 0


def test_slow_answers_in_a_row_make_an_endpoint_slow() -> None:
    assert found_after(with_quick_siblings(), 2.0) == ANSWERS


def test_the_medians_are_told() -> None:
    slowness = with_quick_siblings()
    said = [answer(slowness, "c", 3.0 * n, 2.0) for n in range(1, ANSWERS + 1)]
    assert said[:-1] == [None] * (ANSWERS - 1)
    assert said[-1] == (2.0, 0.2)


def test_one_quick_answer_clears_an_endpoint() -> None:
    slowness = with_quick_siblings()
    for n in range(1, ANSWERS):
        assert answer(slowness, "c", 3.0 * n, 2.0) is None
    answer(slowness, "c", 3.0 * ANSWERS, 0.9)  # within five times 0.2 s
    assert answer(slowness, "c", 3.0 * ANSWERS + 3.0, 2.0) is None


def test_answers_that_wait_out_the_same_pause_count_once() -> None:
    slowness = with_quick_siblings()
    assert all(answer(slowness, "c", 20.0 + n / 100, 15.0) is None for n in range(100))


def test_nobody_is_slow_when_all_are() -> None:
    assert found_after(with_quick_siblings(1.0), 4.0) == 0


def test_below_the_floor_nobody_is_slow() -> None:
    assert found_after(with_quick_siblings(0.001), 0.5) == 0


def test_a_long_prompt_is_not_compared_with_short_ones() -> None:
    assert found_after(with_quick_siblings(size=1000), 2.0, size=2001) == 0
    assert found_after(with_quick_siblings(size=1000), 2.0, size=2000) == ANSWERS


def test_another_model_is_not_compared_with() -> None:
    assert found_after(with_quick_siblings(model="small"), 2.0, model="large") == 0


def test_old_answers_of_siblings_are_not_compared_with() -> None:
    slowness = with_quick_siblings()
    assert all(answer(slowness, "c", 100.0 + 3.0 * n, 2.0) is None for n in range(3 * ANSWERS))


def test_slow_answers_of_long_ago_do_not_count() -> None:
    slowness = with_quick_siblings()
    for n in range(1, ANSWERS):
        answer(slowness, "c", 3.0 * n, 2.0)
    for _ in range(10):
        answer(slowness, "a", 1000.0, 0.2)
    assert answer(slowness, "c", 1003.0, 2.0) is None


def test_few_answers_of_siblings_are_no_evidence() -> None:
    slowness = Slowness(SlownessOptions())
    for _ in range(4):
        answer(slowness, "a", 0.0, 0.2)
    assert found_after(slowness, 2.0) == 0


def test_one_alone_is_never_slow() -> None:
    slowness = Slowness(SlownessOptions())
    assert all(slowness.add("a", Beginning(9.0 * n, 8.0, 9.0), []) is None for n in range(100))


def test_an_endpoint_that_was_forgotten_begins_anew() -> None:
    slowness = with_quick_siblings()
    for n in range(1, ANSWERS):
        answer(slowness, "c", 3.0 * n, 2.0)
    slowness.forget(["c"])
    assert answer(slowness, "c", 3.0 * ANSWERS, 2.0) is None


def queued(slowness: Slowness, at: float, idle_s: float, load: int) -> tuple[float, float] | None:
    """An answer of `c`, which has given three at once, `idle_s` after its last progress."""
    beginning = Beginning(at, 2.0, idle_s, load, begun=3)
    return slowness.add("c", beginning, ["a", "b"])


def test_a_wait_for_a_slot_is_not_slowness() -> None:
    slowness = with_quick_siblings()
    assert all(queued(slowness, 3.0 * n, 0.2, 4) is None for n in range(1, 3 * ANSWERS))


def test_a_wait_beside_free_slots_is_slowness() -> None:
    slowness = with_quick_siblings()
    said = [queued(slowness, 3.0 * n, 0.2, 3) for n in range(1, ANSWERS + 1)]
    assert said[-1] == (2.0, 0.2)


def test_a_long_wait_after_a_slot_was_free_is_slowness() -> None:
    slowness = with_quick_siblings()
    said = [queued(slowness, 3.0 * n, 1.5, 4) for n in range(1, ANSWERS + 1)]
    assert said[-1] == (1.5, 0.2)


def test_slots_that_were_not_seen_for_two_minutes_are_forgotten() -> None:
    slowness = with_quick_siblings()
    queued(slowness, 3.0, 0.2, 3)
    for at in (70.0, 140.0, 210.0):
        for sibling in "ab":
            for _ in range(5):
                answer(slowness, sibling, at, 0.2)
        slowness.add("c", Beginning(at, 0.1, 0.1), ["a", "b"])
    for n in range(1, ANSWERS + 1):
        beginning = Beginning(210.0 + 3.0 * n, 2.0, 0.2, load=3, begun=1)
        assert slowness.add("c", beginning, ["a", "b"]) is None
