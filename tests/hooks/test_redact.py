"""Redaction of personal data: the state machine with a search of its own, and Presidio."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.passages import Passage, PassageKind
from gateway.hooks.content import Edit, HookedRequest, TextWindow
from gateway.hooks.recorded import RecordedRedaction
from gateway.hooks.redact import Find, RedactOptions, Redactor, RedactorNotMade, presidio
from gateway.hooks.windows import WindowBuffer
from gateway.telemetry.traces.recording import TraceRecords
from gateway.wiring import hooks
from tests.support.client import ask, request
from tests.support.gateway import StartGateway, simple_config
from tests.support.hooks import DONE, an_exchange, chunk_of, event_of, text_of
from tests.support.upstream import ScriptedUpstream, json_reply
from tests.support.waiting import eventually

CARD = re.compile(r"\d{4}( \d{4}){3}")
MAIL = re.compile(r"[\w.]+@[\w.]+\w")


def options(**changed: object) -> RedactOptions:
    defaults: dict[str, object] = {
        "entities": ("EMAIL_ADDRESS", "CREDIT_CARD"),
        "replacement": "<{entity}>",
        "score": 0.4,
        "language": "en",
        "model": None,
        "judges_requests": True,
        "judges_answers": True,
        "window_chars": 16,
    }
    return RedactOptions(**{**defaults, **changed})  # type: ignore[arg-type]


def find(text: str) -> list[Edit]:
    found = [Edit(*one.span(), "<CARD>") for one in CARD.finditer(text)]
    found += [Edit(*one.span(), "<MAIL>") for one in MAIL.finditer(text)]
    return sorted(found, key=lambda edit: edit.start)


def plainly(text: str) -> str:
    return MAIL.sub("<MAIL>", CARD.sub("<CARD>", text))


WORDS = ["bob@example.com", "4111 1111 1111 1111", "hello", "there", "4111"]


@given(st.lists(st.sampled_from(WORDS), max_size=12), st.data(), st.integers(1, 40))
def test_data_is_redacted_wherever_a_stream_is_cut(
    words: list[str], data: st.DataObject, chars: int
) -> None:
    text = " ".join(f"x {word} y" for word in words)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=12)))
    ends = [0, *cuts, len(text)]
    redactor = Redactor(options(window_chars=chars), find)
    assert redactor.on_window is not None
    buffer = WindowBuffer(chars, an_exchange())
    sent = b""

    def judged(*, is_final: bool) -> bytes:
        windows = buffer.windows(is_final=is_final)
        for _, window in windows:
            assert redactor.on_window is not None
            assert redactor.on_window(window) is None
        return b"".join(event.rendered() for event in buffer.release(windows))

    for start, end in itertools.pairwise(ends):
        buffer.add(event_of(chunk_of(text[start:end])))
        if buffer.is_due:
            sent += judged(is_final=False)
    sent += judged(is_final=True)
    assert text_of(sent) == plainly(text)


@given(st.lists(st.sampled_from(WORDS), max_size=300))
def test_long_texts_are_redacted_piece_by_piece(words: list[str]) -> None:
    text = ", ".join(words)
    assert asyncio.run(Redactor(options(), find).redacted(text)) == plainly(text)


def test_text_that_is_held_is_bounded() -> None:
    redactor = Redactor(options(), find)
    window = TextWindow("x" * 5000, "", PassageKind.TEXT, an_exchange(), is_final=False)
    window_of_few = TextWindow(window.text[:900], "", window.kind, window.exchange, is_final=False)
    assert redactor.on_window is not None
    redactor.on_window(window_of_few)
    assert 0 < window_of_few.held_chars <= 304


async def test_a_long_request_is_redacted_while_other_work_goes_on() -> None:
    text = "hello bob@example.com. " * 1000
    passage = Passage(text, text, PassageKind.TEXT, "user")
    redactor = Redactor(options(), find)
    assert redactor.on_request is not None
    waiting = redactor.on_request(HookedRequest([passage], an_exchange(), {}))
    assert waiting is not None
    await waiting
    assert passage.text == plainly(text)


async def test_recorded_content_is_redacted() -> None:
    redaction = RecordedRedaction([Redactor(options(), find)])
    prompt = b'{"messages":[{"role":"user","content":"I am bob@example.com"}]}'
    assert await redaction.prompt(prompt) == prompt.decode().replace("bob@example.com", "<MAIL>")
    cut = prompt[:-4]  # a prompt that was too long to be recorded whole
    assert await redaction.prompt(cut) == cut.decode().replace("bob@example.com", "<MAIL>")
    stream = b"".join(chunk_of(one) for one in ("I am bob@exa", "mple", ".com.")) + DONE
    told = await redaction.answer(stream + b'data: {"cut', an_exchange())
    assert text_of(told.encode()) == "I am <MAIL>."
    assert "cut" not in told
    whole = b'{"choices":[{"message":{"content":"bob@example.com"}}]}'
    assert "bob" not in await redaction.answer(whole, an_exchange())


def test_a_missing_library_is_told_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "presidio_analyzer", None)
    with pytest.raises(RedactorNotMade, match="extra `pii`"):
        presidio(options())


def test_presidio_redacts_without_a_model() -> None:
    found = presidio(
        options(entities=("EMAIL_ADDRESS", "CREDIT_CARD", "IBAN_CODE", "PHONE_NUMBER"))
    )
    text = (
        "bob@example.com pays 4111 1111 1111 1111 to DE89 3704 0044 0532 0130 00, "
        "call +1 212-555-0123"
    )
    redacted = asyncio.run(Redactor(options(), found).redacted(text))
    assert redacted == "<EMAIL_ADDRESS> pays <CREDIT_CARD> to <IBAN_CODE>, call <PHONE_NUMBER>"


def test_an_entity_that_presidio_does_not_know_is_told() -> None:
    with pytest.raises(RedactorNotMade, match="does not recognize PERSON; names of people"):
        presidio(options(entities=("PERSON", "EMAIL_ADDRESS")))


def test_a_model_that_is_not_installed_is_told_and_not_downloaded() -> None:
    with pytest.raises(RedactorNotMade, match="'no_such_model' is not installed"):
        presidio(options(model="no_such_model"))


@pytest.mark.parametrize("where", [["request", "answer"], ["recorded"]])
async def test_a_route_redacts_its_traffic_or_what_is_recorded(
    start_gateway: StartGateway, monkeypatch: pytest.MonkeyPatch, where: list[str]
) -> None:
    made: list[RedactOptions] = []

    def search(options: RedactOptions) -> Find:
        made.append(options)
        return find

    monkeypatch.setattr(hooks, "presidio", search)
    records: list[Mapping[str, Any]] = []
    monkeypatch.setattr(TraceRecords, "add", lambda _, record: records.append(record))
    body = {"model": "m", "messages": [{"role": "user", "content": "I am bob@example.com"}]}
    raw = request("POST", "/v1/chat/completions", body=json.dumps(body).encode())
    reply = json_reply({"choices": [{"message": {"content": "Hi bob@example.com"}}]})
    async with ScriptedUpstream(reply) as upstream:
        traces = {"content": True, "sample": 1}
        config = {
            **simple_config(upstream.url, models=["m"], hooks=["pii"], traces=traces),
            "models": {"m": {"upstream": "main"}},
            "hooks": {"pii": {"type": "redact", "where": where}},
            "telemetry": {"log": {"format": "json"}, "traces": {"sample": 1}},
        }
        gateway = await start_gateway(config)
        response = await ask(gateway.port, raw, "POST")
        await eventually(lambda: records)
        await gateway.server.prepare(gateway.config)
        gateway.server.commit()
    traffic = upstream.requests[0].body + response.body
    assert (b"bob" in traffic) is (where == ["recorded"])
    content = records[0]["content"]
    assert "<MAIL>" in content["prompt"]
    assert "<MAIL>" in content["answer"]
    assert len(made) == 1  # a reload keeps what took seconds to load
