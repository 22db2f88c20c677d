"""The model field of a form."""

from __future__ import annotations

import email
import email.policy

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gateway.errors import RequestError
from gateway.proxy.multipart import boundary_of, find_model_field

BOUNDARY = b"x1y2"
names = st.from_regex(r"[a-z_\[\]]{1,12}", fullmatch=True).filter(lambda name: name != "model")


def part(name: str, value: bytes, extra: str = "") -> bytes:
    head = f'Content-Disposition: form-data; name="{name}"{extra}\r\n\r\n'
    return b"--" + BOUNDARY + b"\r\n" + head.encode() + value + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--" + BOUNDARY + b"--\r\n"


@given(
    st.lists(st.tuples(names, st.binary(max_size=200)), max_size=5),
    st.from_regex(r"[A-Za-z0-9./-]{1,40}", fullmatch=True),
    st.integers(0, 5),
)
def test_it_is_found_wherever_it_stands(
    fields: list[tuple[str, bytes]], model: str, place: int
) -> None:
    assume(all(b"--" + BOUNDARY not in value for _, value in fields))
    parts = [part(name, value) for name, value in fields]
    parts.insert(min(place, len(parts)), part("model", model.encode()))
    body = form(*parts)
    start, end = find_model_field(body, BOUNDARY)
    assert body[start:end] == model.encode()
    # The standard library's parser agrees.
    message = email.message_from_bytes(
        b"Content-Type: multipart/form-data; boundary=" + BOUNDARY + b"\r\n\r\n" + body,
        policy=email.policy.HTTP,
    )
    found = [
        item.get_payload(decode=True)
        for item in message.iter_parts()
        if item.get_param("name", header="content-disposition") == "model"
    ]
    assert found == [model.encode()]


@given(st.binary(max_size=400))
def test_any_bytes_are_a_field_or_a_request_error(junk: bytes) -> None:
    for body in (junk, b"--" + BOUNDARY + b"\r\n" + junk, form(junk), form(part("model", junk))):
        try:
            start, end = find_model_field(body, BOUNDARY)
        except RequestError:
            continue
        assert 0 <= start <= end <= len(body)


FILE = part("file", b"RIFF", '; filename="a.wav"\r\nContent-Type: audio/wav')
MODEL = part("model", b"whisper")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (form(FILE), "model_required"),
        (form(MODEL, MODEL), "invalid_request"),
        (form(part("model", b"w" * 2000)), "invalid_request"),
        (form(part("model", b"w", "\r\nContent-Transfer-Encoding: base64")), "invalid_form"),
        (b"preamble\r\n" + form(MODEL), "invalid_form"),
        (form(MODEL) + b"epilogue", "invalid_form"),
        (form(MODEL).replace(b"\r\n", b"\n"), "invalid_form"),
        (form(MODEL.replace(b"--x1y2\r\n", b"--x1y2 \r\n")), "invalid_form"),
        (form(part("mod\\el", b"w"), MODEL), "invalid_form"),
        (form(part("a", b"w", '; name="model"'), MODEL), "invalid_form"),
        (form(MODEL)[:-6], "invalid_form"),
        (b"", "invalid_form"),
    ],
)
def test_a_form_that_parsers_disagree_on_is_refused(body: bytes, code: str) -> None:
    with pytest.raises(RequestError) as caught:
        find_model_field(body, BOUNDARY)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("multipart/form-data; boundary=x1y2", b"x1y2"),
        ('multipart/form-data; boundary="x1 y2"', b"x1 y2"),
        ("multipart/form-data; charset=utf-8; BOUNDARY=x", b"x"),
    ],
)
def test_the_boundary_is_read(content_type: str, expected: bytes) -> None:
    assert boundary_of(content_type) == expected


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=a; boundary=b",
        "multipart/form-data; boundary=" + "x" * 71,
    ],
)
def test_a_boundary_that_is_not_one_is_refused(content_type: str) -> None:
    with pytest.raises(RequestError, match="one boundary"):
        boundary_of(content_type)
