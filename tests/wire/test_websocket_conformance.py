"""W1 to W3: RFC 6455 as raw frames, after the groups of Autobahn's test suite (1 to 7, and 10).

The client speaks to the gateway, behind which an upstream says everything back.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import pytest

from tests.support.client import RawClient
from tests.support.figures import Report
from tests.support.gateway import RunningGateway, StartGateway
from tests.support.upstream import ScriptedUpstream
from tests.support.websocket import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Heard,
    close,
    config,
    echo,
    frame,
    hear,
    opened,
)

_WHOLE = 1 << 30
BYE = close()
GREEK = "κόσμε"
INVALID_UTF8 = (
    b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",
    b"\x80",
    b"\xbf",
    b"\xc0\xaf",
    b"\xe0\x80\xaf",
    b"\xf0\x80\x80\xaf",
    b"\xf8\x88\x80\x80\x80",
    b"\xfe",
    b"\xff",
    b"\xed\xa0\x80",
    b"\xed\xbf\xbf",
    b"\xf4\x90\x80\x80",
    b"\xe2\x82",
    b"a\xf0\x9f\x98",
)
VALID_UTF8 = (
    GREEK.encode(),
    b"\x00",
    "\u0080\u07ff\u0800\ud7ff\ue000\uffff\U00010000\U0010ffff".encode(),
    "\ufffe\ufdd0".encode(),
)
VALID_CODES = (*range(1000, 1004), *range(1007, 1015), 3000, 3999, 4000, 4999)
INVALID_CODES = (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)


@pytest.fixture
async def gateway(start_gateway: StartGateway) -> AsyncIterator[RunningGateway]:
    async with ScriptedUpstream(echo) as upstream:
        yield await start_gateway(config(upstream.url))


async def said(gateway: RunningGateway, data: bytes, chop: int = _WHOLE) -> Heard:
    """What comes back to these bytes, sent in pieces of this size."""
    async with RawClient(gateway.port) as client:
        await opened(client)
        for at in range(0, len(data), chop):
            await client.send(data[at : at + chop])
        heard = await hear(client)
        assert await client.read_to_end() == b""
        return heard


def texts(*payloads: bytes | str) -> list[tuple[int, bytes]]:
    return [(TEXT, p.encode() if isinstance(p, str) else p) for p in payloads]


def fragments(*payloads: bytes, opcode: int = TEXT) -> bytes:
    """A message in these fragments."""
    last = len(payloads) - 1
    return b"".join(
        frame(payload, CONTINUATION if number else opcode, fin=number == last)
        for number, payload in enumerate(payloads)
    )


SERVED: Mapping[str, tuple[bytes, list[tuple[int, bytes]], list[bytes]]] = {
    **{
        f"1 {name} of {size}": (frame(size * b"*", opcode), [(opcode, size * b"*")], [])
        for name, opcode in (("text", TEXT), ("binary", BINARY))
        for size in (0, 1, 125, 126, 127, 128, 65535, 65536, 200_000)
    },
    "2.1 a ping of nothing": (frame(b"", PING), [], [b""]),
    "2.3 a ping of bytes": (frame(b"\x00\xff\xfe", PING), [], [b"\x00\xff\xfe"]),
    "2.4 a ping of 125": (frame(125 * b"x", PING), [], [125 * b"x"]),
    "2.7 a pong nobody asked for": (frame(b"x", PONG), [], []),
    "2.10 ten pings": (
        b"".join(frame(b"%d" % n, PING) for n in range(10)),
        [],
        [b"%d" % n for n in range(10)],
    ),
    "5.3 two fragments": (fragments(b"one", b"two"), texts("onetwo"), []),
    "5.6 a ping between fragments": (
        frame("one", fin=False) + frame(b"!", PING) + frame("two", CONTINUATION),
        texts("onetwo"),
        [b"!"],
    ),
    "5.19 five fragments, pings between": (
        frame("1", fin=False)
        + frame(b"a", PING)
        + frame("2", CONTINUATION, fin=False)
        + frame("3", CONTINUATION, fin=False)
        + frame(b"b", PING)
        + frame("4", CONTINUATION, fin=False)
        + frame("5", CONTINUATION),
        texts("12345"),
        [b"a", b"b"],
    ),
    "6.1 empty fragments": (fragments(b"", b"", b""), texts(""), []),
    "6.1 empty around something": (fragments(b"", b"middle", b""), texts("middle"), []),
    **{f"6 valid text {i}": (frame(t), texts(t), []) for i, t in enumerate(VALID_UTF8)},
    **{
        f"6 valid text {i}, a fragment a byte": (
            fragments(*(bytes([byte]) for byte in text)),
            texts(text),
            [],
        )
        for i, text in enumerate(VALID_UTF8)
    },
    "10.1 64 KiB in fragments of 1300": (
        fragments(*((65536 * b"*")[at : at + 1300] for at in range(0, 65536, 1300))),
        texts(65536 * b"*"),
        [],
    ),
}


@pytest.mark.parametrize("chop", [_WHOLE, 997, 1], ids=["whole", "in 997s", "byte by byte"])
async def test_w1_what_is_valid_goes_both_ways_as_it_is(
    gateway: RunningGateway, chop: int, report: Report
) -> None:
    served = 0
    for name, (data, messages, pongs) in SERVED.items():
        if chop == 1 and len(data) > 1000:
            continue
        heard = await said(gateway, data + BYE, chop)
        assert heard == Heard(messages, pongs, 1000, ""), name
        served += 1
    report("W1", f"valid cases served, chopped at {chop if chop < _WHOLE else 'no'} bytes", served)


BROKEN: Mapping[str, tuple[bytes, int]] = {
    "2.5 a ping of 126": (frame(126 * b"x", PING), 1002),
    **{f"3 rsv {rsv}": (frame("x", rsv=rsv), 1002) for rsv in range(1, 8)},
    "3.5 rsv on a ping": (frame(b"x", PING, rsv=1), 1002),
    "3.7 rsv on a close": (close(rsv=4), 1002),
    **{f"4 opcode {n}": (frame("x", n), 1002) for n in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
    "5.1 a ping in fragments": (frame(b"x", PING, fin=False) + frame("y", CONTINUATION), 1002),
    "5.2 a pong in fragments": (frame(b"x", PONG, fin=False) + frame("y", CONTINUATION), 1002),
    "5.9 a continuation of nothing": (frame("x", CONTINUATION), 1002),
    "5.10 one that is not the last": (frame("x", CONTINUATION, fin=False), 1002),
    "5.15 a fragment after the message": (fragments(b"a", b"b") + frame("c", CONTINUATION), 1002),
    "5.18 a message within another": (frame("a", fin=False) + frame("b"), 1002),
    "5.18 and after an empty fragment": (frame("", fin=False) + frame("b"), 1002),
    **{f"6 invalid text {i}": (frame(text), 1007) for i, text in enumerate(INVALID_UTF8)},
    **{
        f"6 invalid text {i}, in two": (fragments(text[:1], text[1:]), 1007)
        for i, text in enumerate(INVALID_UTF8)
    },
    "6.4 invalid before the end": (frame(b"a\xf4\x90", fin=False), 1007),
    "7.3.2 half a code": (frame(b"\x03", CLOSE), 1002),
    "7.3.6 a reason that is too long": (close(1000, 124 * b"x"), 1002),
    "7.5 a reason that is no text": (close(1000, b"\xff"), 1007),
    **{f"7.9 code {code}": (close(code), 1002) for code in INVALID_CODES},
    "not masked": (frame("x", mask=None), 1002),
    "a control frame that is not masked": (frame(b"x", PING, mask=None), 1002),
    "a length of 125 in 16 bits": (b"\x81\xfe\x00\x7d\0\0\0\0" + 125 * b"x", 1002),
    "a length of 65535 in 64 bits": (b"\x81\xff" + (65535).to_bytes(8, "big") + 4 * b"\0", 1002),
    "a length with its highest bit": (b"\x82\xff\x80" + 7 * b"\0" + 4 * b"\0", 1002),
}


@pytest.mark.parametrize("chop", [_WHOLE, 1], ids=["whole", "byte by byte"])
async def test_w2_what_breaks_a_rule_is_told_by_its_code_after_what_came_before(
    gateway: RunningGateway, chop: int, report: Report
) -> None:
    codes = []
    for name, (data, code) in BROKEN.items():
        heard = await said(gateway, frame("before") + data, chop)
        # What came before was passed on; whether its echo comes before the end is open.
        assert heard.messages in ([], texts("before")), name
        assert heard.code == code, name
        codes.append(heard.code)
    report("W2", f"violations closed with the right code, of {len(BROKEN)}", len(codes))


async def test_w1_7_close_frames_are_answered_alike_and_nothing_after_them_is_heard(
    gateway: RunningGateway,
) -> None:
    for code in VALID_CODES:
        heard = await said(gateway, close(code, "why"))
        assert (heard.code, heard.reason) == (code, "why")
    assert (await said(gateway, close(None))).code == 1005
    assert (await said(gateway, close(1000, 123 * b"x"))).reason == 123 * "x"
    heard = await said(gateway, frame("1") + BYE + frame("2") + frame(b"", PING))
    assert heard == Heard(texts("1"), [], 1000, "")


@pytest.mark.parametrize("length", [16 * 1024**2 + 1, 2**62, 2**63 - 1])
async def test_w3_a_message_that_is_announced_too_large_is_1009_before_it_comes(
    gateway: RunningGateway, length: int, report: Report
) -> None:
    heard = await said(gateway, frame(b"x" * 100, BINARY, length=length))
    assert heard.code == 1009
    assert "16777216" in heard.reason
    report("W3", f"length {length}, close code", heard.code)


async def test_a_message_grows_too_large_by_its_fragments(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(echo) as upstream:
        gateway = await start_gateway(config(upstream.url, max_message="1KiB"))
        whole = await said(gateway, fragments(512 * b"a", 512 * b"b") + BYE)
        assert whole.messages == texts(512 * b"a" + 512 * b"b")
        assert (await said(gateway, fragments(512 * b"a", 512 * b"b", b"c"))).code == 1009
