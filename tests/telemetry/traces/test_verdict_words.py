"""The tables of verdicts: every outcome is in them, and templates name what records have."""

from __future__ import annotations

from string import Formatter

from gateway.errors import CREDENTIAL_REFUSED
from gateway.outcome import EndReason
from gateway.telemetry.traces.verdict_words import words_of_ends, words_of_errors
from tests.test_errors import codes


def test_every_error_code_has_words_and_no_other() -> None:
    assert set(words_of_errors()) == codes() | {"upstream_error", CREDENTIAL_REFUSED}


def test_every_end_has_words_and_no_other() -> None:
    assert set(words_of_ends()) == {str(end) for end in EndReason} - {"complete"} | {"abandoned"}


def test_templates_name_only_what_every_record_has() -> None:
    for words in (*words_of_errors().values(), *words_of_ends().values()):
        names = {
            name for text in (words.text, words.remedy) for _, name, _, _ in Formatter().parse(text)
        }
        assert names <= {
            *(None, "why", "backend", "gate", "model", "limit", "wait", "queue", "took"),
            *("when", "tries", "onward", "behind", "raise_it", "limit_s"),
        }
