"""Files that the admin API returns: CSV for spreadsheets, and JSON lines."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson
from aiohttp import web

_TYPES = {"csv": "text/csv", "jsonl": "application/jsonl"}


def download(name: str, text: str) -> web.Response:
    """Return a response that a browser saves as a file. `name` ends in .csv or .jsonl."""
    return web.Response(
        text=text,
        content_type=_TYPES[name.rpartition(".")[2]],
        charset="utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def as_csv(rows: Iterable[Mapping[str, Any]], columns: Sequence[str] = ()) -> str:
    """Return CSV text with a header line and one line for each row."""
    text, listed = io.StringIO(), list(rows)
    if names := columns or list(listed[0] if listed else ()):
        writer = csv.DictWriter(text, names)
        writer.writeheader()
        writer.writerows({name: _cell(value) for name, value in row.items()} for row in listed)
    return text.getvalue()


def as_json_lines(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return a line of JSON for each row."""
    return "".join(orjson.dumps(row).decode() + "\n" for row in rows)


def _cell(value: Any) -> Any:
    """Prefix a text that a spreadsheet would run as a formula with an apostrophe."""
    formula = isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r")
    return f"'{value}" if formula else value
