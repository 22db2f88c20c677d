"""Files of JSON lines: what was written is read back, however a file ends."""

from __future__ import annotations

import gzip
import io
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.prompt_audit.data_keys import NoKey, SecretKey
from gateway.prompt_audit.line_file import CutOff, Damaged, LineWriter, read_lines

KEY = SecretKey("k", bytes(range(32)))
OTHER = SecretKey("other", bytes(32))
FORMS = [(False, ()), (True, ()), (False, (KEY,)), (True, (KEY,))]
LINE = st.binary(max_size=200).filter(lambda line: b"\n" not in line)


def written(
    batches: Sequence[Sequence[bytes]], *, gzip: bool, keys: Sequence[SecretKey], ends: bool = True
) -> list[bytes]:
    """Return the pieces of a file, in order."""
    writer = LineWriter(gzip=gzip, keys=keys)
    pieces = [writer.head]
    pieces += [writer.feed(b"".join(line + b"\n" for line in batch)) for batch in batches]
    return [*pieces, writer.finish()] if ends else pieces


def read(data: bytes, *keys: SecretKey) -> tuple[list[bytes], bool]:
    """Return the lines of a file, and True if it is complete."""
    lines: list[bytes] = []
    try:
        for line in read_lines(io.BytesIO(data), keys or (KEY,)):
            lines.append(line)
    except CutOff:
        return lines, False
    return lines, True


@given(st.lists(st.lists(LINE, min_size=1, max_size=5), max_size=5), st.sampled_from(FORMS))
def test_lines_are_read_as_they_were_written(
    batches: list[list[bytes]], form: tuple[bool, tuple[SecretKey, ...]]
) -> None:
    data = b"".join(written(batches, gzip=form[0], keys=form[1]))
    assert read(data) == ([line for batch in batches for line in batch], True)


@given(
    st.lists(st.lists(LINE, min_size=1, max_size=4), min_size=1, max_size=4),
    st.sampled_from(FORMS),
    st.floats(0, 1),
)
def test_a_file_that_is_cut_off_anywhere_is_read_up_to_its_last_whole_batch(
    batches: list[list[bytes]], form: tuple[bool, tuple[SecretKey, ...]], share: float
) -> None:
    pieces = written(batches, gzip=form[0], keys=form[1], ends=False)
    data = b"".join(pieces)
    end = round(share * len(data))
    kept = size = 0
    for number, piece in enumerate(pieces):
        size += len(piece)
        if size <= end:
            kept = number
    lines, complete = read(data[:end])
    all_lines = [line for batch in batches for line in batch]
    assert lines == all_lines[: len(lines)]
    assert len(lines) >= sum(len(batch) for batch in batches[:kept])
    if form != (False, ()) and (end or form[1]):
        assert not complete or not end


@pytest.mark.parametrize("form", FORMS)
def test_an_empty_file_has_no_lines(form: tuple[bool, tuple[SecretKey, ...]]) -> None:
    assert read(b"".join(written([], gzip=form[0], keys=form[1]))) == ([], True)


def test_a_compressed_file_is_ordinary_gzip() -> None:
    data = b"".join(written([[b"a"], [b"b"]], gzip=True, keys=()))
    assert gzip.decompress(data) == b"a\nb\n"
    assert read(data + data) == ([b"a", b"b", b"a", b"b"], True)


def test_a_sealed_file_shows_nothing_of_its_lines_but_the_ids_of_its_keys() -> None:
    data = b"".join(written([[b"very secret words"]], gzip=False, keys=(KEY, OTHER)))
    assert b"secret words" not in data
    head = data[: data.index(b"\n")]
    assert b'"key":"k"' in head
    assert b'"key":"other"' in head
    assert read(data, OTHER) == ([b"very secret words"], True)


def test_a_batch_larger_than_a_frame_is_sealed_in_several() -> None:
    line = b"x" * (17 * 1024**2)
    data = b"".join(written([[line]], gzip=False, keys=(KEY,)))
    assert read(data) == ([line], True)


def test_equal_lines_are_sealed_differently_in_each_file() -> None:
    one, other = (b"".join(written([[b"same"]], gzip=False, keys=(KEY,))) for _ in range(2))
    assert one[-40:] != other[-40:]


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_no_changed_byte_of_a_sealed_file_passes(at: int, change: int) -> None:
    data = bytearray(b"".join(written([[b"one"], [b"two"]], gzip=False, keys=(KEY,))))
    begin = len(b'{"format":"llm-gateway-sealed"')  # what tells that it is a sealed file
    data[begin + at % (len(data) - begin)] ^= change
    lines: list[bytes] = []

    def read_all() -> None:
        for line in read_lines(io.BytesIO(data), [KEY]):
            lines.append(line)

    with pytest.raises((Damaged, NoKey, CutOff)):
        read_all()
    assert lines in ([], [b"one"], [b"one", b"two"])


def test_frames_cannot_change_places() -> None:
    head, one, two, end = written([[b"one"], [b"two"]], gzip=False, keys=(KEY,))
    with pytest.raises(Damaged, match="frame 1 was changed"):
        read(head + two + one + end)
    with pytest.raises(Damaged, match="bytes follow its end"):
        read(head + one + two + end + one)


def test_a_frame_that_is_left_out_at_the_end_is_noticed() -> None:
    head, one, two, end = written([[b"one"], [b"two"]], gzip=False, keys=(KEY,))
    assert read(head + one + two) == ([b"one", b"two"], False)
    with pytest.raises(Damaged):
        read(head + one + end)


@pytest.mark.parametrize(
    ("head", "why"),
    [
        (b'{"format":"llm-gateway-sealed","version":2,"cipher":"A256GCM","keys":[]}', "newer"),
        (b'{"format":"llm-gateway-sealed","version":1,"cipher":"A256GCM","keys":[]}', "no keys"),
        (b'{"format":"llm-gateway-sealed",', "cannot be read"),
        (b'{"format":"llm-gateway-sealed","keys":7,"version":1,"cipher":"A256GCM"}', "be read"),
        (b'{"format":"llm-gateway-sealed"' + b" " * 70_000, "does not end"),
    ],
)
def test_a_first_line_that_cannot_be_used_is_told(head: bytes, why: str) -> None:
    with pytest.raises(Damaged, match=why):
        read(head + b"\n")


def test_data_that_is_no_gzip_is_told() -> None:
    with pytest.raises(Damaged, match="no gzip"):
        read(b"\x1f\x8b" + b"\xff" * 50)
