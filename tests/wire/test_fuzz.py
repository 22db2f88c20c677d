"""Whatever is sent, to whichever surface, is answered, and never by a fault of the gateway's own.

`--fuzz-examples 5000` looks longer.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from gateway.demo import DemoBackend
from tests.support.fork_server import ForkServer
from tests.support.gateway import GatewayProcess
from tests.support.tokens import CORP, SECRET, SECRET_VARIABLE, bearer
from tests.support.websocket import CLOSE, frame

pytestmark = pytest.mark.asyncio(loop_scope="module")

FAULTS = ("unhandled", "response_failed", "uncaught")
"""Events of the log that tell a fault."""
STATUS = re.compile(rb"HTTP/1\.[01] ([1-5]\d\d)")
_PATIENCE_S = 2.0

# -- what is sent ------------------------------------------------------------------------------

ROUTES = (
    *("/v1/", "/by-header/", "/translated/", "/back/", "/anthropic/v1/", "/ollama/api/"),
    *("/kept/v1/", "/plain/", "/guarded/v1/", "/bridge", "/auth/ticket", "/socket"),
)
ENDS = (
    *("chat/completions", "completions", "responses", "responses/r", "messages", "chat"),
    *("messages/count_tokens", "embeddings", "models", "models/demo", "models/a%2Fb", "generate"),
    *("streams/", f"streams/{'0' * 34}", f"streams/{'f' * 33}", "x", ""),
)
SOUND = (
    *("/v1/chat/completions", "/v1/responses", "/v1/embeddings", "/v1/completions"),
    *("/by-header/v1/chat/completions", "/plain/v1/chat/completions", "/plain/v1/responses"),
    *("/translated/chat/completions", "/back/v1/messages", "/anthropic/v1/messages"),
    *("/ollama/api/chat", "/ollama/api/generate", "/kept/v1/chat/completions"),
    *("/kept/v1/responses", "/guarded/v1/chat/completions", "/auth/ticket"),
)
"""Where a sound question is answered."""
TEXTS = (
    *("", " ", "0", "-1", "1e999", "9" * 30, "null", "true", "[", "]", "{", "}", '"', "\\", "%"),
    *("http://[", "http://", "://", "*", ";", ",", "=", "a=b;q=x", "a,b", "a;b=c", "a b", "\t"),
    *("%ff", "%00", "%0a", "..%2f", "%2e%2e", "é", "\u2028", "\ufeff", "x" * 3000, "(", "0x1"),
    *("Bearer", "Bearer ", "Basic YTpi", "Bearer a.b.c", "Bearer e30.e30.e30", "Bearer é"),
    *(f"sk-gw-{'a' * 12}-{'b' * 43}", f"tk-{'a' * 43}", f"{'0' * 34}.1", f"{'0' * 34}.", "1.5s"),
    *("grace=", "grace=x", "grace=1h", "detach", "gzip", "zstd, br;q=0", "deflate", "identity"),
    *("application/json", "multipart/form-data", "multipart/form-data; boundary=", "text/é"),
    *('multipart/form-data; boundary="', "application/x-www-form-urlencoded", "text/event-stream"),
    *("00-" + "0" * 32 + "-" + "0" * 16 + "-01", "00-" + "a" * 32 + "-" + "b" * 16 + "-zz"),
    *("websocket", "Upgrade", "13", "dGhlIHNhbXBsZSBub25jZQ==", "100-continue", "127.0.0.1:99999"),
    *("permessage-deflate; client_max_window_bits=99", "[::1]:80", "for=[", "500ms", "nan", "inf"),
)
HEADERS = (
    *("Authorization", "X-Api-Key", "Api-Key", "X-Own-Key", "Cookie", "Origin", "Referer"),
    *("Content-Type", "Content-Encoding", "Accept", "Accept-Encoding", "Expect", "User-Agent"),
    *("Connection", "Upgrade", "Sec-WebSocket-Key", "Sec-WebSocket-Version", "X-Session"),
    *("Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions", "Last-Event-ID", "Idempotency-Key"),
    *("X-On-Disconnect", "X-Request-ID", "X-Request-Timeout", "Traceparent", "Tracestate"),
    *("Baggage", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "Forwarded"),
    *("Access-Control-Request-Method", "Access-Control-Request-Headers", "Anthropic-Version"),
    *("Anthropic-Beta", "Sec-Fetch-Site", "Sec-Fetch-Dest", "X-Demo-Fault", "TE", "Trailer"),
    *("If-None-Match", "Range", "X-Stainless-Retry-Count", "Content-MD5", "Warning"),
)
FIELDS = (
    *("model", "stream", "messages", "max_tokens", "max_completion_tokens", "n", "tools", "input"),
    *("stream_options", "prompt", "background", "metadata", "user", "options", "system", "stop"),
    *("tool_choice", "response_format", "thinking", "reasoning_effort", "temperature", "format"),
    *("max_output_tokens", "previous_response_id", "logprobs", "think", "keep_alive", "images"),
)
ADMIN_PATHS = (
    *("/livez", "/readyz", "/metrics", "/api/now", "/api/workers", "/api/upstreams", "/api/routes"),
    *("/api/config", "/api/requests", "/api/limits", "/api/logs", "/api/session", "/api/traces"),
    *("/api/usage", "/api/usage.csv", "/api/telemetry", "/api/log", "/", "/requests/x", "/play"),
    *("/static/x", "/favicon.ico", "/play/socket", "/play/api/v1/models", "/play/api/"),
)
ADMIN_NAMED = (
    *("/api/requests/", "/api/traces/", "/api/upstreams/", "/play/api/", "/static/", "/requests/"),
)
ADMIN_QUERIES = (
    *("id", "route", "model", "tenant", "status", "end", "kept", "slower", "since", "until"),
    *("before", "limit", "by", "path", "topics"),
)

values = st.one_of(
    st.sampled_from(TEXTS).map(lambda text: text.encode()),
    st.binary(max_size=24).map(lambda data: re.sub(rb"[\0-\x1f\x7f]", b"", data)),
)
"""Of a header, without what the parser refuses."""
nasty = st.one_of(
    *(
        st.none(),
        st.booleans(),
        st.integers(-1, 2),
        st.floats(allow_nan=False, allow_infinity=False),
        st.just(2**70),
        st.just(""),
    ),
    *(st.sampled_from(TEXTS), st.sampled_from(("demo", "other", "crossed", "user", "function"))),
)
documents = st.recursive(
    nasty,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                (*FIELDS, "role", "content", "type", "text", "name", "arguments", "id")
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=8,
)


def asked(model: str, fields: dict[str, Any]) -> bytes:
    """A question as a client asks it, but for these fields."""
    message = {"role": "user", "content": "hi"}
    body = {"model": model, "messages": [message], "max_tokens": 2, **fields}
    return json.dumps(body).encode("utf-8", "surrogatepass")


questions = st.builds(
    asked,
    st.sampled_from(("demo", "demo", "crossed", "none")),
    st.dictionaries(st.sampled_from(FIELDS), documents, max_size=2),
)
bodies = st.one_of(
    questions,
    st.sampled_from(
        (
            *(b"", b"{", b"[]", b"null", b"{}", b'{"model":', b'{"model":"demo","stream":true,'),
            *(b'{"model":"demo"}trailing', b"\xff\xfe{\0}\0", b"\xef\xbb\xbf{}", b'"model"'),
            *(b'{"a":' * 2000, b'{"model":"demo","messages":' + b"[" * 2000, b"{" * 2000),
            *(b'{"model":"demo","model":"x"}', b'{"mod\\u0065l":"demo"}', b"--x\r\n\r\n"),
            *(b'{"model":"\\ud800"}', b'{"model":"demo","messages":[{"content":"\\udfff"}]}'),
            b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\ndemo\r\n--b--\r\n',
        )
    ),
    st.binary(max_size=40),
)


tokens = st.builds(
    lambda sub, org: bearer(sub=sub, org=org).partition(": ")[2].encode(),
    st.sampled_from(("ann", "\ud800", "a\0b", "é", "x" * 300, "[")),
    st.sampled_from(("acme", "\udfff", "a,b", ["a"], {"a": 1}, 2**70, True, None)),
)
"""Good ones, of odd subjects."""


bridge_messages = st.builds(
    lambda op, tag, body, more: {"op": op, "id": tag, **body, **more},
    st.sampled_from(("create", "create", "cancel", "resume", "ping")),
    st.sampled_from(("a", "", 1, None, "x" * 300, "\ud800")),
    st.sampled_from(
        (
            {"body": {"model": "demo", "messages": [{"role": "user", "content": "hi"}]}},
            {"body": {"model": "demo", "input": "hi"}, "path": "/kept/v1/responses"},
            {"stream": "0" * 34, "after": 1},
            {"after": f"{'0' * 34}.1"},
            {},
        )
    ),
    st.dictionaries(st.sampled_from(("body", "path", "headers", "after")), documents, max_size=1),
)


@st.composite
def public(draw: st.DrawFn) -> bytes:
    """A request to the public listener."""
    fields = draw(st.lists(st.tuples(st.sampled_from(HEADERS), values), max_size=3))
    if not draw(st.integers(0, 3)):
        method = draw(st.sampled_from(("POST", "GET", "OPTIONS", "DELETE", "HEAD", "PUT")))
        path = draw(st.sampled_from(ROUTES)) + draw(st.sampled_from(ENDS))
    else:
        method, path = "POST", draw(st.sampled_from(SOUND))
        fields.insert(0, ("Content-Type", b"application/json"))
    if draw(st.booleans()):
        fields.insert(0, ("Authorization", draw(tokens)))
    if not draw(st.integers(0, 3)):
        query = draw(st.sampled_from(("?", "?ticket={}", "?model={}", "?after={}", "?{}")))
        path += query.format(quote(draw(values)))
    return message(method, path, fields, draw(st.one_of(questions, bodies)), draw)


@st.composite
def handshake(draw: st.DrawFn) -> bytes:
    """A WebSocket's, with a field or two that are not as they have to be; and what follows it."""
    fields = {
        "Connection": b"Upgrade",
        "Upgrade": b"websocket",
        "Sec-WebSocket-Version": b"13",
        "Sec-WebSocket-Key": b"dGhlIHNhbXBsZSBub25jZQ==",
        "Authorization": bearer().partition(": ")[2].encode(),
    }
    names = (*fields, "Origin", "Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions", "Host")
    for name in draw(st.lists(st.sampled_from(names), max_size=2)):
        fields[name] = draw(values)
    host = fields.pop("Host", b"localhost")
    path = draw(
        st.sampled_from(("/bridge", "/socket", "/v1/x", "/socket?model=demo", "/bridge?x=["))
    )
    head = [f"GET {path} HTTP/1.1".encode(), b"Host: " + host]
    head += [name.encode() + b": " + value for name, value in fields.items()]
    # A frame that is none ends what was opened.
    return b"\r\n".join([*head, b"", b""]) + draw(st.binary(max_size=20)) + b"\xff" * 20


@st.composite
def conversation(draw: st.DrawFn) -> bytes:
    """A bridge's handshake, and messages on it; the last one ends it."""
    messages = draw(st.lists(st.one_of(bridge_messages, documents), min_size=1, max_size=3))
    texts = [json.dumps(one).encode("utf-8", "surrogatepass") for one in messages]
    if draw(st.integers(0, 3)) == 3:
        texts.insert(0, draw(bodies))
    opening = (
        b"GET /bridge HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        b"Authorization: " + draw(tokens) + b"\r\n\r\n"
    )
    return opening + b"".join(map(frame, texts)) + frame(b"\x03\xe8", CLOSE)


@st.composite
def administrative(draw: st.DrawFn) -> bytes:
    """A request to the admin listener."""
    path = draw(st.sampled_from(ADMIN_PATHS))
    if draw(st.booleans()):
        path = draw(st.sampled_from(ADMIN_NAMED)) + quote(draw(values), safe="%")
        path += draw(st.sampled_from(("", "/drain", "/undrain", "/x")))
    queries = draw(st.lists(st.tuples(st.sampled_from(ADMIN_QUERIES), values), max_size=2))
    if queries:
        path += "?" + "&".join(f"{name}={quote(value)}" for name, value in queries)
    fields = draw(st.lists(st.tuples(st.sampled_from(HEADERS), values), max_size=2))
    fields = [one for one in fields if one[0] not in ("Connection", "Upgrade", "Expect")]
    method = draw(st.sampled_from(("GET", "GET", "GET", "POST", "DELETE", "PUT", "HEAD")))
    small = st.dictionaries(
        st.sampled_from(("token", "endpoint", "level", "sample")), documents, max_size=2
    )
    body = draw(st.one_of(bodies, small.map(lambda one: json.dumps(one).encode())))
    if path.startswith("/api/log?") or path == "/api/log":
        body = body.replace(b'"error"', b'"x"')
    return message(method, path, fields, body, draw)


def message(
    method: str, target: str, fields: list[tuple[str, bytes]], body: bytes, draw: st.DrawFn
) -> bytes:
    """The bytes of a request that is the only one of its connection."""
    host = draw(values) if draw(st.integers(0, 9)) == 7 else b"localhost"
    head = [f"{method} {target} HTTP/1.1".encode(), b"Host: " + host]
    head += [name.encode() + b": " + value for name, value in fields]
    if not any(name == "Connection" for name, _ in fields):
        head.append(b"Connection: close")
    head.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([*head, b"", b""]) + body


# -- where it is sent --------------------------------------------------------------------------


def config(folder: Path, demo: str) -> dict[str, Any]:
    """One of each kind of route."""
    to_demo = {"endpoints": [{"url": demo}]}
    open_route: dict[str, Any] = {"auth": "anonymous", "heartbeat": "50ms"}
    models = ["demo", "crossed"]
    return {
        "server": {"trusted_proxies": ["127.0.0.1/32"], "body_timeout": "1s", "keepalive": "50ms"},
        "admin": {"listen": "127.0.0.1:0"},
        "telemetry": {
            "log": {"format": "json", "access": False},
            "traces": {"sample": 1, "local": str(folder / "traces.db")},
        },
        "auth": {
            **CORP,
            "keys": {"type": "api_key", "file": str(folder / "keys.yaml"), "header": "X-Own-Key"},
            "door": {"type": "ticket"},
        },
        "limits": {
            "tokens": {"key": "ip", "tokens": "1000000000/minute"},
            "requests": {"key": "claim.org", "requests": "1000000/second"},
        },
        "upstreams": {
            "demo": {**to_demo, "continues": "prefill"},
            "hashed": {**to_demo, "continues": "prefill", "balance": {"hash": "header.X-Session"}},
            "by-body": {**to_demo, "continues": "prefill", "balance": {"hash": "body.user"}},
            "claude": {**to_demo, "dialect": "anthropic"},
            "ollama": {**to_demo, "dialect": "ollama"},
            "prefix": {**to_demo, "balance": "prefix"},
        },
        "models": {
            "demo": {"upstream": "demo"},
            "crossed": {"upstream": "claude", "model": "demo"},
        },
        "routes": [
            {"name": "main", "path": "/v1/", "models": models, "dialect": "openai", **open_route},
            {
                "name": "by-header",
                "path": "/by-header/",
                "upstream": "hashed",
                "strip": True,
                **open_route,
            },
            {
                "name": "translated",
                "path": "/translated/",
                "upstream": "claude",
                "dialect": "openai",
                **open_route,
            },
            {
                "name": "back",
                "path": "/back/",
                "upstream": "demo",
                "dialect": "anthropic",
                "limits": ["tokens"],
                **open_route,
            },
            {
                "name": "anthropic",
                "path": "/anthropic/v1/",
                "upstream": "ollama",
                "dialect": "anthropic",
                **open_route,
            },
            {"name": "ollama", "path": "/ollama/api/", "models": models, "dialect": "ollama"}
            | open_route,
            {
                "name": "kept",
                "path": "/kept/v1/",
                "models": models,
                "dialect": "openai",
                "resume": {"may_detach": True, "background": True},
                "cors": {"origins": ["https://app.test"]},
                "compress": ["zstd", "br", "gzip"],
                "limits": ["tokens"],
                **open_route,
            },
            {
                "name": "plain",
                "path": "/plain/",
                "upstream": "by-body",
                "strip": True,
                "limits": ["tokens"],
                "cors": {"origins": ["*"], "headers": ["*"]},
                **open_route,
            },
            {
                "name": "guarded",
                "path": "/guarded/v1/",
                "auth": ["corp", "keys", "door"],
                "upstream": "prefix",
                "limits": ["requests"],
                "resume": {},
            },
            {
                "name": "bridge",
                "path": "/bridge",
                "auth": ["corp", "door"],
                "bridge": {"to": "kept"},
            },
            {"name": "socket", "path": "/socket", "upstream": "demo", "websocket": True}
            | open_route,
            {
                "name": "tickets",
                "path": "/auth/ticket",
                "methods": ["POST"],
                "auth": ["corp", "keys"],
                "issues": "door",
            },
        ],
    }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(
    tmp_path_factory: pytest.TempPathFactory, fork_server: ForkServer
) -> AsyncIterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("fuzz")
    demo = DemoBackend(pace_s=0.0)
    await demo.start("127.0.0.1", 0)
    running = GatewayProcess(
        config(folder, demo.url), {}, folder / "gateway.yaml", fork_server=fork_server
    )
    try:
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv(SECRET_VARIABLE, SECRET)
            await running.start()
        yield running
        await running.stop()
    finally:
        await demo.stop()
    assert b"Traceback" not in running.errors, running.errors.decode()


def exchanged(port: int, raw: bytes) -> bytes:
    """What comes back until the connection closes. Empty: there was no answer at all."""
    data = b""
    with socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE_S) as sock:
        try:
            sock.sendall(raw)
            while piece := sock.recv(65536):
                data += piece
                if len(data) > 1_000_000:
                    break
        except OSError:
            pass  # closed while it was written to, or nothing more came
    return data


async def look(
    request: pytest.FixtureRequest,
    gateway: GatewayProcess,
    port: int,
    requests: st.SearchStrategy[bytes],
    verdict: Callable[[bytes, bytes], None],
) -> None:
    """Send many, in a thread of its own: the loop has a backend to run, and a log to read."""
    examples = request.config.getoption("--fuzz-examples")

    @settings(
        max_examples=examples,
        phases=(Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(requests)
    def send(raw: bytes) -> None:
        before = len(gateway.log.lines)
        verdict(raw, exchanged(port, raw))
        for line in gateway.log.lines[before:]:
            assert line.get("event") not in FAULTS, f"{raw!r}\n{line.get('exception')}"

    await asyncio.to_thread(send)
    assert b"Traceback" not in gateway.errors, gateway.errors.decode()


def no_fault(raw: bytes, answer: bytes) -> None:
    """It is an answer, and not one of a fault."""
    status = STATUS.match(answer)
    assert status is not None, f"no answer to {raw!r}: {answer[:200]!r}"
    assert status[1] != b"500", f"{raw!r}\n{answer[:2000]!r}"
    assert b"internal_error" not in answer, f"{raw!r}\n{answer[:2000]!r}"


async def test_no_request_is_a_fault_of_the_gateways_own(
    request: pytest.FixtureRequest, gateway: GatewayProcess
) -> None:
    await look(request, gateway, gateway.port, public(), no_fault)


async def test_no_handshake_is_a_fault_of_the_gateways_own(
    request: pytest.FixtureRequest, gateway: GatewayProcess
) -> None:
    await look(request, gateway, gateway.port, handshake(), no_fault)


async def test_no_conversation_on_a_bridge_is_a_fault_of_the_gateways_own(
    request: pytest.FixtureRequest, gateway: GatewayProcess
) -> None:
    await look(request, gateway, gateway.port, conversation(), no_fault)


async def test_no_request_to_the_admin_listener_is_a_fault_of_its_own(
    request: pytest.FixtureRequest, gateway: GatewayProcess
) -> None:
    await look(request, gateway, gateway.admin_port, administrative(), no_fault)


# What the search, or somebody else, has found once.
ONCE = {
    "origin of a handshake": b"GET /socket?model=demo HTTP/1.1\r\nHost: localhost\r\n"
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: http://[\r\n\r\n",
    "invalid JSON where another backend may go on": b"POST /plain/v1/chat/completions HTTP/1.1\r\n"
    b'Host: localhost\r\nConnection: close\r\nContent-Length: 16\r\n\r\n{"stream": true,}',
    "a credential in another charset": b"POST /translated/chat/completions HTTP/1.1\r\n"
    b"Host: localhost\r\nConnection: close\r\nX-Api-Key: \xc4\x80\xff\r\n"
    b"Content-Length: 70\r\n\r\n"
    + b'{"model":"demo","messages":[{"role":"user","content":"hi"}],"n":1     }',
}


@pytest.mark.parametrize("raw", ONCE.values(), ids=ONCE)
async def test_what_was_a_fault_once_is_none(gateway: GatewayProcess, raw: bytes) -> None:
    before = len(gateway.log.lines)
    no_fault(raw, await asyncio.to_thread(exchanged, gateway.port, raw))
    assert all(line.get("event") not in FAULTS for line in gateway.log.lines[before:])
