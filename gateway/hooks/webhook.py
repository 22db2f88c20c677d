"""Guardrail webhook: a service that is asked about requests, answers and windows of streams.

Two shapes: OpenAI's moderation API, which allows or refuses, and one of the gateway's own, which
also replaces text. A call is made once: a retry would hold the stream. Connections are reused.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import aiohttp
import orjson

from gateway.dialects.passages import Passage
from gateway.hooks.content import HookedRequest, Refused, TextWindow
from gateway.hooks.guarded import HookError
from gateway.http.connectors import connector_to
from gateway.http.egress import Proxy
from gateway.http.signature import signature

_ANSWER_CAP_BYTES = 1024 * 1024
_LONGEST_REASON = 200
_MOST_CATEGORIES = 10


class WebhookFormat(StrEnum):
    """Shape of a webhook's requests and verdicts."""

    OPENAI = "openai"
    GENERIC = "generic"


@dataclass(frozen=True, slots=True)
class WebhookOptions:
    """Options of a webhook. Sizes are in characters or bytes, as they say."""

    url: str
    format: WebhookFormat
    model: str | None
    """Name of the moderation model."""
    token: bytes | None
    """Bearer token of the gateway at the service."""
    secret: bytes | None
    """Key of the signature."""
    judges_requests: bool
    judges_answers: bool
    conversation: bool
    """True: the whole conversation is judged, not only the last message of the user."""
    window_chars: int
    holds: bool
    concurrency: int
    cap_bytes: int
    """Largest body that is sent to the service."""
    context: ssl.SSLContext | None = None
    proxy: Proxy | None = None


class Webhook:
    """Hook that asks a service. One instance serves one route."""

    def __init__(self, options: WebhookOptions) -> None:
        self._options = options
        self.window = options.window_chars
        self.holds = options.holds
        self.on_request = self._on_request if options.judges_requests else None
        self.on_window = self._on_window if options.judges_answers else None
        self._session: aiohttp.ClientSession | None = None
        self._slots = asyncio.Semaphore(options.concurrency)
        self._calls = 0
        self._is_closed = False

    async def close(self) -> None:
        """Close the connections, once the last call has ended."""
        self._is_closed = True
        await self._close_if_idle()

    def _on_request(self, request: HookedRequest) -> Awaitable[None] | None:
        judged = [one for one in request.passages if one.text]
        if not self._options.conversation:
            judged = _last_of_user(judged)
        return self._judge_request(request, judged) if judged else None

    async def _judge_request(self, request: HookedRequest, judged: Sequence[Passage]) -> None:
        options = self._options
        text = "\n".join(passage.text for passage in judged)
        if options.format is WebhookFormat.OPENAI:
            _moderated(await self._ask(self._moderation(text)))
            return
        told = {
            "phase": "request",
            **_facts(request),
            "text": text,
            "messages": [{"role": one.role, "text": one.text} for one in judged],
        }
        replacement = _verdict(await self._ask(told))
        if replacement is None:
            return
        if options.conversation:
            raise HookError("it replaces a whole conversation; set `request: last`")
        for passage in judged[1:]:
            passage.text = ""
        judged[0].text = replacement

    async def _on_window(self, window: TextWindow) -> None:
        if self._options.format is WebhookFormat.OPENAI:
            # A few words before it tell what a short window means.
            before = window.before[-len(window.text) :] if not window.is_final else window.before
            _moderated(await self._ask(self._moderation(before + window.text)))
            return
        told = {
            "phase": "answer",
            **_facts(window),
            "text": window.text,
            "before": window.before,
            "kind": window.kind.value,
            "final": window.is_final,
        }
        replacement = _verdict(await self._ask(told))
        if replacement is not None:
            if not self.holds:
                raise HookError("it replaces text that was sent already; set `hold: true`")
            window.replace(0, len(window.text), replacement)

    def _moderation(self, text: str) -> dict[str, Any]:
        model = self._options.model
        return {"input": text} if model is None else {"input": text, "model": model}

    async def _ask(self, document: dict[str, Any]) -> Any:
        """Return the parsed verdict. Raise HookError."""
        options = self._options
        body = orjson.dumps(document)
        if len(body) > options.cap_bytes:
            raise HookError(f"more than {options.cap_bytes} bytes to judge; see `max_bytes`")
        self._calls += 1
        try:
            async with self._slots:
                return await self._post(body)
        except (aiohttp.ClientError, OSError) as exc:
            raise HookError(f"cannot be asked: {_told(exc)}") from exc
        finally:
            self._calls -= 1
            if self._is_closed:
                await self._close_if_idle()

    async def _post(self, body: bytes) -> Any:
        options, session = self._options, self._opened()
        async with session.post(
            options.url, data=body, headers=self._headers(body), allow_redirects=False
        ) as response:
            if response.status != 200:
                raise HookError(f"status {response.status}")
            answer = await response.content.read(_ANSWER_CAP_BYTES)
            while piece := await response.content.read(_ANSWER_CAP_BYTES):
                answer += piece
                if len(answer) > _ANSWER_CAP_BYTES:
                    raise HookError("its verdict is too long")
        try:
            return orjson.loads(answer)
        except orjson.JSONDecodeError:
            raise HookError("its verdict is no JSON") from None

    def _headers(self, body: bytes) -> dict[str, str]:
        options = self._options
        headers = {"Content-Type": "application/json"}
        if options.token is not None:
            headers["Authorization"] = f"Bearer {options.token.decode()}"
        if options.secret is not None:
            at = str(int(time.time()))
            headers["X-Gateway-Timestamp"] = at
            headers["X-Gateway-Signature"] = signature(options.secret, at, body)
        return headers

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            options = self._options
            self._session = aiohttp.ClientSession(
                connector=connector_to(
                    options.url,
                    options.proxy,
                    context=options.context,
                    limit=options.concurrency,
                ),
                # The hook has a timeout of its own.
                timeout=aiohttp.ClientTimeout(total=None),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
            )
        return self._session

    async def _close_if_idle(self) -> None:
        if not self._calls and self._session is not None:
            session, self._session = self._session, None
            await session.close()


def _last_of_user(passages: Sequence[Passage]) -> list[Passage]:
    """Return the passages of the last message of the user, or of a prompt without messages."""
    last: list[Passage] = []
    for passage in reversed(passages):
        if passage.role == "user" and (not last or _message(passage) == _message(last[0])):
            last.insert(0, passage)
        elif last:
            break
    return last


def _message(passage: Passage) -> object:
    """Return what identifies the message of a passage: the beginning of its path."""
    key = passage.key
    return key[:2] if isinstance(key, tuple) else key


def _facts(subject: HookedRequest | TextWindow) -> dict[str, Any]:
    exchange = subject.exchange
    principal = exchange.principal
    return {
        "request_id": exchange.request_id,
        "route": exchange.route,
        "model": exchange.model,
        "subject": None if principal is None else principal.subject,
        "tenant": None if principal is None else principal.tenant,
    }


def _told(exc: Exception) -> str:
    """Return what a proxy said, or else the type of the error: its text may hold addresses."""
    cause = exc.os_error if isinstance(exc, aiohttp.ClientConnectorError) else exc
    return str(cause) if str(cause).startswith("proxy ") else type(exc).__name__


def _moderated(verdict: Any) -> None:
    """Read a verdict in OpenAI's shape. Raise Refused or HookError."""
    results = verdict.get("results") if isinstance(verdict, dict) else None
    if not isinstance(results, list) or not results:
        raise HookError("its verdict has no `results`")
    names: list[str] = []
    flagged = False
    for result in results:
        if not isinstance(result, dict) or not isinstance(result.get("flagged"), bool):
            raise HookError("its verdict has no `flagged`")
        flagged = flagged or result["flagged"]
        categories = result.get("categories")
        if isinstance(categories, dict):
            names += [str(name) for name, is_so in categories.items() if is_so is True]
    if flagged:
        raise Refused(", ".join(dict.fromkeys(names[:_MOST_CATEGORIES]))[:_LONGEST_REASON])


def _verdict(verdict: Any) -> str | None:
    """Read a generic verdict. Return the text that replaces the judged one, or None. Raise Refused
    or HookError.
    """
    action = verdict.get("action") if isinstance(verdict, dict) else None
    if action == "allow":
        return None
    if action == "refuse":
        reason, message = verdict.get("reason"), verdict.get("message")
        raise Refused(
            reason[:_LONGEST_REASON] if isinstance(reason, str) else "",
            message if isinstance(message, str) and message else None,
        )
    if action == "replace" and isinstance(verdict.get("text"), str):
        text: str = verdict["text"]
        return text
    raise HookError("its verdict has no `action` of allow, refuse or replace")
