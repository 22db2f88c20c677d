"""The model field of a form."""

from __future__ import annotations

import email
import email.policy
import re

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gateway.errors import RequestError
from gateway.request_body.multipart import boundary_of, find_model_field

BOUNDARY = b"x1y2"
names = st.from_regex(r"[a-z_\[\]]{1,12}", fullmatch=True).filter(lambda name: name != "model")


def part(name: str, value: bytes, extra: str = "") -> bytes:
    head = f'Content-Disposition: form-data; name="{name}"{extra}\r\n\r\n'
    return b"--" + BOUNDARY + b"\r\n" + head.encode() + value + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--" + BOUNDARY + b"--\r\n"


def as_email_has_it(body: bytes) -> list[bytes]:
    """The values of all fields named model, as the standard library reads the form."""
    message = email.message_from_bytes(
        b"Content-Type: multipart/form-data; boundary=" + BOUNDARY + b"\r\n\r\n" + body,
        policy=email.policy.HTTP,
    )
    if not message.is_multipart():
        return []
    values = [
        item.get_payload(decode=True)
        for item in message.iter_parts()
        if item.get_param("name", header="content-disposition") == "model"
    ]
    return [value for value in values if isinstance(value, bytes)]


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
    assert as_email_has_it(body) == [model.encode()]


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
        ("multipart/form-data; boundary=" + "x" * 70, b"x" * 70),
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
    with pytest.raises(RequestError, match="one plain boundary"):
        boundary_of(content_type)


corners = st.sampled_from(
    [
        *(b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b"--", b";", b'"', b"\\", b"%22", b"\xff"),
        *(b"x1y2", b"--x1y2", b"--x1y2--", b"\r\n--x1y2\r\n", b"\n--x1y2\n", b"\r\n\r\n"),
        *(b'name="model"', b"name=model", b"name*=utf-8''model", b"name*0=mo;name*1=del"),
        *(b"Content-Disposition: form-data; ", b"filename=", b"X: y\r\n", b"\r\n folded"),
    ]
)
edits = st.lists(st.tuples(st.integers(0, 300), st.integers(0, 8), corners), min_size=1, max_size=4)


@settings(max_examples=400)
@given(st.permutations([MODEL, FILE, part("note", b"model")]), st.integers(1, 3), edits)
def test_a_form_that_was_tampered_with_is_refused_or_means_what_we_read(
    parts: list[bytes], count: int, changes: list[tuple[int, int, bytes]]
) -> None:
    body = form(*parts[:count])
    for place, length, corner in changes:
        place %= len(body) + 1
        body = body[:place] + corner + body[place + length :]
    try:
        start, end = find_model_field(body, BOUNDARY)
    except RequestError:
        return
    assert as_email_has_it(body) == [body[start:end]]


@given(
    st.text("AZaz09'()+_,-./:=?", min_size=1, max_size=70),
    st.binary(max_size=40),
    st.booleans(),
)
def test_every_boundary_of_rfc_2046_is_read_and_found(text: str, file: bytes, last: bool) -> None:
    boundary = boundary_of(f'multipart/form-data; boundary="{text}"')
    assert boundary == text.encode()
    assume(b"--" + boundary not in file)
    parts = [
        b"--%b\r\nContent-Disposition: form-data; name=%b\r\n\r\n%b\r\n" % (boundary, name, value)
        for name, value in ((b"model", b"whisper"), (b"file", file))
    ]
    body = b"".join(parts[::-1] if last else parts) + b"--%b--" % boundary
    for ending in (b"", b"\r\n"):
        start, end = find_model_field(body + ending, boundary)
        assert body[start:end] == b"whisper"


@pytest.mark.parametrize(
    "corner",
    [
        b"\n--x1y2\n",
        b"\r--x1y2\r",
        b"\r\n--x1y2 \r\n",
        b"\r\n--x1y2\n",
        b"--x1y2",
        b"\r\n--x1y2--\r\n",
    ],
)
def test_a_boundary_that_not_every_parser_takes_for_one_is_refused(corner: bytes) -> None:
    other = b'Content-Disposition: form-data; name="model"\r\n\r\nother'
    for body in (form(MODEL, part("note", b"a" + corner + other)), form(part("model", corner))):
        with pytest.raises(RequestError) as caught:
            find_model_field(body, BOUNDARY)
        assert caught.value.code == "invalid_form"


@pytest.mark.parametrize("place", ["before", "behind"])
def test_a_model_inside_a_file_is_not_the_model(place: str) -> None:
    inner = b'--in\r\nContent-Disposition: form-data; name="model"\r\n\r\nother\r\n--in--\r\n'
    file = part("file", inner, '; filename="a"\r\nContent-Type: multipart/mixed; boundary=in')
    body = form(file, MODEL) if place == "before" else form(MODEL, file)
    start, end = find_model_field(body, BOUNDARY)
    assert body[start:end] == b"whisper"


@pytest.mark.parametrize(
    "disposition",
    [
        'form-data; name="model"',
        "form-data; name=model",
        'FORM-DATA; NAME="model"',
        'form-data;name="model"',
        'form-data ; name="model" ; filename="m.txt"',
    ],
)
def test_the_plain_spellings_of_a_disposition_are_read(disposition: str) -> None:
    line = f"--x1y2\r\nContent-Disposition: {disposition}\r\n\r\nwhisper\r\n"
    body = form(line.encode())
    start, end = find_model_field(body, BOUNDARY)
    assert body[start:end] == b"whisper"


@pytest.mark.parametrize(
    "head",
    [
        "Content-Disposition: form-data; name*=utf-8''model",
        'Content-Disposition: form-data; name*0="mo"; name*1="del"',
        'Content-Disposition: form-data; name="mo\\"del"',
        "Content-Disposition: form-data; name=\"a\"; name*=utf-8''model",
        'X: y\nContent-Disposition: form-data; name="model"\r\n'
        'Content-Disposition: form-data; name="a"',
        "Content-Disposition: form-data",
        'Content-Disposition: attachment; name="model"',
        'Content-Disposition : form-data; name="model"',
        'Content-Disposition: form-data;\r\n name="model"',
        'Content-Disposition: form-data; name="a"\r\nContent-Disposition: form-data; name="model"',
        'Content-Disposition: form-data; name="a"\nContent-Disposition: form-data; name="model"',
        'Content-Disposition: form-data; name="model\0"',
        "Content-Type: text/plain",
        "",
    ],
)
def test_a_head_that_is_not_plain_is_refused(head: str) -> None:
    odd = f"--x1y2\r\n{head}\r\n\r\nother\r\n".encode()
    for body in (form(odd), form(MODEL, odd), form(odd, MODEL)):
        with pytest.raises(RequestError) as caught:
            find_model_field(body, BOUNDARY)
        assert caught.value.code == "invalid_form"


words = ["boundary=", "Boundary=", "boundary", "x=", ";", "; ", '"', "=", ",", " ", "a", "b", "é"]


@settings(max_examples=400)
@given(st.lists(st.sampled_from(words), max_size=8).map("".join))
def test_any_parameters_have_a_boundary_as_it_stands_there_or_are_refused(text: str) -> None:
    try:
        boundary = boundary_of(f"multipart/form-data; {text}")
    except RequestError:
        return
    assert 0 < len(boundary) <= 70
    value = re.escape(boundary.decode("ascii"))
    assert re.search(f'(?i:boundary) *= *"?{value}', text)


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data; charset=utf-7; boundary=x1y2",
        "multipart/form-data; charset=utf-16; boundary=x1y2",
        r'multipart/form-data; boundary="a\\b"',
        "multipart/form-data; boundary=<abc>",
        'multipart/form-data; x="a; boundary=evil"; boundary=b',
        "multipart/form-data; boundary*0=a; boundary*1=b",
        "multipart/form-data; boundary*=utf-8''abc",
        'multipart/form-data; boundary="x',
        "multipart/form-data; boundary=a b",
    ],
)
def test_parameters_that_parsers_disagree_on_are_refused(content_type: str) -> None:
    with pytest.raises(RequestError):
        boundary_of(content_type)


@pytest.mark.parametrize("encoding", ["binary", "8bit", "7bit", "Binary "])
def test_a_transfer_encoding_that_changes_nothing_is_passed_over(encoding: str) -> None:
    head = 'Content-Disposition: form-data; name="model"'
    line = f"Content-Transfer-Encoding: {encoding}"
    for lines in (f"{head}\r\n{line}", f"{line}\r\n{head}"):
        body = form(b"--" + BOUNDARY + f"\r\n{lines}\r\n\r\nm\r\n".encode())
        start, end = find_model_field(body, BOUNDARY)
        assert body[start:end] == b"m"


@pytest.mark.parametrize("encoding", ["base64", "quoted-printable", "x", ""])
def test_a_model_in_another_transfer_encoding_is_refused(encoding: str) -> None:
    head = f'Content-Disposition: form-data; name="model"\r\nContent-Transfer-Encoding: {encoding}'
    body = form(b"--" + BOUNDARY + f"\r\n{head}\r\n\r\nbQ==\r\n".encode())
    with pytest.raises(RequestError):
        find_model_field(body, BOUNDARY)
