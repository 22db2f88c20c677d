"""Tracing: assign a request to a trace, and decide at its end whether its record is kept."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from multidict import istr

from gateway.exchange import Exchange
from gateway.hooks.recorded import RecordedRedaction
from gateway.middleware.request_classes import RequestClasses
from gateway.middleware.request_id import give_request_id, new_request_id
from gateway.outcome import EndReason
from gateway.request import Request
from gateway.telemetry.traces.content import PROMPT_CAP_BYTES, RecordedContent
from gateway.telemetry.traces.context import clean_baggage, clean_state, parse_parent
from gateway.telemetry.traces.recording import KeepRules, Kept, TallyKey, Trace, TraceRecords
from gateway.telemetry.traces.response_metadata import response_metadata

_ALL = 1 << 64
_COMPLETE, _SAMPLED = EndReason.COMPLETE, Kept.SAMPLED
_TRACEPARENT, _BAGGAGE = istr("traceparent"), istr("baggage")


@dataclass(frozen=True, slots=True)
class TraceOptions:
    """Tracing options of one route."""

    route_path: str = ""
    sample: float = 0.1
    """Share of requests to sample, decided by trace id."""
    keep: KeepRules = field(default_factory=KeepRules)
    trusts: Callable[[str], bool] | None = None
    """Tell whether a client address is trusted to continue its own trace; None: no client is."""
    follow: bool = False
    """True if a request sampled by such a client is sampled here too."""
    dialects: Mapping[str, str] = field(default_factory=dict)
    """Dialect by upstream name."""
    content: bool = False
    """True if prompts and answers of sampled requests are kept."""
    redaction: RecordedRedaction | None = None
    """Redaction of personal data in them."""


class Tracing:
    """Policy that sets the exchange's request id and trace. It is the outermost of a route."""

    def __init__(
        self,
        options: TraceOptions,
        records: TraceRecords,
        classes: RequestClasses | None = None,
    ) -> None:
        """`classes` are shared with the other reports of one configuration."""
        self._classes = classes or RequestClasses()
        self._options = options
        self._records = records
        self._tasks: set[asyncio.Task[None]] = set()
        """Records whose content is being redacted."""
        slow_s = options.keep.slow_s
        self._slow_s = slow_s if slow_s is not None else float("inf")
        # A trace is sampled if its digits compare lower than this; any digits are lower than "g".
        bound = round(options.sample * _ALL)
        self._bound = "g" if bound >= _ALL else f"{bound:016x}"

    def on_request(self, request: Request) -> None:
        """Set the request id and the trace."""
        exchange = request.exchange
        made_here = give_request_id(request)
        headers = request.headers
        if _TRACEPARENT in headers:
            trace = self._gone_on_with(request)
        else:
            trace_id = exchange.request_id if made_here else new_request_id()
            trace = Trace(trace_id, trace_id[16:] < self._bound)
            if self._options.trusts is not None and _BAGGAGE in headers:
                self._carry(request, trace)
        exchange.trace = trace
        if trace.sampled and self._options.content:
            trace.content = RecordedContent()
        if exchange.trusted_peer:
            # For the log of the proxy in front of the gateway.
            exchange.response_headers.append(("X-Trace-ID", trace.id))

    def _gone_on_with(self, request: Request) -> Trace:
        """Return the continued trace of a trusted caller; otherwise a new trace that links to the
        caller's.
        """
        options, exchange = self._options, request.exchange
        parent = parse_parent(request.headers.getall("traceparent"))
        if parent is None or not self._believes(exchange.client_ip):
            trace_id = new_request_id()
            trace = Trace(trace_id, trace_id[16:] < self._bound)
            trace.link = parent
            return trace
        sampled = parent.trace_id[16:] < self._bound
        trace = Trace(parent.trace_id, sampled or (options.follow and parent.sampled))
        trace.stem = f"1{new_request_id()[:14]}"
        trace.parent = parent
        self._carry(request, trace)
        return trace

    def _believes(self, client_ip: str) -> bool:
        trusts = self._options.trusts
        return trusts is not None and trusts(client_ip)

    def _carry(self, request: Request, trace: Trace) -> None:
        """Forward `tracestate` and `baggage` of a trusted caller to the upstream."""
        if not self._believes(request.exchange.client_ip):
            return
        headers = request.headers
        if trace.parent is not None and (state := clean_state(headers.getall("tracestate", ()))):
            trace.carried += f"tracestate: {state}\r\n".encode()
        if baggage := clean_baggage(headers.getall("baggage", ())):
            trace.carried += f"baggage: {baggage}\r\n".encode()

    def on_report(self, ended: Iterable[Exchange]) -> None:
        """Count requests, and keep the records of those with a reason to be kept."""
        for exchange in ended:
            self._count(exchange)

    def _count(self, exchange: Exchange) -> None:
        found = exchange.request_class or self._classes.of(exchange)
        if found.tally is None:
            found.tally = _tally_key(exchange)
        tally = self._records.tally(found.tally)
        tally.requests += 1
        status = exchange.status or 0
        well = exchange.end_reason is _COMPLETE and exchange.failure is None
        if not well or status >= 400:
            well = exchange.well
            if status >= 500 or not well:
                tally.errors += 1
            elif status == 429:
                tally.limited += 1
        usage = exchange.usage
        if usage is not None:
            tally.add(usage)
            surcharge = self._records.surcharge
            if surcharge is not None:
                model = exchange.served or exchange.model or ""
                tally.surcharge += surcharge(model, exchange.upstream or "", usage)
        trace = exchange.trace
        assert trace is not None
        kept = _SAMPLED if trace.sampled else None
        if not well or status >= 400:
            kept = self._reason(exchange, status) or kept
        if kept is None or kept is _SAMPLED:
            began = exchange.first_token_at or exchange.first_byte_at or exchange.ended_at
            if began - exchange.started_at >= self._slow_s:
                kept = Kept.SLOW
        if kept is not None and self._records.wanted:
            record = self._record(exchange, trace, kept)
            redaction = self._options.redaction
            if redaction is None or trace.content is None:
                self._records.add(record)
            else:
                task = asyncio.create_task(self._add_redacted(record, redaction, exchange, trace))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    def keep_copy(self, exchange: Exchange) -> None:
        """Keep the record of a copy of a request, if that request is sampled. It is not counted as
        usage of the caller.
        """
        trace = exchange.trace
        if trace is not None and trace.sampled and self._records.wanted:
            self._records.add(self._record(exchange, trace, Kept.SAMPLED))

    def _reason(self, exchange: Exchange, status: int) -> Kept | None:
        """Return the reason to keep a request that was not successful; None if there is none."""
        keep = self._options.keep
        if keep.limited and status == 429:
            return Kept.LIMITED
        if keep.errors:
            if status >= 500:
                return Kept.ERROR
            if exchange.end_reason is EndReason.CLIENT_ABORT:
                return Kept.ABORTED
            if not exchange.well:
                return Kept.ERROR
        return None

    async def _add_redacted(
        self,
        record: dict[str, Any],
        redaction: RecordedRedaction,
        exchange: Exchange,
        trace: Trace,
    ) -> None:
        """Add a record, once its content is redacted. Should that fail, the content is left out."""
        assert trace.content is not None
        told = record.pop("content")
        try:
            prompt = await redaction.prompt(told["prompt"].encode("utf-8", "replace"))
            answer = await redaction.answer(bytes(trace.content.answer), exchange)
            record["content"] = {"prompt": prompt, "answer": answer}
        finally:
            self._records.add(record)

    def _record(self, exchange: Exchange, trace: Trace, kept: Kept) -> dict[str, Any]:
        """Return the record that `spans.build` turns into spans. Times are in seconds since the
        request began.
        """
        now = exchange.ended_at or time.perf_counter()  # a copy may be kept before its end
        began, principal, usage = exchange.started_at, exchange.principal, exchange.usage
        first, first_token = exchange.first_byte_at, exchange.first_token_at
        failure, queued = exchange.failure, exchange.queued
        dialects = self._options.dialects
        record = {
            "trace": trace.id,
            "span": trace.span,
            "kept": kept,
            "sampled": trace.sampled,
            "at": time.time() - (time.perf_counter() - began),
            "s": now - began,
            "request_id": exchange.request_id,
            "client": exchange.client_ip,
            "method": exchange.method,
            "host": exchange.host,
            "url": exchange.public_url,
            "path": exchange.path,
            "route": exchange.route,
            "route_path": self._options.route_path,
            "subject": principal and principal.subject,
            "tenant": principal and principal.tenant,
            "model": exchange.model or (failure and failure.model),
            "served": exchange.served,
            "upstream": exchange.upstream,
            "endpoint": exchange.endpoint,
            "status": exchange.status,
            "end": exchange.end_reason,
            "error": failure and failure.code,
            "reason": failure and failure.reason,
            "limit": failure and failure.limit,
            "retry_after_s": failure and failure.retry_after_s,
            "streamed": exchange.streamed,
            "bytes_in": exchange.bytes_in,
            "bytes_out": exchange.bytes_out,
            "tokens_in": usage and usage.input,
            "tokens_out": usage and usage.output,
            "cache_read": usage and usage.cached,
            "cache_written": usage and usage.cache_write,
            "reasoning": usage and usage.reasoning,
            "queue_position": queued and queued.position,
            "queue_s": queued and queued.seconds,
            "first_byte_s": first and first - began,
            "ttft_s": first_token and first_token - began,
            "fallbacks": exchange.fallbacks or None,
            "continued": exchange.continued or None,
            "marks": [
                (mark.name, mark.began - began, mark.ended and mark.ended - began)
                for mark in trace.marks
            ],
            "attempts": [
                (
                    *(number, start - began, end - began, url),
                    *(upstream, model, dialects.get(upstream, ""), status, error),
                )
                for number, start, end, url, upstream, model, status, error in trace.attempts
            ],
            "events": [(name, at - began, detail) for name, at, detail in trace.events],
        }
        if trace.stream is not None:
            record["stream"] = trace.stream_digest
            record["reads"] = trace.reads
        if trace.shadow_of is not None:
            record["shadow_of"] = trace.shadow_of
        if exchange.cache is not None:
            record["cache"] = exchange.cache.status
        if exchange.delegated is not None and exchange.delegated.request_id:
            record["bridge"] = exchange.delegated.request_id
        if trace.words:
            record["words"] = {str(number): words for number, words in trace.words.items()}
        if trace.parent is not None:
            record["parent"] = list(trace.parent)
        if trace.link is not None:
            record["link"] = list(trace.link)
        gaps = trace.gaps
        if gaps is not None:
            record["gaps"] = {
                "pieces": gaps.pieces,
                "longest_s": gaps.longest_s,
                "counts": gaps.counts,
                "stalls": [(start - began, end - began) for start, end in gaps.stalls],
                "last_s": gaps.last - began if gaps.pieces else None,
            }
        if exchange.tap is not None and trace.sampled:
            record["said"] = response_metadata(*exchange.tap.ends)
        if trace.content is not None:
            prompt, answer = (exchange.body or b"")[:PROMPT_CAP_BYTES], trace.content.answer
            record["content"] = {
                "prompt": prompt.decode("utf-8", "replace"),
                "answer": answer.decode("utf-8", "replace"),
            }
        return record


def _tally_key(exchange: Exchange) -> TallyKey:
    principal = exchange.principal
    tenant = subject = key = team = tags = ""
    if principal is not None:
        subject = principal.subject
        tenant, key = principal.tenant or subject, principal.key_id or ""
        team, tags = principal.team or "", ",".join(principal.tags)
    model = exchange.served or exchange.model or ""
    return exchange.route or "", model, tenant, subject, key, team, tags
