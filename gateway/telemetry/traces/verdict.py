"""The verdict on a request: a sentence on what happened, the party at fault, and the remedy.

It is computed from a worker's record, or from a row of the requests in progress. The dashboard, the
API and the tests all use it. No I/O, no clock.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from gateway.errors import NOBODY_READS
from gateway.telemetry.traces.credential_words import credential_words
from gateway.telemetry.traces.message_words import STATUSES, words_for_message
from gateway.telemetry.traces.verdict_words import words_of_ends, words_of_errors
from gateway.telemetry.traces.wording import BACKEND_LOG, CORRECT, Fault, Wording

_LONGEST_REASON = 300
"""Maximum length of a reason in the sentence, in characters. The page also shows it in full."""

_PAUSE_S = 5.0
"""Gap between two chunks that the verdict on a success mentions, in seconds."""

_TIMEOUT = re.compile(r"(?:silent for|:) (\d{1,9}(?:\.\d{1,9})?) s$")
"""Timeout in the reason of `upstream_connect_timeout` and `upstream_idle_timeout`."""

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TraceVerdict:
    """Verdict on a request. `remedy` is empty if there is nothing to do."""

    text: str
    fault: Fault
    remedy: str = ""

    @property
    def document(self) -> dict[str, str]:
        """The verdict as a document for JSON."""
        return asdict(self)


def verdict(record: Record) -> TraceVerdict:
    """Return the verdict on a request that has ended."""
    error, end, status = record.get("error"), record.get("end"), record.get("status") or 0
    facts = _facts(record)
    if error is not None:
        if error == "backend_error" and status >= 400:
            return _of_status(record, facts, "")  # which says whose fault it is
        words = words_of_errors().get(error)
        if words is not None:
            return _of_error(record, words, facts)
        return _of_status(record, facts, f" ({error})")
    if end is not None and end != "complete":
        ends = words_of_ends()
        return _filled(ends.get(end, ends["refused"]), facts)
    if status >= 400:
        return _of_status(record, facts, "")
    return _success(record, facts)


def under_way(row: Record) -> TraceVerdict:
    """Return the verdict on a request in progress, given its row of `/api/requests`."""
    state, age, backend = row.get("state"), _seconds(row["age_s"]), _backend(row)
    if state == "silent":
        begun = row.get("ttft_s") is not None
        after = " in the middle of its answer" if begun else ", and no token before that"
        timeout = "idle" if begun else "first_byte"
        return TraceVerdict(
            f"{backend} has sent nothing for {_seconds(row['silent_s'])}{after}.",
            Fault.BACKEND,
            f"Look at the backend's load and log. `timeouts.{timeout}` ends it in time; the button "
            "End ends it now.",
        )
    if state == "client_behind":
        return TraceVerdict(
            f"{backend} has sent more than the client reads.",
            Fault.CLIENT,
            "`send_timeout` cuts a client that reads nothing.",
        )
    if state == "answering":
        first = row.get("ttft_s")
        token = "no token has come yet" if first is None else f"first token after {_seconds(first)}"
        return TraceVerdict(f"{backend} sends its answer: {token}.", Fault.NOBODY)
    if state == "following":
        return TraceVerdict("It reads a kept stream, which another request began.", Fault.NOBODY)
    if state == "session":
        return TraceVerdict(f"A WebSocket session has been open for {age}.", Fault.NOBODY)
    if state == "waiting":
        asked = _seconds(row["silent_s"])
        return TraceVerdict(
            f"{backend} has not begun its answer; it was asked {asked} ago.", Fault.NOBODY
        )
    return TraceVerdict(f"It came {age} ago and was not sent to a backend yet.", Fault.NOBODY)


# -- how it went ------------------------------------------------------------------------------


def _filled(words: Wording, facts: Mapping[str, str]) -> TraceVerdict:
    return TraceVerdict(words.text.format_map(facts), words.fault, words.remedy.format_map(facts))


def _of_error(record: Record, words: Wording, facts: Mapping[str, str]) -> TraceVerdict:
    """Return the verdict on an error with templates. Its reason may say more than its code."""
    error, reason = record["error"], record.get("reason")
    if error == "stream_cancelled" and reason == NOBODY_READS:
        return _filled(words_of_ends()["abandoned"], facts)
    if error == "invalid_api_key" and reason:
        told = credential_words(reason, record["at"])
        if told is not None:
            return TraceVerdict(told[0], words.fault, told[1])
    found = _filled(words, facts)
    if words.fault is Fault.BACKEND:
        fault, remedy = words_for_message(reason) or (found.fault, found.remedy)
        return TraceVerdict(found.text, fault, remedy)
    return found


def _of_status(record: Record, facts: Mapping[str, str], code: str) -> TraceVerdict:
    """Return the verdict on an error without templates: a backend's, or a plug-in's."""
    status = record.get("status") or 0
    if not record.get("attempts"):
        fault = Fault.CLIENT if status < 500 else Fault.GATEWAY
        text = f"The gateway answered with status {status}{code}{facts['why']}."
        return TraceVerdict(text, fault, "A plug-in or a rule of the route decided this.")
    by_status = (Fault.CLIENT, CORRECT)
    if status >= 500 or status < 400:
        by_status = (Fault.BACKEND, BACKEND_LOG)
    fault, remedy = words_for_message(record.get("reason")) or STATUSES.get(status, by_status)
    verb = f"answered with status {status}" if status >= 400 else "reported an error in its answer"
    text = f"{facts['backend']} {verb}{code}{facts['why']}.{facts['tries']}"
    return TraceVerdict(text, fault, remedy)


def _success(record: Record, facts: Mapping[str, str]) -> TraceVerdict:
    first_s, s, tokens = record.get("ttft_s"), record["s"], record.get("tokens_out")
    if record.get("status") == 101:
        return TraceVerdict(f"A WebSocket session of {_seconds(s)} ended well.", Fault.NOBODY)
    parts = ["read a kept stream"] if record.get("reads") else []
    if record.get("streamed", True) and first_s is not None:
        parts.append(f"first token after {_seconds(first_s)}")
        if tokens and tokens > 1 and s > first_s:
            parts.append(f"{_figure((tokens - 1) / (s - first_s))} tokens/s")
    else:
        parts.append(f"answered in {_seconds(s)}")
        if tokens:
            parts.append(f"{tokens} tokens")
    text = f"It succeeded: {', '.join(parts)}."
    if record.get("fallbacks"):
        text += f" Model '{record.get('served')}' answered instead of '{record.get('model')}'."
    if record.get("continued"):
        text += " A backend broke off, and another one went on with the answer."
    elif (failed := sum(1 for one in record.get("attempts") or () if one[8])) > 0:
        text += f" {failed} {'attempt' if failed == 1 else 'attempts'} failed before."
    longest_s = (record.get("gaps") or {}).get("longest_s") or 0.0
    if longest_s >= _PAUSE_S:
        text += f" In the middle, the backend sent nothing for {_seconds(longest_s)}."
    if record.get("kept") != "slow":
        return TraceVerdict(text, Fault.NOBODY)
    where, fault, remedy = _slowest(record)
    return TraceVerdict(f"{text} It was slow: {where}.", fault, remedy)


def _slowest(record: Record) -> tuple[str, Fault, str]:
    """Return where most of the time before the first token went, with fault and remedy."""
    queue_s = record.get("queue_s") or 0.0
    attempts = sorted(record.get("attempts") or ())
    failed_s = sum(ended - begun for _, begun, ended, *_, outcome in attempts if outcome)
    checks_s = sum(
        (record["s"] if ended is None else ended) - begun
        for name, begun, ended in record.get("marks") or ()
        if name != "admission"
    )
    total_s = record.get("ttft_s") or record.get("first_byte_s") or record["s"]
    found = (
        (queue_s, "in the queue", Fault.CONFIGURATION, "Add backends: requests wait for a place."),
        (failed_s, "in attempts that failed", Fault.BACKEND, "See why the attempts failed."),
        (checks_s, "in auth and limits", Fault.GATEWAY, "Look at the store and the issuer."),
        (
            total_s - queue_s - failed_s - checks_s,
            "at the backend",
            Fault.BACKEND,
            "Look at the model's load and the prompt's length.",
        ),
    )
    spent_s, place, fault, remedy = max(found, key=lambda one: one[0])
    return f"{_seconds(spent_s)} passed {place}", fault, remedy


# -- its facts --------------------------------------------------------------------------------


def _facts(record: Record) -> dict[str, str]:
    """Return the fields of the templates, as parts of a sentence."""
    reason, attempts = record.get("reason"), record.get("attempts") or ()
    why = ""
    if reason:
        text = " ".join(str(reason).split()).rstrip(".")
        why = f": {text[:_LONGEST_REASON]}{'…' if len(text) > _LONGEST_REASON else ''}"
    model, retry_s, position = (record.get(x) for x in ("model", "retry_after_s", "queue_position"))
    if record.get("continued"):
        onward = ", although another backend had gone on once"
    elif record.get("first_byte_s") is not None:
        onward = ", and no other backend went on"
    else:
        onward = ""
    return {
        "why": why,
        "backend": _backend(record),
        "gate": f"'{reason}'" if reason else "the backend",
        "model": f"model '{model}'" if model else "this model",
        "limit": f"'{record['limit']}'" if record.get("limit") else "of the route",
        "limit_s": _timeout(record),
        "raise_it": f"`limits.{record['limit']}`" if record.get("limit") else "it",
        "wait": f"; wait {_seconds(retry_s)}" if retry_s is not None else "",
        "queue": f"; {position} were before it" if position else "",
        "took": _seconds(record["s"]),
        "when": _when(record),
        "tries": f" All {len(attempts)} attempts failed." if _all_failed(attempts) else "",
        "onward": onward,
        "behind": "; it had stopped reading" if _stopped_reading(record) else "",
    }


def _backend(record: Record) -> str:
    name = record.get("upstream")
    return f"Backend '{name}'" if name else "The backend"


def _timeout(record: Record) -> str:
    """Return the timeout that ended the request, in parentheses; empty if it is not known."""
    if record.get("error") == "upstream_first_byte_timeout":
        attempts = sorted(record.get("attempts") or ())
        waited_s = attempts[-1][2] - attempts[-1][1] if attempts else 0.0
    else:
        match = _TIMEOUT.search(str(record.get("reason") or ""))
        waited_s = float(match[1]) if match else 0.0
    return f" ({_seconds(waited_s)})" if waited_s else ""


def _when(record: Record) -> str:
    """Return how far the answer had come."""
    if record.get("first_byte_s") is None:
        return "before the answer began"
    if record.get("streamed", True) and record.get("ttft_s") is None:
        return "before the first token"
    tokens = record.get("tokens_out")
    if tokens:
        return f"after {tokens} {'token' if tokens == 1 else 'tokens'}"
    return f"after {record.get('bytes_out') or 0} bytes of the answer"


def _all_failed(attempts: Any) -> bool:
    return len(attempts) > 1 and all(one[8] or one[7] >= 400 for one in attempts)


def _stopped_reading(record: Record) -> bool:
    """True if the client was reading too slowly when it left."""
    names = [name for name, *_ in record.get("events") or ()]
    pauses = [name for name in names if name in ("client_behind", "client_caught_up")]
    return bool(pauses) and pauses[-1] == "client_behind"


def _seconds(value: float) -> str:
    if value < 0.9995:
        return f"{value * 1e3:.0f} ms" if value < 0.0995 else f"{value:.1f} s"
    if value < 9.95:
        return f"{value:.1f} s".replace(".0 s", " s")
    if value < 100:
        return f"{value:.0f} s"
    minutes, seconds = divmod(round(value), 60)
    if minutes < 10:
        return f"{minutes} min {seconds} s" if seconds else f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    if hours < 2:
        return f"{minutes} min"
    return f"{hours} h {rest} min" if rest and hours < 48 else f"{hours} h"


def _figure(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"
