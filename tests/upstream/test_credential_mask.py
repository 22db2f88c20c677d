"""The gateway's credential does not leave in an error response."""

from __future__ import annotations

import base64
import gzip
import random
import sys
import zlib
from collections.abc import Callable

import brotli  # type: ignore[import-untyped]
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import GatewayError
from gateway.upstream.credential_mask import CredentialMask, MaskedResponse
from gateway.upstream.head import RawHeader, ResponseHead

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

KEY = "sk-Live_0123456789/abc+DEF="
BASIC = base64.b64encode(b"robot:correct horse").decode()
FIELDS = [
    ("Host", "backend.example"),
    ("Authorization", f"Bearer {KEY}"),
    ("api-key", "azure-0123456789"),
    ("X-Team", "public-name"),
]


class Source:
    silent_s = None

    def pause(self) -> None:
        """Nothing is sent meanwhile."""

    resume = abort = pause

    def fail(self, error: GatewayError) -> None:
        """Nothing has failed."""


class Read:
    def __init__(self) -> None:
        self.data = b""
        self.ended: list[GatewayError | None] = []

    def feed(self, data: bytes) -> None:
        self.data += data

    def finish(self, error: GatewayError | None) -> None:
        self.ended.append(error)


def response(*fields: RawHeader, mask: CredentialMask | None = None) -> MaskedResponse:
    head = ResponseHead(401, b"Unauthorized", list(fields), "1.1")
    return MaskedResponse(head, Source(), mask or CredentialMask(FIELDS))


@pytest.mark.parametrize(
    "form",
    [
        KEY,
        KEY.replace("/", "\\/"),
        "sk-Live_0123456789%2Fabc%2BDEF%3D",
        base64.b64encode(KEY.encode()).decode(),
        base64.urlsafe_b64encode(KEY.encode()).decode().rstrip("="),
        "azure-0123456789",
        "azu****789",
        "azur...6789",
        "az…89",
        "az\\u202689",
    ],
)
def test_every_form_of_a_credential_is_masked_in_its_length(form: str) -> None:
    mask = CredentialMask(FIELDS)
    data = f'{{"error":{{"message":"Incorrect API key provided: {form}."}}}}'.encode()
    masked = mask(data)
    assert len(masked) == len(data)
    assert form.encode() not in masked
    assert b"provided: ***" in masked


@pytest.mark.parametrize("form", [BASIC, "robot:correct horse", "correct horse"])
def test_the_parts_of_a_basic_credential_are_masked(form: str) -> None:
    mask = CredentialMask([("Authorization", f"Basic {BASIC}")])
    assert mask(f"no {form}!".encode()) == b"no " + b"*" * len(form) + b"!"


@pytest.mark.parametrize("text", ["public-name", "backend.example", "sk-…", "ab...cd", "Bearer"])
def test_other_words_stay(text: str) -> None:
    assert CredentialMask(FIELDS)(text.encode()) == text.encode()


def test_there_is_no_mask_without_a_credential() -> None:
    assert not CredentialMask([("Host", "a.example"), ("X-Team", "public-name")])
    assert CredentialMask(FIELDS)


def test_header_fields_are_masked_too() -> None:
    field = (b"WWW-Authenticate", f'Bearer error="{KEY} is unknown"'.encode())
    masked = response(field)
    assert KEY.encode() not in masked.head.lines()
    plain = ResponseHead(401, b"Unauthorized", [(b"Server", b"x")], "1.1")
    assert CredentialMask(FIELDS).head(plain) is plain


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(0, 70_000))
def test_a_credential_is_masked_however_it_is_split(step: int, before: int) -> None:
    data = b"x" * before + b" " + KEY.encode() + b" " + b"y" * 70_000
    masked, read = response(), Read()
    masked.attach(read)
    first = max(0, before - 50)
    masked.feed(data[:first])
    for at in range(first, first + 200, step):
        masked.feed(data[at : min(at + step, first + 200)])
    masked.feed(data[first + 200 :])
    masked.finish(None)
    assert len(read.data) == len(data)
    assert KEY.encode() not in read.data
    assert read.data == data.replace(KEY.encode(), b"*" * len(KEY))
    assert read.ended == [None]


def test_a_body_that_nobody_reads_yet_is_masked() -> None:
    masked = response()
    masked.feed(KEY.encode())
    masked.finish(None)
    assert masked.take_unread() == b"*" * len(KEY)
    assert masked.complete


def twice(data: bytes) -> bytes:
    return brotli.compress(gzip.compress(data))  # type: ignore[no-any-return]


CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstd.compress,
    "gzip, BR": twice,
}


def passed(coding: str, data: bytes, error: GatewayError | None = None) -> tuple[bytes, bool]:
    """What passes of a body in this coding, and whether it ends as it should."""
    masked, read = response((b"Content-Encoding", coding.encode())), Read()
    masked.attach(read)
    masked.feed(data[:7])
    masked.feed(data[7:])
    masked.finish(error)
    return read.data, read.ended == [error]


@pytest.mark.parametrize("coding", CODINGS)
def test_a_compressed_body_with_a_credential_is_broken_off(coding: str) -> None:
    compress = CODINGS[coding]
    assert passed(coding, compress(f"Incorrect API key: {KEY}".encode())) == (b"", False)
    clean = compress(b"No such model")
    assert passed(coding, clean) == (clean, True)


@pytest.mark.parametrize("coding", CODINGS)
def test_a_compressed_body_that_is_cut_off_is_searched(coding: str) -> None:
    noise = random.Random(1).randbytes(3000)
    cut = CODINGS[coding](KEY.encode() + noise)[:-9]
    lost = GatewayError()
    assert passed(coding, cut, lost) in ((b"", True), (cut, True))
    if coding in ("gzip", "deflate"):
        assert passed(coding, cut, lost) == (b"", True)


@pytest.mark.parametrize(
    ("coding", "data"),
    [
        ("gzip", b"not compressed"),
        ("compress", b"a coding that is not known"),
        ("gzip", gzip.compress(bytes(8 * 1024**2))),
        ("zstd", zstd.compress(random.Random(1).randbytes(1024**2 + 1))),
    ],
    ids=["malformed", "unknown", "long when decoded", "long"],
)
def test_a_body_that_cannot_be_searched_is_broken_off(coding: str, data: bytes) -> None:
    assert passed(coding, data) == (b"", False)


def test_the_coding_identity_is_none() -> None:
    assert passed("identity", KEY.encode()) == (b"*" * len(KEY), True)
