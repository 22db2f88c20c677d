"""Whatever is sent, it is translated or refused: nothing else is ever raised."""

from __future__ import annotations

import copy
from contextlib import suppress
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.dialects.ollama import embeddings as ollama_embeddings
from gateway.dialects.ollama import requests as ollama_requests
from gateway.dialects.openai import embeddings as openai_embeddings
from gateway.dialects.translation.options import TranslationOptions
from gateway.dialects.translation.pieces import (
    MessageEnd,
    MessageFailed,
    MessageStart,
    Skipped,
    whole,
)
from gateway.errors import GatewayError, RequestError, UpstreamInvalidResponse
from tests.dialects.translation.test_requests import OPENAI
from tests.dialects.translation.wire import (
    CONTEXT,
    NAMES,
    SIDES,
    answer_of,
    pieces_of,
    stream_of,
    told,
)

OPTIONS = TranslationOptions()
SLOW = [HealthCheck.too_slow]  # a busy machine is no fault of a test's
leaves = (
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", "x", "auto", "none", "text", "image_url", "tool", "user", "function"])
)
junk = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["type", "name", "id", "text", "x"]), inner, max_size=2)
    ),
    max_leaves=4,
)
REQUESTS: dict[str, dict[str, Any]] = {
    "openai": OPENAI,
    "anthropic": SIDES["anthropic"].write(SIDES["openai"].read(OPENAI), OPTIONS),
    "ollama": SIDES["ollama"].write(SIDES["openai"].read(OPENAI), OPTIONS),
}


def places(node: Any) -> list[tuple[Any, Any]]:
    """Every container in a document, with each of its keys."""
    found: list[tuple[Any, Any]] = []
    keys = node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
    for key in keys:
        found.append((node, key))
        found += places(node[key])
    return found


@st.composite
def mutated(draw: st.DrawFn, document: dict[str, Any]) -> dict[str, Any]:
    """A document with a few of its values replaced, or taken away."""
    document = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        node, key = draw(st.sampled_from(places(document) or [(document, "x")]))
        if draw(st.booleans()) or isinstance(node, list):
            node[key] = draw(junk)
        else:
            node.pop(key, None)
    return document


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=SLOW)
def test_a_request_is_translated_or_refused(name: str, data: st.DataObject) -> None:
    body = data.draw(mutated(REQUESTS[name]))
    with suppress(RequestError):
        asked = SIDES[name].read(copy.deepcopy(body))
        for other in NAMES:
            with suppress(RequestError):
                assert orjson.loads(orjson.dumps(SIDES[other].write(asked, OPTIONS)))


@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=SLOW)
def test_so_are_prompts_and_embeddings(data: st.DataObject) -> None:
    prompt = data.draw(mutated({"model": "m", "prompt": "x", "options": {"stop": ["a"]}}))
    texts = data.draw(mutated({"model": "m", "input": ["a", "b"], "dimensions": 5}))
    for read, body in (
        (ollama_requests.read_generate, prompt),
        (openai_embeddings.read, texts),
        (ollama_embeddings.read, texts),
    ):
        with suppress(RequestError):
            assert read(copy.deepcopy(body)) is not None


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=SLOW)
def test_a_whole_answer_is_translated_or_an_error(name: str, data: st.DataObject) -> None:
    document = data.draw(mutated(answer_of(name)))
    with suppress(GatewayError):
        answer = whole(SIDES[name].read_answer(document))
        for other in NAMES:
            with suppress(UpstreamInvalidResponse):
                assert orjson.loads(SIDES[other].write_answer(answer, CONTEXT))


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=SLOW)
def test_a_stream_ends_once_and_no_piece_of_it_is_fatal(name: str, data: st.DataObject) -> None:
    end = b"\n" if name == "ollama" else b"\n\n"
    events = [event for event in stream_of(name).split(end) if event]
    at = data.draw(st.integers(0, len(events) - 1))
    before, brace, text = events[at].partition(b"{")
    if brace:
        events[at] = before + orjson.dumps(data.draw(mutated(orjson.loads(brace + text))))
    pieces = pieces_of(name, [event + end for event in events])
    ends = [piece for piece in pieces if isinstance(piece, (MessageEnd, MessageFailed))]
    assert ends == pieces[-1:]
    told_pieces = [piece for piece in pieces if not isinstance(piece, Skipped)]
    assert isinstance(told_pieces[0], (MessageStart, MessageFailed))
    for other in NAMES:
        with suppress(UpstreamInvalidResponse):
            heard = pieces_of(other, [told(other, pieces)])
            assert isinstance(heard[-1], type(pieces[-1]))
