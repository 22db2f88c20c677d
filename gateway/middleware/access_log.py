"""Access log: one line for each request, written when the request has ended.

The line is assembled from JSON text: most parts recur from request to request and are cached.
Every text passes `quoted` or `masked`, except values that the gateway makes itself, and request
ids, whose characters are checked.
"""

from __future__ import annotations

from collections.abc import Iterable

from structlog.typing import FilteringBoundLogger

from gateway.admission.gate import QueueWait
from gateway.exchange import Exchange
from gateway.middleware.request_classes import RequestClasses
from gateway.outcome import EndReason
from gateway.session import SessionTally
from gateway.telemetry.logs.control import LogControl
from gateway.telemetry.logs.json_text import masked, quoted
from gateway.telemetry.logs.logger import line_writer


class AccessLog:
    """Writer of `request` log lines. Fields without a value are omitted."""

    def __init__(
        self,
        logger: FilteringBoundLogger,
        control: LogControl | None = None,
        classes: RequestClasses | None = None,
    ) -> None:
        """`classes` are shared with the other reports of one configuration."""
        self._classes = classes or RequestClasses()
        self._write = line_writer(logger, "request")
        self._control = control or LogControl()

    def on_report(self, ended: Iterable[Exchange]) -> None:
        """Write the lines of these requests, together."""
        control, lines = self._control, list[str]()
        try:
            for exchange in ended:
                if control.all_access or control.wants_access(
                    exchange.status, complete=exchange.well
                ):
                    lines.append(self._line(exchange))
        finally:
            if lines:
                self._write(lines)

    def _line(self, exchange: Exchange) -> str:
        started, trace, usage = exchange.started_at, exchange.trace, exchange.usage
        first, first_token = exchange.first_byte_at, exchange.first_token_at
        found = exchange.request_class or self._classes.of(exchange)
        if found.line is None:
            found.line = _recurring(exchange)
        trace_id = saved = tokens = cache = wait = first_byte = ttft = session = ""
        if trace is not None:
            trace_id = f',"trace_id":"{trace.id}"'
        if exchange.bytes_saved:
            saved = f',"bytes_saved":{exchange.bytes_saved}'
        if usage is not None:
            tokens = f',"tokens_in":{usage.input},"tokens_out":{usage.output}'
        if exchange.cache is not None:
            cache = f',"cache":"{exchange.cache.status}"'
        if exchange.queued is not None:
            wait = _wait(exchange.queued)
        if first is not None:
            first_byte = f',"first_byte_ms":{1e3 * (first - started):.3f}'
        if first_token is not None:
            ttft = f',"ttft_ms":{1e3 * (first_token - started):.3f}'
        if exchange.session is not None and exchange.session.tally is not None:
            session = _session(exchange.session.tally)
        return (
            f'"request_id":"{exchange.request_id}"{trace_id}{found.line}'
            f',"bytes_in":{exchange.bytes_in},"bytes_out":{exchange.bytes_out}'
            f"{saved}{tokens}{cache}{wait}{first_byte}{ttft}"
            f',"duration_ms":{1e3 * (exchange.ended_at - started):.3f}{session}'
        )


def _wait(wait: QueueWait) -> str:
    return f',"queue_position":{wait.position},"queue_ms":{1e3 * wait.seconds:.3f}'


def _session(tally: SessionTally) -> str:
    line = f',"messages_in":{tally.messages_in},"messages_out":{tally.messages_out}'
    if tally.close_code is not None:
        line += f',"close_code":{tally.close_code}'
    if tally.closed_by is not None:
        line += f',"closed_by":"{tally.closed_by.value}"'
    return line


def _recurring(exchange: Exchange) -> str:
    """Return the part of a line that is the same for all requests of a class."""
    principal = exchange.principal
    line = (
        f',"client":{quoted(exchange.client_ip)},"method":{quoted(exchange.method)}'
        f',"path":{masked(exchange.path)}'
    )
    if exchange.route is not None:
        line += f',"route":{quoted(exchange.route)}'
    if exchange.delegated is not None and exchange.delegated.request_id:
        line += f',"bridge":{masked(exchange.delegated.request_id)}'
    if principal is not None:
        line += f',"subject":{masked(principal.subject)}'
        if principal.tenant is not None:
            line += f',"tenant":{masked(principal.tenant)}'
    if exchange.model is not None:
        line += f',"model":{masked(exchange.model)}'
    elif exchange.failure is not None and exchange.failure.model is not None:
        line += f',"model":{masked(exchange.failure.model)}'
    if exchange.continued:
        line += f',"continued":{exchange.continued}'
    if exchange.served is not None:
        line += f',"served":{masked(exchange.served)}'
    if exchange.fallbacks:
        line += f',"fallbacks":[{",".join(map(masked, exchange.fallbacks))}]'
    return line + _outcome(exchange)


def _endpoint(upstream: str | None, endpoint: str | None) -> str:
    line = "" if upstream is None else f',"upstream":{quoted(upstream)}'
    return line if endpoint is None else f'{line},"endpoint":{quoted(endpoint)}'


def _end(end: EndReason | None) -> str:
    return "" if end is None else f',"end":"{end.value}"'


def _outcome(exchange: Exchange) -> str:
    line = _endpoint(exchange.upstream, exchange.endpoint)
    if exchange.attempts > 1:
        line += f',"attempts":{exchange.attempts}'
    if exchange.status is not None:
        line += f',"status":{exchange.status}'
    failure = exchange.failure
    if failure is not None:
        if failure.code is not None:
            line += f',"error":{masked(failure.code)}'
        if failure.reason is not None:
            line += f',"reason":{masked(failure.reason)}'
        if failure.limit is not None:
            line += f',"limit":{masked(failure.limit)}'
        if failure.retry_after_s is not None:
            line += f',"retry_after_s":{failure.retry_after_s}'
    return line + _end(exchange.end_reason)
