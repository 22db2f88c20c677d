"""What is masked in a log line, and what is left as it was."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.secrets import Secret
from gateway.masking import Redaction, mask, mask_text
from gateway.telemetry.logs.logger import make_logger

CANARY = "canary7f3a9b"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.c2lnbmF0dXJl"
LEAKS = {
    "bearer": f"Authorization: Bearer {CANARY}",
    "bearer in lower case": f"authorization: bearer {CANARY}",
    "basic": "Authorization: Basic Y2FuYXJ5Ojdm",
    "a header in JSON": f'{{"Authorization": "Token {CANARY}"}}',
    "headers as they are printed": f"((b'Authorization', b'Bearer {CANARY}'), (b'x', b'y'))",
    "x-api-key": f"X-Api-Key: {CANARY}",
    "api-key in a dict": f"{{'api-key': '{CANARY}'}}",
    "cookie": f"Cookie: session={CANARY}; theme={CANARY}",
    "set-cookie in a list": f"[('Set-Cookie', 'session={CANARY}')]",
    "an OpenAI key": f"the key sk-proj-{CANARY} is wrong",
    "a gateway's key": f"sk-gw-ab12-{CANARY}",
    "a JWT": f"token {JWT} has expired",
    "a ticket": f"GET /events?ticket=tk-{CANARY}&x=1",
    "a key in a query": f"https://x.test/v1?api_key={CANARY}#top",
    "a signature": f"https://x.test/v1?a=1&X-Amz-Signature={CANARY}",
    "a password of a URL": f"redis://user:{CANARY}@10.0.0.1:6379/0",
    "a password of nobody": f"redis://:{CANARY}@10.0.0.1:6379/0",
    "a form": f"client_secret={CANARY}&grant_type=x",
}
HARMLESS = [
    "/v1/chat/completions",
    "connection lost: [Errno 104] Connection reset by peer",
    "ann@example.com",
    "corp: the token has expired",
    "A cookie, which is eaten",
    "demo-llama-3.1-8b",
    "http://127.0.0.1:8081",
    "keyed by subject; max_tokens: 5",
    "task-force",
]


@pytest.mark.parametrize("text", LEAKS.values(), ids=LEAKS.keys())
def test_no_secret_is_left_in_a_text(text: str) -> None:
    masked = mask_text(text)
    assert CANARY not in masked
    assert "eyJ" not in masked
    assert "Y2FuYXJ5" not in masked
    assert "***" in masked


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_no_secret_is_left(text: str) -> None:
    assert mask_text(text) == text


def test_what_stands_beside_a_secret_is_left() -> None:
    assert mask(b"GET /a?q=1&token=abc&page=2 from 10.0.0.1") == (
        b"GET /a?q=1&token=***&page=2 from 10.0.0.1"
    )


@given(st.text())
def test_no_text_breaks_it(text: str) -> None:
    assert isinstance(mask_text(text), str)


@pytest.mark.parametrize("console", [True, False])
@pytest.mark.parametrize("text", LEAKS.values(), ids=LEAKS.keys())
def test_no_secret_gets_into_a_line_however_deep_it_is(text: str, console: bool) -> None:
    lines: list[bytes] = []
    logger = make_logger(lines.append, level="debug", console=console)
    logger.info("request", path=text, subject=f"{text}\n" * 20)
    logger.warning(
        "x",
        reason=text,
        nested=[{"a": (text, {"b": text})}],
        authorization=CANARY,
        headers={"Cookie": CANARY, "X-API-Key": CANARY},
        error=ValueError(text),
        data=text.encode(),
    )
    try:
        raise RuntimeError(text)
    except RuntimeError:
        logger.exception("unhandled")
    assert len(lines) == 3
    whole = b"".join(lines)
    assert CANARY.encode() not in whole
    assert b"eyJ" not in whole
    if not console:
        assert all(json.loads(line) for line in lines)


def test_what_is_no_text_keeps_its_type() -> None:
    lines: list[bytes] = []
    logger = make_logger(lines.append, level="info", console=False)
    logger.info("x", status=200, ok=True, none=None, rate=0.5, names=["a", 1, None])
    line = json.loads(lines[0])
    assert (line["status"], line["ok"], line["none"], line["rate"]) == (200, True, None, 0.5)
    assert line["names"] == ["a", 1, None]


def test_a_secret_of_the_configuration_stays_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARY", CANARY)
    lines: list[bytes] = []
    make_logger(lines.append, level="info", console=False).info(
        "x", secret=Secret.model_validate({"env": "CANARY"})
    )
    assert CANARY.encode() not in lines[0]


def test_content_is_redacted_by_the_operator_too() -> None:
    redact = Redaction([r"\b\d{4}-\d{4}\b"])
    text = f"Mail ann.b@example.co.uk or call 1234-5678, key sk-{CANARY}; 12-34 is fine"
    assert redact(text) == "Mail *** or call ***, key ***; 12-34 is fine"
