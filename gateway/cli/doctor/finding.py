"""One finding of the doctor: what was looked at, the verdict, and a remedy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How a check ended, from good to bad."""

    OK = "ok"
    SKIPPED = "skipped"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check."""

    subject: str
    """What was looked at, such as `upstreams.vllm http://10.0.0.5:8000`."""
    verdict: Verdict
    text: str
    remedy: str = ""
    """What to do; empty where there is nothing."""


def ok(subject: str, text: str) -> Finding:
    """A check that passed."""
    return Finding(subject, Verdict.OK, text)


def skipped(subject: str, text: str) -> Finding:
    """A check that was not made."""
    return Finding(subject, Verdict.SKIPPED, text)


def warning(subject: str, text: str, remedy: str) -> Finding:
    """Something that works now, and may not later."""
    return Finding(subject, Verdict.WARNING, text, remedy)


def failed(subject: str, text: str, remedy: str) -> Finding:
    """Something that does not work."""
    return Finding(subject, Verdict.FAILED, text, remedy)


def worst(findings: Iterable[Finding]) -> Verdict:
    """The worst verdict among them; OK where there are none."""
    order: Sequence[Verdict] = list(Verdict)
    return max((one.verdict for one in findings), key=order.index, default=Verdict.OK)
