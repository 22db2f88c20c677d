"""What is believed of trace headers: what is well-formed, and no more than there is room for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.telemetry.traces.context import clean_baggage, clean_state, parse_parent

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GOOD = f"00-{TRACE}-{SPAN}-01"
MALFORMED = {
    "empty": "",
    "no dashes": GOOD.replace("-", ""),
    "upper case": GOOD.upper(),
    "trace of zeros": f"00-{'0' * 32}-{SPAN}-01",
    "span of zeros": f"00-{TRACE}-{'0' * 16}-01",
    "version ff": f"ff-{TRACE}-{SPAN}-01",
    "version 00 with more": f"{GOOD}-x",
    "short trace": f"00-{TRACE[1:]}-{SPAN}-01",
    "long span": f"00-{TRACE}-{SPAN}0-01",
    "no flags": f"00-{TRACE}-{SPAN}",
    "bad flags": f"00-{TRACE}-{SPAN}-zz",
    "other digits": f"00-{chr(0x660) * 32}-{SPAN}-01",
    "line break": f"{GOOD}\n",
    "8 KiB": "00-" + "a" * 8192,
}


@pytest.mark.parametrize("value", [v for k, v in MALFORMED.items() if k != "line break"])
def test_a_malformed_parent_is_none(value: str) -> None:
    assert parse_parent([value]) is None


def test_a_parent_is_its_trace_its_span_and_whether_it_is_sampled() -> None:
    assert parse_parent([GOOD]) == (TRACE, SPAN, True)
    assert parse_parent([GOOD[:-2] + "00"]) == (TRACE, SPAN, False)
    assert parse_parent([GOOD[:-2] + "03"]) == (TRACE, SPAN, True)


def test_a_later_version_is_read_as_far_as_it_is_known() -> None:
    assert parse_parent([f"01-{TRACE}-{SPAN}-01-more"]) == (TRACE, SPAN, True)


def test_several_parents_are_none() -> None:
    assert parse_parent([GOOD, GOOD]) is None
    assert parse_parent([]) is None


@given(st.text(max_size=100))
def test_no_text_breaks_it(text: str) -> None:
    parent = parse_parent([text])
    assert parent is None or len(parent.trace_id) == 32
    assert len(clean_state([text])) <= 512
    assert clean_baggage([text]).isascii()


@pytest.mark.parametrize(
    ("values", "kept"),
    [
        (["a=1"], "a=1"),
        (["a=1,b=2", "c=3"], "a=1,b=2,c=3"),
        ([" a=1 ,\tb=2,, "], "a=1,b=2"),
        (["tenant@system=x y"], "tenant@system=x y"),
        (["a=1,a=2"], ""),
        (["a"], ""),
        (["A=1"], ""),
        (["a=1=2"], ""),
        (["a=\x01"], ""),
        (["a=é"], ""),
        ([",".join(f"k{n}=1" for n in range(33))], ""),
        (["x" * 9000], ""),
        ([], ""),
    ],
)
def test_a_state_is_passed_on_if_it_is_well_formed(values: list[str], kept: str) -> None:
    assert clean_state(values) == kept


def test_of_a_long_state_the_newest_members_are_kept() -> None:
    members = [f"k{n}={'x' * 60}" for n in range(20)]
    kept = clean_state([",".join(members)])
    assert kept == ",".join(members[:8])
    assert len(kept) <= 512


@pytest.mark.parametrize("value", ["a=1", "user=ann, plan=gold;x=1"])
def test_baggage_is_passed_on(value: str) -> None:
    assert clean_baggage([value]) == value


@pytest.mark.parametrize("value", ["x" * 8193, "é", "a\x00b"])
def test_what_is_no_baggage_is_not(value: str) -> None:
    assert clean_baggage([value]) == ""
