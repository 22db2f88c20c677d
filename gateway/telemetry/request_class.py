"""Class of requests whose reports differ in numbers only.

The access log, the metrics and the traces each make something from the same facts of a request: a
part of a line, label values, the key of a tally. Most requests have the facts of an earlier one. So
the class of a request is looked up once, and each of the three keeps there what it has made.
"""

from __future__ import annotations

from gateway.auth.principal import Principal


class RequestClass:
    """Parts of the reports that all requests of one class share. None: not made yet."""

    __slots__ = ("_principal", "line", "subtotal", "tally")

    def __init__(self, principal: Principal | None) -> None:
        self._principal = principal  # this keeps its `id` from being given to another
        self.line: str | None = None
        """Part of the access line."""
        self.subtotal: object = None
        """Subtotal of the metrics."""
        self.tally: tuple[str, str, str, str, str, str, str] | None = None
        """Key of the tally of the traces."""
