"""Redaction of personal data, by the recognizers of Presidio (the extra `pii`).

Presidio is imported here only, and only if a hook is configured. Without a `model` its patterns and
checksums are used: addresses, cards, accounts, telephone numbers. Names of people and places need a
spaCy model.

https://microsoft.github.io/presidio/supported_entities/
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from gateway.hooks.content import Edit, HookedRequest, TextWindow

_CHUNK_CHARS = 1000
"""Longer texts are searched in pieces of some 10 ms, so that streams continue in between."""
_OVERLAP_CHARS = 128
"""Characters of a piece that the next one begins with. Longer data at this place is not found."""
_HELD_CHARS = 48
"""Characters at the end of a window that may be the beginning of personal data with spaces."""
_LONGEST_WORD_CHARS = 256
_SAMPLE = "bob@example.com, 4111 1111 1111 1111, DE89 3704 0044 0532 0130 00, 10.1.2.3"
_WITH_DOMAINS = frozenset({"EMAIL_ADDRESS", "URL"})
_BLANK = re.compile(r"\s")


class RedactorNotMade(Exception):
    """Redactor cannot be made. The message says why."""


@dataclass(frozen=True, slots=True)
class RedactOptions:
    """Options of a redactor."""

    entities: Sequence[str]
    replacement: str
    """Text instead of personal data; `{entity}` stands for its kind."""
    score: float
    """Least score of a finding."""
    language: str
    model: str | None
    """Name or path of a spaCy model."""
    judges_requests: bool
    judges_answers: bool
    window_chars: int


Find = Callable[[str], list[Edit]]
"""Function that returns the edits that redact a text, in order, without overlap."""


class Redactor:
    """Hook that replaces personal data."""

    holds = True

    def __init__(self, options: RedactOptions, find: Find) -> None:
        self.window = options.window_chars
        self._find = find
        self.on_request = self._on_request if options.judges_requests else None
        self.on_window = self._on_window if options.judges_answers else None

    async def redacted(self, text: str) -> str:
        """Return a text without personal data."""
        return _applied(text, await self.found(text))

    async def found(self, text: str) -> list[Edit]:
        """Return the edits that redact a text. Other tasks run in between."""
        found: list[Edit] = []
        for edits in self._pieces(text):
            found += edits
            await asyncio.sleep(0)
        return found

    def _on_request(self, request: HookedRequest) -> Awaitable[None] | None:
        if sum(len(passage.text) for passage in request.passages) > _CHUNK_CHARS:
            return self._redact_later(request)
        for passage in request.passages:
            if edits := self._find(passage.text):
                passage.text = _applied(passage.text, edits)
        return None

    async def _redact_later(self, request: HookedRequest) -> None:
        for passage in request.passages:
            passage.text = await self.redacted(passage.text)

    def _on_window(self, window: TextWindow) -> Awaitable[None] | None:
        if len(window.text) > _CHUNK_CHARS + _LONGEST_WORD_CHARS:
            return self._redact_window_later(window)
        _redact(window, self._find(window.text))
        return None

    async def _redact_window_later(self, window: TextWindow) -> None:
        _redact(window, await self.found(window.text))

    def _pieces(self, text: str) -> Iterable[list[Edit]]:
        """Yield the edits of a text, piece by piece."""
        at = done = 0
        while at < len(text):
            end = min(len(text), at + _CHUNK_CHARS + _OVERLAP_CHARS)
            edits = [
                Edit(one.start + at, one.end + at, one.text) for one in self._find(text[at:end])
            ]
            # What reaches into the overlap is found whole by the next piece, unless it begins here.
            limit = len(text) if end == len(text) else at + _CHUNK_CHARS
            new = [one for one in edits if done <= one.start < limit]
            if new:
                done = new[-1].end
            yield new
            at = len(text) if end == len(text) else max(limit, done)


def _redact(window: TextWindow, edits: Sequence[Edit]) -> None:
    for edit in edits:
        window.replace(edit.start, edit.end, edit.text)
    if not window.is_final:
        window.hold(_unsure(window.text))


def _unsure(text: str) -> int:
    """Return how many characters at the end may belong to data that has not arrived whole: whole
    words.
    """
    at = max(0, len(text) - _HELD_CHARS)
    first = max(0, at - _LONGEST_WORD_CHARS)
    while at > first and not _BLANK.match(text[at - 1]):
        at -= 1
    return len(text) - at


def _applied(text: str, edits: Iterable[Edit]) -> str:
    pieces: list[str] = []
    at = 0
    for edit in edits:
        pieces += (text[at : edit.start], edit.text)
        at = edit.end
    return "".join(pieces) + text[at:]


def presidio(options: RedactOptions) -> Find:
    """Return the search by Presidio's recognizers. Takes seconds. Raise RedactorNotMade."""
    try:
        analyzer = importlib.import_module("presidio_analyzer")
        predefined = importlib.import_module("presidio_analyzer.predefined_recognizers")
    except ImportError as exc:
        raise RedactorNotMade(
            f"Presidio cannot be imported ({exc}): install the gateway with its extra `pii`"
        ) from exc
    engine = None if options.model is None else _engine(options.model, options.language)
    recognizers = _recognizers(analyzer, predefined, options, with_model=engine is not None)
    entities = list(options.entities)

    def find(text: str) -> list[Edit]:
        artifacts = None if engine is None else engine.process_text(text, options.language)
        found: list[Any] = []
        for recognizer in recognizers:
            wanted = [one for one in entities if one in recognizer.supported_entities]
            found += recognizer.analyze(text, wanted, artifacts) or ()
        return _edits(found, options)

    find(_SAMPLE)  # compiles the patterns now, not while a stream waits
    return find


def _edits(found: Iterable[Any], options: RedactOptions) -> list[Edit]:
    """Return the edits of findings. Of those that overlap, the one with the higher score is kept,
    or the longer one.
    """
    ranked = sorted(
        (one for one in found if one.score >= options.score),
        key=lambda one: (-one.score, one.start - one.end, one.start),
    )
    kept: list[Edit] = []
    for one in ranked:
        if all(one.end <= other.start or one.start >= other.end for other in kept):
            text = options.replacement.replace("{entity}", one.entity_type)
            kept.append(Edit(one.start, one.end, text))
    return sorted(kept, key=lambda edit: edit.start)


def _recognizers(
    analyzer: Any, predefined: Any, options: RedactOptions, *, with_model: bool
) -> list[Any]:
    """Return the recognizers of the entities. Raise RedactorNotMade for one that has none."""
    wanted = set(options.entities)
    chosen: list[Any] = []
    if with_model:
        spacy = predefined.SpacyRecognizer(supported_language=options.language)
        by_model = wanted & set(spacy.supported_entities)
        if by_model:
            chosen.append(spacy)
            wanted -= by_model
    for name in sorted(vars(predefined)):
        kind = getattr(predefined, name)
        if not wanted or not inspect.isclass(kind):
            continue
        is_pattern = issubclass(kind, analyzer.PatternRecognizer)
        if not is_pattern and name != "PhoneRecognizer":
            continue  # they need a model or a service
        try:
            made: Any = cast(Any, kind)()
            if wanted & set(made.supported_entities) and made.supported_language == "en":
                made = cast(Any, kind)(supported_language=options.language)
        except Exception:  # noqa: S112  # abstract, or it needs more than is installed
            continue
        if not wanted & set(made.supported_entities):
            continue
        if _WITH_DOMAINS & set(made.supported_entities):
            made.validate_result = _has_known_domain()
        chosen.append(made)
        wanted -= set(made.supported_entities)
    if wanted:
        hint = "" if with_model else "; names of people and places need a `model`"
        raise RedactorNotMade(f"Presidio does not recognize {', '.join(sorted(wanted))}{hint}")
    return chosen


def _has_known_domain() -> Callable[[str], bool]:
    """Return the check of domains by the list that the library contains. By default it downloads a
    newer one when it meets the first address, in the event loop.
    """
    extract = importlib.import_module("tldextract").TLDExtract(suffix_list_urls=())
    return lambda text: bool(extract(text).fqdn)


def _engine(model: str, language: str) -> Any:
    """Return the NLP engine. Raise RedactorNotMade: Presidio would download a missing model."""
    spacy = importlib.import_module("spacy")
    if not spacy.util.is_package(model) and not Path(model).exists():
        raise RedactorNotMade(f"the spaCy model '{model}' is not installed")
    provider = importlib.import_module("presidio_analyzer.nlp_engine").NlpEngineProvider(
        nlp_configuration={
            "nlp_engine_name": "spacy",
            "models": [{"lang_code": language, "model_name": model}],
        }
    )
    return provider.create_engine()
