"""Words of verdicts, by the code of an error and by the end of a request.

`verdict_words.md` has them as tables. `verdict.py` fills them with the facts of a request.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from gateway.telemetry.traces.wording import Fault, Wording

_TABLES = Path(__file__).with_suffix(".md")
_ROW = re.compile(r"^\| `(\w+)` \| (\w+) \| (.+) \| (.*) \|$", re.MULTILINE)
_ENDS = "## Ends without an error"


@cache
def words_of_errors() -> Mapping[str, Wording]:
    """Return the words by the `code` of an error."""
    return _words(_tables().partition(_ENDS)[0])


@cache
def words_of_ends() -> Mapping[str, Wording]:
    """Return the words by the end of a request, for requests without an error. `complete` is
    judged by the status. `abandoned` is the end of a stream that nobody read any more.
    """
    errors = words_of_errors()
    return {
        "upstream_reset": errors["upstream_reset"],
        "timeout": errors["upstream_idle_timeout"],
        "drain": errors["gateway_draining"],
        "cancelled": errors["request_cancelled"],
        "internal_error": errors["internal_error"],
        **_words(_tables().partition(_ENDS)[2]),
    }


def _tables() -> str:
    return _TABLES.read_text(encoding="utf-8")


def _words(tables: str) -> Mapping[str, Wording]:
    rows = _ROW.findall(tables)
    return {key: Wording(Fault(fault), text, remedy) for key, fault, text, remedy in rows}
