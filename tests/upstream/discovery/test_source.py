"""What every source of endpoints tells: news, sorted, each URL once, and never nothing."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from gateway.upstream.discovery.dns import DnsSource
from gateway.upstream.discovery.file import FileSource
from gateway.upstream.discovery.records import addresses_of
from gateway.upstream.discovery.source import Found, Latest
from tests.support.discovery import POLICY


def test_a_source_that_was_never_started_can_be_closed(tmp_path: Path) -> None:
    question = addresses_of("http://vllm.test", POLICY)
    DnsSource(question, changed=print, report=print).close()
    FileSource(tmp_path / "none", POLICY, changed=print, report=print).close()


found = st.builds(
    Found,
    st.sampled_from(["http://a", "http://b", "http://c"]),
    st.sampled_from(["a", "b"]),
    st.integers(1, 3),
    st.integers(0, 2),
)


@given(st.lists(st.lists(found, max_size=4), max_size=5))
def test_what_is_told_is_new_sorted_and_each_url_once_but_never_nothing(
    sets: list[list[Found]],
) -> None:
    told: list[Sequence[Found]] = []
    latest = Latest("x", told.append, lambda _: None)
    for one in sets:
        latest.show(one)
        if one:
            assert {found.url for found in told[-1]} == {found.url for found in one}
            assert set(told[-1]) <= set(one)
            assert told[-1][0].priority == min(found.priority for found in one)
        latest.show(reversed(one))
    for one_set in told:
        assert one_set
        assert len({found.url for found in one_set}) == len(one_set)
        assert [*one_set] == sorted(one_set, key=lambda found: (found.priority, found.url))
    assert all(before != after for before, after in itertools.pairwise(told))
