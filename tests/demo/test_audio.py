"""Transcriptions of the demo backend, in the wire format of OpenAI's SDK."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

TRANSCRIPTIONS = "/v1/audio/transcriptions"
FILES = {"file": ("a.wav", b"RIFF" * 4000)}
TEXT = "demo-whisper heard 16000 bytes of a.wav."


def events(text: str) -> list[tuple[str, dict[str, object]]]:
    """The names and documents of an event stream."""
    found = []
    for block in text.split("\n\n")[:-1]:
        name, data = block.split("\n")
        found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


async def test_a_transcript_grows_word_by_word_and_ends_with_the_whole(
    client: httpx.AsyncClient,
) -> None:
    form = {"model": "demo-whisper", "stream": "true"}
    response = await client.post(TRANSCRIPTIONS, data=form, files=FILES)
    assert response.headers["content-type"].startswith("text/event-stream")
    *deltas, (last, done) = events(response.text)
    assert [name for name, _ in deltas] == ["transcript.text.delta"] * len(TEXT.split())
    assert all(set(one) == {"type", "delta"} for _, one in deltas)
    assert "".join(str(one["delta"]) for _, one in deltas) == TEXT
    assert last == done["type"] == "transcript.text.done"
    assert done["text"] == TEXT
    assert done["usage"] == {
        "type": "tokens",
        "input_tokens": 5,
        "input_token_details": {"text_tokens": 0, "audio_tokens": 5},
        "output_tokens": 6,
        "total_tokens": 11,
    }


async def test_log_probabilities_come_only_when_they_are_asked_for(
    client: httpx.AsyncClient,
) -> None:
    form = {"model": "demo-whisper", "stream": "true", "include[]": "logprobs"}
    response = await client.post(TRANSCRIPTIONS, data=form, files=FILES)
    for _, one in events(response.text):
        logprobs: Any = one["logprobs"]
        assert set(logprobs[0]) == {"token", "logprob", "bytes"}


@pytest.mark.parametrize("form", [{}, {"stream": "false"}])
async def test_without_a_stream_the_transcript_comes_whole(
    client: httpx.AsyncClient, form: dict[str, str]
) -> None:
    response = await client.post(
        TRANSCRIPTIONS, data={"model": "demo-whisper", **form}, files=FILES
    )
    assert response.json() == {"text": TEXT}
