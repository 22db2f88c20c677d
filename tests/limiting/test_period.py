"""Calendar periods, in UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.limiting.period import Calendar, current

moments = st.datetimes(datetime(1970, 1, 1), datetime(9000, 1, 1)).map(
    lambda moment: moment.replace(tzinfo=UTC)
)


@pytest.mark.parametrize(
    ("period", "moment", "name", "left_s"),
    [
        ("day", datetime(2026, 11, 21, 23, 59, 59, tzinfo=UTC), "2026-11-21", 1.0),
        ("week", datetime(2026, 11, 21, tzinfo=UTC), "2026-W47", 2 * 86400.0),
        ("week", datetime(2027, 1, 1, tzinfo=UTC), "2026-W53", 3 * 86400.0),
        ("month", datetime(2026, 12, 31, tzinfo=UTC), "2026-12", 86400.0),
        ("month", datetime(2028, 2, 28, tzinfo=UTC), "2028-02", 2 * 86400.0),
        (
            "day",
            datetime(2026, 11, 22, 1, tzinfo=timezone(timedelta(hours=2))),
            "2026-11-21",
            3600.0,
        ),
    ],
)
def test_a_period_has_a_name_and_an_end(
    period: str, moment: datetime, name: str, left_s: float
) -> None:
    assert current(period, moment) == (name, left_s)


@given(moments, st.sampled_from(["day", "week", "month"]))
def test_the_next_period_begins_where_this_one_ends(moment: datetime, period: str) -> None:
    name, left_s = current(period, moment)
    assert left_s > 0
    end = moment + timedelta(seconds=left_s)
    assert current(period, end - timedelta(microseconds=1))[0] == name
    assert current(period, end)[0] != name


def test_another_word_is_no_period() -> None:
    with pytest.raises(ValueError, match="not a period"):
        current("year", datetime.now(UTC))


@given(
    st.lists(
        st.tuples(st.sampled_from(["day", "week", "month"]), st.floats(1.7e9, 1.7e9 + 1e7)),
        max_size=20,
    )
)
def test_a_calendar_says_the_same_from_its_cache_even_if_the_clock_goes_back(
    asked: list[tuple[str, float]],
) -> None:
    calendar = Calendar()
    for period, now_s in asked:
        name, left_s = calendar.current(period, now_s)
        expected = current(period, datetime.fromtimestamp(now_s, UTC))
        assert name == expected[0]
        assert left_s == pytest.approx(expected[1], abs=1e-3)
