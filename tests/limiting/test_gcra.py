"""The arithmetic of limits on times, against a plain token bucket."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.limiting.demand import Demand, Kind, Level
from gateway.stores.memory.limits import MemoryLimits


@dataclass(frozen=True)
class Rate:
    per_s: float
    burst: int


class Buckets:
    """Buckets of one rate, with a clock of the test's own."""

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._now = 0.0
        self._store = MemoryLimits(lambda: self._now)

    def __len__(self) -> int:
        return len(self._store)

    def take(self, key: str, now: float, amount: float = 1.0) -> tuple[bool, Level]:
        """Whether it was admitted, and what is left."""
        self._now = now
        demand = Demand(Kind.TAKE, key, amount, self._rate.burst, self._rate.per_s)
        verdict = self._store.decide_now([demand])
        return verdict.admitted, verdict.levels[0]


rates = st.builds(Rate, per_s=st.floats(0.001, 1000), burst=st.integers(1, 50))
gaps_s = st.lists(st.floats(0, 100), min_size=1, max_size=200)


@given(rates, gaps_s)
def test_it_never_admits_more_than_its_burst_and_what_flowed_in(
    rate: Rate, gaps: list[float]
) -> None:
    buckets = Buckets(rate)
    times = list(itertools.accumulate(gaps))
    admitted = [now for now in times if buckets.take("k", now)[0]]
    for first, last in itertools.combinations_with_replacement(range(len(admitted)), 2):
        span_s = admitted[last] - admitted[first]
        assert last - first + 1 <= rate.burst + rate.per_s * span_s + rate.per_s * 1e-5 + 1e-6


@given(rates)
def test_a_new_bucket_holds_its_burst_and_no_more(rate: Rate) -> None:
    buckets = Buckets(rate)
    decisions = [buckets.take("k", 5.0) for _ in range(rate.burst + 1)]
    assert [admitted for admitted, _ in decisions] == [True] * rate.burst + [False]
    assert [left.remaining for _, left in decisions[:-1]] == list(range(rate.burst))[::-1]


@given(rates)
def test_it_refills_exactly(rate: Rate) -> None:
    buckets = Buckets(rate)
    while buckets.take("k", 0.0)[0]:
        pass
    full_s = rate.burst / rate.per_s
    again = 0
    while buckets.take("k", full_s + 1e-9 * max(1.0, full_s))[0]:
        again += 1
    assert again == rate.burst


@given(rates, gaps_s)
def test_whoever_waits_as_told_is_admitted(rate: Rate, gaps: list[float]) -> None:
    buckets = Buckets(rate)
    now = 0.0
    for gap in gaps:
        now += gap
        admitted, level = buckets.take("k", now)
        if not admitted:
            assert level.wait_s > 0
            now += level.wait_s
            assert buckets.take("k", now)[0]


@given(st.lists(st.sampled_from("abc"), max_size=60))
def test_keys_do_not_touch_each_other(keys: list[str]) -> None:
    rate = Rate(1.0, 3)
    together, alone = Buckets(rate), {key: Buckets(rate) for key in "abc"}
    for key in keys:
        assert together.take(key, 1.0) == alone[key].take(key, 1.0)


def test_full_buckets_are_forgotten() -> None:
    buckets = Buckets(Rate(1.0, 1))
    for number in range(100_000):
        buckets.take(f"k{number}", number * 0.01)
    assert len(buckets) < 10_000


def test_a_clock_that_stands_still_refills_nothing() -> None:
    buckets = Buckets(Rate(10.0, 2))
    assert [buckets.take("k", 1.0)[0] for _ in range(4)] == [True, True, False, False]
    assert buckets.take("k", 1.0)[1].wait_s == pytest.approx(0.1)


class TokenBucket:
    """The textbook's bucket in whole numbers: 1024 parts are a token, `per_s` flow in a tick."""

    def __init__(self, per_s: int, burst: int) -> None:
        self.per_tick, self.cap = per_s, burst * 1024
        self.parts, self.tick = self.cap, 0

    def take(self, tick: int) -> tuple[bool, int]:
        """Whether there is a token at this 1/1024 s, and how many whole ones are left."""
        self.parts = min(self.cap, self.parts + (tick - self.tick) * self.per_tick)
        self.tick = tick
        if self.parts < 1024:
            return False, 0
        self.parts -= 1024
        return True, self.parts // 1024


@settings(max_examples=300)
@given(
    st.sampled_from([1, 64, 1024]),
    st.integers(1, 4),
    st.integers(0, 2**20),
    st.lists(
        st.tuples(st.sampled_from("aabc"), st.sampled_from([0, 0, 0, 1, 2, 9, 100, 3000])),
        min_size=1,
        max_size=100,
    ),
)
def test_it_decides_as_a_token_bucket_does_for_any_interleaving(
    per_s: int, burst: int, uptime_s: int, calls: list[tuple[str, int]]
) -> None:
    # Powers of two, so that no float is rounded and the decisions are the same to the bit. It
    # sweeps at every turn, which must not show.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gateway.stores.memory.limits._SWEEP_SIZE", 0)
        buckets = Buckets(Rate(per_s, burst))
        assert_as_the_textbook(buckets, per_s, burst, uptime_s, calls)


def assert_as_the_textbook(
    buckets: Buckets, per_s: int, burst: int, uptime_s: int, calls: list[tuple[str, int]]
) -> None:
    textbook = {key: TokenBucket(per_s, burst) for key in "abc"}
    tick = 0
    for key, gap in calls:
        tick += gap
        admitted, level = buckets.take(key, uptime_s + tick / 1024)
        expected = textbook[key].take(tick)
        assert (admitted, level.remaining) == expected
        parts = textbook[key].parts
        missing = textbook[key].cap - parts if admitted else 1024 - parts
        assert level.wait_s == missing / per_s / 1024


def test_a_sweep_forgets_no_debt() -> None:
    buckets = Buckets(Rate(0.001, 1))
    debtors = [f"debtor-{number}" for number in range(100)]
    assert all(buckets.take(key, 0.0)[0] for key in debtors)
    passing = Buckets(Rate(0.001, 1))
    for number in range(20_000):
        buckets.take(f"k{number}", 1.0)
        passing.take(f"k{number}", number * 1000.0)
    assert not any(buckets.take(key, 2.0)[0] for key in debtors)
    assert len(passing) <= 4097, "what is full again is forgotten"


def test_a_refusal_costs_nothing_and_is_not_remembered() -> None:
    buckets = Buckets(Rate(1.0, 1))
    buckets.take("k", 0.0)
    for _ in range(1000):
        assert not buckets.take("k", 0.5)[0]
    assert buckets.take("k", 1.0)[0]


def test_a_clock_that_goes_back_gives_nothing() -> None:
    buckets = Buckets(Rate(1.0, 1))
    assert buckets.take("k", 100.0)[0]
    assert not buckets.take("k", 0.0)[0]
    assert buckets.take("k", 101.0)[0]


def test_a_burst_is_whole_at_any_uptime() -> None:
    for now in (1e5, 1e6, 1e7):
        for per_s in (1.7, 10 / 3, 60.0):
            buckets = Buckets(Rate(per_s, 20))
            assert all(buckets.take("k", now)[0] for _ in range(20)), (now, per_s)


def test_more_than_the_whole_bucket_passes_a_full_one_into_debt() -> None:
    buckets = Buckets(Rate(10.0, 100))
    assert buckets.take("k", 0.0, 250.0)[0]
    admitted, level = buckets.take("k", 1.0, 250.0)
    assert not admitted
    assert level.wait_s == pytest.approx(24.0)
    assert buckets.take("k", 25.0, 250.0)[0]
