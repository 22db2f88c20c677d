"""Messages of a WebSocket client with certain models only."""

from __future__ import annotations

import pytest

from gateway.websocket.codes import Violation
from gateway.websocket.model_check import ModelCheck

TEXT = 1


def fed(*pieces: bytes) -> tuple[int, bytes] | None:
    check = ModelCheck({"small"}.__contains__)
    said = None
    for number, piece in enumerate(pieces):
        first, final = number == 0, number == len(pieces) - 1
        said = check.feed(TEXT if first else 0, piece, first, final)
    return said


@pytest.mark.parametrize(
    "pieces",
    [
        [b'{"type":"response.create"}'],
        [b'{"type":"response.create","response":{"model":"small"}}'],
        [b'{"type":"session.update","session":{"mo', b'del":"small"}}'],
        [b'{"type":"x","metadata":{"model":"of my car"}}'],
        [b'{"item":{"content":[{"text":"model \\"model\\":\\"big\\""}]}}'],
        [b"the model is big"],
        [b'{"session":{"model":"small"},"response":{"model":"small"}}'],
        [b'{"session":{"tools":[{"name":"f","parameters":{"model":"of my car"}}]}}'],
        [b"\0\1\2 audio"],
    ],
)
def test_a_message_passes_whole_that_names_no_other_model(pieces: list[bytes]) -> None:
    assert fed(*pieces) == (TEXT, b"".join(pieces))


@pytest.mark.parametrize(
    "pieces",
    [
        [b'{"model":"big"}'],
        [b'{"type":"response.create","model":"small","response":{"model":"big"}}'],
        [b'{"type":"session.update","session":{"mo', b'del":"b', b'ig"}}'],
        [b'{"session":{"audio":{"input":{"transcription":{"model":"big"}}}}}'],
        [b'{"\\u006dodel":"big"}'],
        [b'{"Model":"big"}'],
        [b'{"model":"big",}'],
        [b'{"model":"big","model":"small"}'],
        [b'{"session":{"\\u006dodel":"big","model":"small"}}'],
        [b'[{"model":"big"}]'],
        [b'{"session":{"tools":[{"type":"x","model":"big"}]}}'],
        [b'\xef\xbb\xbf{"model":"big"}'],
        [b'{"model":"small","x":[%b]}' % b",".join([b"[]"] * 60_000)],
    ],
)
def test_a_message_that_names_another_model_ends_the_session(pieces: list[bytes]) -> None:
    with pytest.raises(Violation):
        fed(*pieces)
