from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.channels.history import ChannelHistory
from gateway.channels.ids import id_at, written
from gateway.channels.space import ChannelRetention

PLENTY = ChannelRetention(1000, 10**6, 60.0)


class Bytes:
    """Budget that only counts."""

    def __init__(self) -> None:
        self.size_bytes = 0

    def grown(self, size_bytes: int) -> None:
        self.size_bytes += size_bytes

    def shrunk(self, size_bytes: int) -> None:
        self.size_bytes -= size_bytes


def filled(count: int, retention: ChannelRetention = PLENTY) -> ChannelHistory:
    history = ChannelHistory(id_at(1), Bytes())
    history.extend([(id_at(2, n), b"data: %d\n\n" % n) for n in range(count)], retention)
    return history


def test_events_have_their_ids_in_front() -> None:
    events, last = filled(2).after(id_at(1), 1000)
    assert [*events] == [b"id: 2-0\ndata: 0\n\n", b"id: 2-1\ndata: 1\n\n"]
    assert last == id_at(2, 1)


def test_events_that_are_here_already_are_not_added_again() -> None:
    history = filled(3)
    history.extend([(id_at(2, 1), b"data: again\n\n"), (id_at(2, 3), b"data: 3\n\n")], PLENTY)
    assert len(history) == 4


def test_a_piece_exceeds_its_size_by_less_than_an_event() -> None:
    events, last = filled(10).after(id_at(1), 20)
    assert (len(events), last) == (2, id_at(2, 1))


def test_blocks_are_what_was_published() -> None:
    ids, blocks = filled(3).blocks_after(id_at(2, 0), 1000)
    assert ids == [id_at(2, 1), id_at(2, 2)]
    assert blocks == [b"data: 1\n\n", b"data: 2\n\n"]


@given(
    st.lists(st.integers(1, 50), min_size=1, max_size=80),
    st.integers(1, 20),
    st.integers(40, 500),
)
def test_number_and_bytes_stay_within_the_bounds_and_the_floor_tells_what_is_gone(
    sizes: list[int], events: int, size_bytes: int
) -> None:
    budget = Bytes()
    history = ChannelHistory(id_at(1), budget)
    retention = ChannelRetention(events, size_bytes, 60.0)
    for number, size in enumerate(sizes):
        history.extend([(id_at(2, number), b"x" * size)], retention)
        assert 1 <= len(history) <= events
        assert history.size_bytes <= size_bytes or len(history) == 1
        assert budget.size_bytes == history.size_bytes
    kept, last = history.after(history.floor, 10**6)
    assert len(kept) == len(history)
    assert last == history.last == id_at(2, len(sizes) - 1)
    assert kept[0].startswith(b"id: %b\n" % written(history.floor + 1)) or (
        history.floor == id_at(1)
    )


def test_old_events_are_dropped() -> None:
    history = ChannelHistory(0, Bytes())
    history.extend([(id_at(ms), b"data: x\n\n") for ms in (1000, 2000, 3000)], PLENTY)
    history.expire(62_500, PLENTY)
    assert (len(history), history.floor) == (1, id_at(2000))
    history.expire(100_000, PLENTY)
    assert (len(history), history.floor, history.last) == (0, id_at(3000), id_at(3000))


def test_a_jump_tells_who_was_up_to_date_before_it() -> None:
    history = filled(3)
    history.jump(id_at(9))
    assert (len(history), history.floor, history.last) == (0, id_at(9), id_at(9))
    assert history.jumped_from == id_at(2, 2)
