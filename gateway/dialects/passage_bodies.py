"""Whole bodies as hooks read and write them. All functions may run in a helper process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from gateway import json_body, json_edits, sound_json
from gateway.dialects.passages import (
    Passage,
    answer_passages,
    request_passages,
    write_answer,
    write_request,
)
from gateway.json_body import JsonBody

_WHOLE = "text"
"""Member that stands for an answer that is no object: a list or a text."""
Changes = Mapping[int, tuple[str, str]]
"""Old and new texts, by their index among the passages of the body that the hooks were shown."""


def read_request(body: bytes) -> list[Passage]:
    """Return the texts of a request's body, which is a JSON object. Raise TooDeep."""
    return request_passages(sound_json.loads(body))


def edited_request(
    body: bytes, changes: Changes, members: Mapping[str, Any]
) -> tuple[bytes, JsonBody]:
    """Replace texts, and set members. Return the bytes, and the parsed body."""
    document: dict[str, Any] = sound_json.loads(body)
    changed = write_request(document, _placed(request_passages(document), changes))
    edits = {name: document[name] for name in changed} | dict(members)
    read = json_body.read(json_edits.edited(body, edits))
    return read.raw, read


def edited_request_elsewhere(
    body: bytes, changes: Changes, members: Mapping[str, Any]
) -> tuple[bytes, JsonBody]:
    """Do the same with a heavy body, and return the parsed body without its long values."""
    raw, read = edited_request(body, changes, members)
    return raw, read.pruned()


def _placed(passages: Sequence[Passage], changes: Changes) -> dict[int, str]:
    """Return the new texts by their index in this body. The rules of a model may have added texts
    to it, or removed some.
    """
    if all(
        index < len(passages) and passages[index].text == old for index, (old, _) in changes.items()
    ):
        return {index: new for index, (_, new) in changes.items()}
    texts = dict(changes.values())
    return {
        index: texts[passage.text]
        for index, passage in enumerate(passages)
        if passage.text in texts
    }


def read_answer(body: bytes) -> dict[str, Any]:
    """Return an answer's document. Raise JSONDecodeError if it is no JSON."""
    document = sound_json.loads(body)
    return document if isinstance(document, dict) else {_WHOLE: document}


def read_answer_elsewhere(body: bytes) -> list[Passage]:
    """Return the texts of a heavy answer. Raise JSONDecodeError or TooDeep."""
    return answer_passages(read_answer(body))


def edited_answer(body: bytes, changes: Mapping[int, str]) -> bytes:
    """Replace texts of an answer, by their index."""
    document = sound_json.loads(body)
    if not isinstance(document, dict):
        holder = {_WHOLE: document}
        write_answer(holder, changes)
        return orjson.dumps(holder[_WHOLE])
    changed = write_answer(document, changes)
    return json_edits.edited(body, {name: document[name] for name in changed})
