"""Common parts of all endpoint sources: the endpoint found, and how changes are reported."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Found:
    """An endpoint as a source describes it."""

    url: str
    """http(s)://host:port/base to connect to. The host is an IP address if DNS gave one."""
    authority: str
    """Value of the Host header. Its host, without the port, is the TLS server name (SNI)."""
    weight: int = 1
    """Share of requests relative to others of the same priority; at least 1."""
    priority: int = 0
    """Priority; endpoints with the lowest number are used first."""
    name: str = ""
    """Name of a configured endpoint; empty for its URL."""
    credential: tuple[tuple[str, str], ...] = ()
    """Header fields with the endpoint's own credential, in place of its upstream's."""

    @property
    def key(self) -> str:
        """Identity of the endpoint: its name, or its URL."""
        return self.name or self.url


Changed = Callable[[Sequence[Found]], None]
"""Called with the endpoints when they have changed: sorted, unique by URL, never empty."""
Report = Callable[[str], None]
"""Called with a message once when a source starts to fail, and once when it has recovered."""


class Latest:
    """Latest endpoints of a source and its latest failure. Only changes are passed on."""

    def __init__(self, subject: str, changed: Changed, report: Report) -> None:
        """`subject` names the source in reports."""
        self._subject = subject
        self._changed = changed
        self._report = report
        self._found: Sequence[Found] = ()
        self._trouble: Hashable = None

    def show(self, found: Iterable[Found]) -> None:
        """Take the current endpoints. An empty list is ignored."""
        settled = _settled(found)
        if settled and settled != self._found:
            self._found = settled
            self._changed(settled)

    def failing(self, text: str, trouble: Hashable) -> None:
        """Report that endpoints cannot be had, unless the last report has the same `trouble`."""
        state = "the endpoints stay as they were" if self._found else "there are no endpoints yet"
        self.warn(f"{state}: {text}", trouble)

    def warn(self, text: str, trouble: Hashable) -> None:
        """Report a failure, unless the last report has the same `trouble`."""
        if trouble != self._trouble:
            self._trouble = trouble
            self._report(f"{self._subject}: {text}")

    def recovered(self) -> None:
        """Report that the source works again, if a failure was reported."""
        if self._trouble is not None:
            self._trouble = None
            self._report(f"{self._subject}: all is well again")


def _settled(found: Iterable[Found]) -> Sequence[Found]:
    """Return the endpoints by priority and URL. If a URL occurs twice, keep its best priority."""
    best: dict[str, Found] = {}
    for one in sorted(found, key=lambda found: (found.priority, -found.weight, found.authority)):
        best.setdefault(one.url, one)
    return tuple(sorted(best.values(), key=lambda found: (found.priority, found.url)))
