"""Close frames."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Close

from gateway.websocket.codes import Closing, Code, Violation, read_closing


@given(st.integers(0, 65535), st.text(max_size=30))
def test_a_code_is_read_where_another_library_would_read_it(code: int, reason: str) -> None:
    payload = code.to_bytes(2, "big") + reason.encode()
    try:
        Close(code, reason).check()
    except Exception:
        with pytest.raises(Violation):
            read_closing(payload)
    else:
        assert read_closing(payload) == Closing(code, reason)
        assert Closing(code, reason).payload == payload


def test_a_frame_without_a_code_stays_one() -> None:
    assert read_closing(b"") == Closing(Code.NO_STATUS)
    assert Closing(Code.NO_STATUS).payload == b""
