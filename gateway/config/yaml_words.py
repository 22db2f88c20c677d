"""Plain messages for YAML's syntax errors: what is wrong where, and what to write instead."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

import yaml

_OPENED = re.compile(r"while parsing a flow (?P<kind>sequence|mapping)")


def in_plain_words(error: yaml.MarkedYAMLError, text: str) -> tuple[int, int, str]:
    """Return line and column, counted from 1, and the message for an error. The position of an
    unclosed bracket or quote is where it opens.
    """
    mark, context = error.problem_mark, error.context_mark
    problem, where = error.problem or "", error.context or ""
    opened = _OPENED.match(where)
    if "while scanning a quoted scalar" in where and context is not None:
        quote = text[context.index : context.index + 1]
        return _at(context, f"the quote {quote} that opens here is not closed")
    if mark is not None and (quoted := _quote_over_lines(text, mark)) is not None:
        quote = text[quoted.index]
        message = f"the quote {quote} that opens here closes in line {mark.line + 1} only"
        return _at(quoted, message)
    if mark is not None and text[mark.index : mark.index + 1] == "\t":
        return _at(mark, "a tab stands here: indent with spaces")
    if opened is not None and context is not None and "expected ','" in problem:
        bracket = "[" if opened["kind"] == "sequence" else "{"
        message = f"the {bracket} that opens here is not closed, or a comma is missing in it"
        if mark is not None and text[: mark.index].endswith("$"):
            message += "; between { } or [ ], write what holds ${...} in quotes"
        return _at(context, message)
    if mark is not None and not text[mark.index :].strip("\0 \n"):
        bracket_mark = _unclosed_bracket(text)
        if bracket_mark is not None:
            message = f"the {text[bracket_mark.index]} that opens here is not closed"
            return _at(bracket_mark, message)
    if mark is None:
        return _at(context, f"not valid YAML: {problem or where}")
    if "expected <block end>" in problem:
        return _at(mark, "the indentation fits no line above: align it with its siblings")
    if "mapping values are not allowed" in problem:
        return _at(
            mark,
            "this colon belongs to no key: text that holds ': ' needs quotes, and every key a line",
        )
    if "another document" in problem:
        return _at(mark, "a second document begins here: a configuration is one")
    if "could not find expected ':'" in problem:
        return _at(context or mark, "a key without a colon")
    if "cannot start any token" in problem:
        character = text[mark.index : mark.index + 1]
        return _at(mark, f"text that begins with {character} needs quotes")
    if "undefined alias" in problem or "while scanning an alias" in where:
        return _at(mark, "there is no such anchor: text that begins with * needs quotes")
    return _at(mark, f"not valid YAML: {problem or where}")


def _quote_over_lines(text: str, mark: yaml.Mark) -> yaml.Mark | None:
    """Return where the last quote opens, if it closes in the line of the error, and not in its own:
    then a closing quote is missing, and the next opening one has closed it.
    """
    last: yaml.ScalarToken | None = None
    for token in _tokens(text):
        if token.start_mark.index >= mark.index:
            break
        if isinstance(token, yaml.ScalarToken) and token.style in ("'", '"'):
            last = token
    if last is None:
        return None
    spans_lines = last.start_mark.line < last.end_mark.line == mark.line
    return last.start_mark if spans_lines else None


def _unclosed_bracket(text: str) -> yaml.Mark | None:
    """Return the innermost bracket that is open at the end of the text."""
    opened: list[yaml.Mark] = []
    for token in _tokens(text):
        if isinstance(token, yaml.FlowSequenceStartToken | yaml.FlowMappingStartToken):
            opened.append(token.start_mark)
        elif isinstance(token, yaml.FlowSequenceEndToken | yaml.FlowMappingEndToken) and opened:
            opened.pop()
    return opened[-1] if opened else None


def _tokens(text: str) -> Iterator[yaml.Token]:
    """Yield the tokens before the first one that cannot be read."""
    with contextlib.suppress(yaml.YAMLError):
        yield from yaml.scan(text)


def _at(mark: yaml.Mark | None, message: str) -> tuple[int, int, str]:
    if mark is None:
        return 1, 1, message
    return mark.line + 1, mark.column + 1, message
