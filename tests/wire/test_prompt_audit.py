"""Prompts and answers of a route are recorded in files, where the route says so."""

from __future__ import annotations

import gzip
import json
import re
import shutil
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from gateway.config import load_text
from gateway.prompt_audit.audit_log import RecordResult
from gateway.prompt_audit.data_keys import SecretKey
from gateway.prompt_audit.line_file import CutOff, read_lines
from tests.support.bridge import bridge_client
from tests.support.client import RawClient, Response, ask, request
from tests.support.gateway import RunningGateway, StartGateway, config_text
from tests.support.metrics import read
from tests.support.s3_server import s3_server
from tests.support.upstream import (
    STREAM_HEAD,
    ScriptedUpstream,
    UpstreamConnection,
    chunk,
    json_reply,
    raw_reply,
    reply,
    sse_reply,
    stepped_stream,
)
from tests.support.waiting import eventually

USAGE = {"prompt_tokens": 100, "completion_tokens": 7, "total_tokens": 107}
ANSWER: dict[str, Any] = {
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}
    ],
    "usage": USAGE,
}
EVENTS = (
    b'data: {"choices":[{"index":0,"delta":{"content":"Hi"}}]}\n\n',
    b'data: {"choices":[{"index":0,"delta":{"content":" there"}}]}\n\n',
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n',
    b'data: {"choices":[],"usage":' + json.dumps(USAGE).encode() + b"}\n\n",
    b"data: [DONE]\n\n",
)


async def broken_stream(connection: UpstreamConnection) -> None:
    """Send the beginning of a stream, then close."""
    await connection.read_request()
    await connection.send(STREAM_HEAD)
    for event in EVENTS[:2]:
        await connection.send(chunk(event))


def config(
    upstream: ScriptedUpstream, folder: Path, audit: dict[str, Any] | None = None, **route: Any
) -> dict[str, Any]:
    return {
        "prompt_audit": {"directory": str(folder / "audit"), "flush": "10ms", **(audit or {})},
        "upstreams": {"u": {"endpoints": [{"url": upstream.url}], "retries": {"attempts": 0}}},
        "models": {"m": {"upstream": "u", "model": "own", "price": {"input": 2, "output": 10}}},
        "routes": [
            {
                "name": "main",
                "path": "/v1/",
                "auth": "anonymous",
                "models": ["m"],
                "audit_prompts": {},
                **route,
            }
        ],
    }


async def post(
    gateway: RunningGateway, *headers: str, path: str = "/v1/chat/completions", **fields: Any
) -> Response:
    document = {"model": "m", "messages": [{"role": "user", "content": "Hello"}], **fields}
    body = json.dumps(document).encode()
    return await ask(gateway.port, request("POST", path, headers=headers, body=body), "POST")


def found(folder: Path) -> list[dict[str, Any]]:
    """Return the records in a folder."""
    records = []
    for path in sorted((folder / "audit").iterdir()):
        try:
            with path.open("rb") as file:
                for line in read_lines(file):
                    records.append(json.loads(line))
        except (CutOff, FileNotFoundError):  # it is being written, or renamed
            continue
    return records


async def records(folder: Path, count: int = 1) -> list[dict[str, Any]]:
    """Wait for this number of records."""
    await eventually(
        lambda: (folder / "audit").exists() and len(found(folder)) >= count, patience_s=30
    )
    return found(folder)


async def test_a_record_tells_who_asked_what_and_what_the_answer_was(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    async with ScriptedUpstream(json_reply(ANSWER)) as upstream:
        gateway = await start_gateway(config(upstream, tmp_path))
        response = await post(gateway)
        (record,) = await records(tmp_path)
    assert record["request_id"] == (response.value("x-request-id") or b"").decode()
    facts = {name: record[name] for name in ("route", "model", "upstream", "status", "verdict")}
    assert facts == {
        **{"route": "main", "model": "m", "upstream": "u"},
        **{"status": 200, "verdict": "ok"},
    }
    assert (record["usage"]["input"], record["usage"]["output"]) == (100, 7)
    assert record["cost"] == {"amount": 0.00027, "currency": "USD"}
    assert record["request"]["body"]["messages"] == [{"role": "user", "content": "Hello"}]
    assert record["request"]["body"]["model"] == "m"  # not the backend's name
    assert record["answer"]["text"] == "Hi"
    assert record["answer"]["body"] == ANSWER
    assert record["answer"]["messages"][0]["finish_reason"] == "stop"
    assert (record["request"]["truncated"], record["answer"]["truncated"]) == (False, False)


async def test_a_streamed_answer_is_assembled(start_gateway: StartGateway, tmp_path: Path) -> None:
    async with ScriptedUpstream(sse_reply(EVENTS)) as upstream:
        document = config(upstream, tmp_path, limits=["l"])
        document["limits"] = {"l": {"key": "route", "tokens": "100000/minute"}}
        gateway = await start_gateway(document)
        response = await post(gateway, stream=True)
        (record,) = await records(tmp_path)
    assert b"include_usage" in upstream.requests[0].body
    assert b'"usage"' not in response.body  # the caller did not ask for it
    assert "stream_options" not in record["request"]["body"]
    answer = record["answer"]
    assert (record["streamed"], answer["complete"], answer["truncated"]) == (True, True, False)
    assert answer["text"] == "Hi there"
    assert answer["body"]["choices"][0]["message"]["content"] == "Hi there"
    assert answer["body"]["choices"][0]["finish_reason"] == "stop"
    assert record["usage"]["output"] == 7


async def test_an_answer_that_broke_off_is_recorded_as_far_as_it_came(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    async with ScriptedUpstream(broken_stream) as upstream:
        gateway = await start_gateway(config(upstream, tmp_path))
        await post(gateway, stream=True)
        (record,) = await records(tmp_path)
    assert record["verdict"] == "upstream_reset"
    assert record["answer"]["text"] == "Hi there"
    assert record["answer"]["complete"] is False
    assert record["answer"]["messages"][0]["finish_reason"] == "error"


async def test_a_caller_who_leaves_is_recorded_with_what_was_sent(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    async with ScriptedUpstream(stepped_stream()) as upstream:
        gateway = await start_gateway(config(upstream, tmp_path))
        body = json.dumps({"model": "m", "messages": [], "stream": True}).encode()
        async with RawClient(gateway.port) as client:
            await client.send(request("POST", "/v1/chat/completions", body=body))
            await upstream.release(EVENTS[0])
            await client.read_until(b"Hi")
        (record,) = await records(tmp_path)
    assert (record["verdict"], record["answer"]["text"]) == ("client_abort", "Hi")
    assert record["answer"]["complete"] is False


async def test_only_a_share_is_recorded_and_other_routes_are_not(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    async with ScriptedUpstream(json_reply(ANSWER)) as upstream:
        document = config(upstream, tmp_path, audit_prompts={"sample": "0%"})
        document["routes"].append(
            {**document["routes"][0], "name": "other", "path": "/other/v1/", "audit_prompts": None}
        )
        document["routes"].append(
            {**document["routes"][0], "name": "all", "path": "/all/v1/", "audit_prompts": {}}
        )
        gateway = await start_gateway(document)
        for prefix in ("", "/other", "/all"):
            await post(gateway, path=f"{prefix}/v1/chat/completions")
        await records(tmp_path)
        await gateway.server.stop()
    assert [record["route"] for record in found(tmp_path)] == ["all"]


async def test_lists_of_models_are_not_recorded(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    async with ScriptedUpstream(json_reply(ANSWER)) as upstream:
        gateway = await start_gateway(config(upstream, tmp_path))
        assert (await ask(gateway.port, request("GET", "/v1/models"))).status == 200
        await post(gateway)
        assert [record["method"] for record in await records(tmp_path)] == ["POST"]


async def test_secrets_and_addresses_are_masked_unless_the_route_says_no(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    text = "my key is sk-abcdefghijklmnop, mail bob\u0040example.com"
    answer = {"choices": [{"message": {"content": "ok bob@example.com"}}]}
    async with ScriptedUpstream(json_reply(answer)) as upstream:
        document = config(upstream, tmp_path)
        plain = {"name": "plain", "path": "/plain/v1/", "audit_prompts": {"redact": False}}
        document["routes"].append({**document["routes"][0], **plain})
        gateway = await start_gateway(document)
        raw = json.dumps({"model": "m", "messages": [{"role": "user", "content": text}]})
        escaped = raw.replace("@", "\\u0040").encode()
        for prefix in ("", "/plain"):
            data = request("POST", f"{prefix}/v1/chat/completions", body=escaped)
            await ask(gateway.port, data, "POST")
        masked, kept = await records(tmp_path, 2)
        assert b"bob@example.com" not in bytes(gateway.log.raw)
    assert (masked["redacted"], kept["redacted"]) == (True, False)
    assert "sk-abc" not in json.dumps(masked)
    assert "bob" not in json.dumps(masked)
    assert kept["request"]["body"]["messages"][0]["content"] == text
    assert kept["answer"]["text"] == "ok bob@example.com"


async def test_long_bodies_are_cut_and_data_in_base64_is_left_out(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    image = "data:image/png;base64," + "iVBORw0KGgo" * 100_000
    content = [
        {"type": "image_url", "image_url": {"url": image}},
        {"type": "text", "text": "what is it?"},
    ]
    async with ScriptedUpstream(json_reply(ANSWER)) as upstream:
        gateway = await start_gateway(
            config(upstream, tmp_path, audit_prompts={"max_bytes": "1KiB"})
        )
        await post(gateway, messages=[{"role": "user", "content": content}])
        await post(gateway, messages=[{"role": "user", "content": "long words " * 1000}])
        image_of, text_of = sorted(
            await records(tmp_path, 2), key=lambda record: record["request"]["truncated"]
        )
    body = image_of["request"]["body"]
    assert body["messages"][0]["content"][0]["image_url"]["url"].startswith(
        "data:image/png;base64,[1100000 bytes of base64]"
    )
    assert body["messages"][0]["content"][1]["text"] == "what is it?"
    assert image_of["request"]["bytes"] > 1_100_000
    assert text_of["request"]["truncated"] is True
    assert isinstance(text_of["request"]["body"], str)
    assert len(text_of["request"]["body"]) == 1024


async def test_a_body_of_20_mb_costs_no_more_than_its_beginning(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    async with ScriptedUpstream(json_reply(ANSWER)) as upstream:
        gateway = await start_gateway(config(upstream, tmp_path, body="32MiB"))
        words = "some words and more " * 1_000_000
        response = await post(gateway, messages=[{"role": "user", "content": words}])
        (record,) = await records(tmp_path)
        log = gateway.server.runtime.prompt_audit
        await eventually(lambda: log is not None and not log.queued_bytes, patience_s=30)
    assert response.status == 200
    assert record["request"]["truncated"] is True
    assert len(record["request"]["body"]) <= 256 * 1024


async def test_uploads_and_binary_answers_are_told_and_left_out(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    form = (
        b'--B\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n'
        b'--B\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
        b"\x00\x01\r\n--B--\r\n"
    )
    sound = raw_reply(reply(b"\x00\x01\x02", content_type="audio/mpeg"))
    async with ScriptedUpstream(sound) as upstream:
        gateway = await start_gateway(config(upstream, tmp_path))
        head = "Content-Type: multipart/form-data; boundary=B"
        data = request("POST", "/v1/audio/transcriptions", headers=(head,), body=form)
        assert (await ask(gateway.port, data, "POST")).status == 200
        (record,) = await records(tmp_path)
    assert record["model"] == "m"
    assert record["request"]["bytes"] == len(form)
    assert record["request"]["left_out"] == "it is no text"
    assert (record["answer"]["bytes"], record["answer"]["left_out"]) == (3, "it is no text")


async def test_a_body_that_would_be_passed_on_unread_is_read(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    async with ScriptedUpstream(json_reply(ANSWER)) as upstream:
        document = config(upstream, tmp_path)
        document["routes"][0] |= {"models": [], "upstream": "u"}
        gateway = await start_gateway(document)
        await post(gateway, messages=[{"role": "user", "content": "words " * 20_000}])
        (record,) = await records(tmp_path)
    assert record["request"]["body"]["messages"][0]["content"] == "words " * 20_000
    assert json.loads(upstream.requests[0].body)["messages"][0]["content"] == "words " * 20_000


@pytest.mark.parametrize("coding", ["gzip", "unheard-of"])
async def test_a_compressed_body_that_nobody_reads_is_sent_as_it_came(
    start_gateway: StartGateway, tmp_path: Path, coding: str
) -> None:
    packed = gzip.compress(json.dumps({"messages": [{"content": "words"}]}).encode())
    async with ScriptedUpstream(json_reply(ANSWER)) as upstream:
        document = config(upstream, tmp_path)
        document["routes"][0] |= {"models": [], "upstream": "u"}
        gateway = await start_gateway(document)
        headers = (f"Content-Encoding: {coding}", "Content-Type: application/json")
        data = request("POST", "/v1/chat/completions", headers=headers, body=packed)
        assert (await ask(gateway.port, data, "POST")).status == 200
        (record,) = await records(tmp_path)
    assert upstream.requests[0].body == packed
    assert upstream.requests[0].value("content-encoding") == coding.encode()
    if coding == "gzip":
        assert record["request"]["body"] == {"messages": [{"content": "words"}]}
    else:
        assert record["request"]["truncated"] is True


async def test_refused_requests_are_recorded_with_the_reason(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    async with ScriptedUpstream(json_reply(ANSWER)) as upstream:
        document = config(upstream, tmp_path, limits=["l"])
        document["limits"] = {"l": {"key": "route", "requests": "1/hour"}}
        gateway = await start_gateway(document)
        assert [(await post(gateway)).status for _ in range(2)] == [200, 429]
        refused = (await records(tmp_path, 2))[-1]
    assert (refused["status"], refused["verdict"]) == (429, "rate_limit_exceeded")
    assert refused["answer"] == {"left_out": "there is none"}


async def test_a_stored_answer_is_recorded_as_a_hit(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    async with ScriptedUpstream(sse_reply(EVENTS)) as upstream:
        gateway = await start_gateway(config(upstream, tmp_path, cache={}))
        for _ in range(2):
            await post(gateway, stream=True)
        first, second = await records(tmp_path, 2)
    assert (first["cache"], second["cache"]) == ("miss", "hit")
    assert first["answer"]["text"] == second["answer"]["text"] == "Hi there"


async def test_copies_to_another_model_are_told(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    async with ScriptedUpstream(json_reply(ANSWER)) as upstream:
        document = config(upstream, tmp_path)
        document["models"]["n"] = {"upstream": "u"}
        document["models"]["m"]["mirror"] = {"to": "n", "share": "100%"}
        gateway = await start_gateway(document)
        await post(gateway)
        (record,) = await records(tmp_path)
    (copy,) = record["copies"]
    assert copy["model"] == "n"
    assert copy["request_id"] != record["request_id"]


async def test_a_stream_that_is_replayed_refers_to_the_record_of_the_first(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    async with ScriptedUpstream(sse_reply(EVENTS)) as upstream:
        gateway = await start_gateway(config(upstream, tmp_path, resume={}))
        for _ in range(2):
            await post(gateway, "Idempotency-Key: k", stream=True)
        first, second = await records(tmp_path, 2)
    assert first["answer"]["text"] == "Hi there"
    assert second["answer"] == {"left_out": "it is that of the request that began the stream"}
    assert second["replays"] == first.get("stream", second["replays"])
    assert len(upstream.requests) == 1


async def test_the_end_of_the_process_writes_what_waits(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    async with ScriptedUpstream(json_reply(ANSWER)) as upstream:
        gateway = await start_gateway(config(upstream, tmp_path, {"flush": "60s"}))
        await post(gateway)
        await gateway.server.stop()
    (file,) = (tmp_path / "audit").iterdir()
    assert file.name.endswith(".jsonl.gz")
    assert len(found(tmp_path)) == 1


async def test_a_reload_without_the_section_records_what_is_under_way(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    async with ScriptedUpstream(stepped_stream()) as upstream:
        gateway = await start_gateway(config(upstream, tmp_path))
        body = json.dumps({"model": "m", "messages": [], "stream": True}).encode()
        async with RawClient(gateway.port) as client:
            await client.send(request("POST", "/v1/chat/completions", body=body))
            await upstream.release(EVENTS[0])
            await client.read_until(b"Hi")
            document = config(upstream, tmp_path, audit_prompts=None)
            document.pop("prompt_audit")
            await gateway.server.prepare(load_text(config_text(document, {})))
            gateway.server.commit()
            for event in EVENTS[1:]:
                await upstream.release(event)
            await upstream.finish()
            await client.read_until(b"0\r\n\r\n")
            (record,) = await records(tmp_path)
            await eventually(
                lambda: not any(one.suffix == ".open" for one in (tmp_path / "audit").iterdir())
            )
    assert record["answer"]["text"] == "Hi there"


async def test_a_reload_with_another_key_begins_a_file_for_it(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    for name in ("old", "new"):
        (tmp_path / name).write_text(name.encode().hex() * 8 + "00" * 8)

    def sealed(key: str) -> dict[str, Any]:
        file = {"file": str(tmp_path / key)}
        return {"encryption": {"keys": {key: {"secret": file}}}}

    async with ScriptedUpstream(json_reply(ANSWER)) as upstream:
        gateway = await start_gateway(config(upstream, tmp_path, sealed("old")))
        await post(gateway)
        changed = load_text(config_text(config(upstream, tmp_path, sealed("new")), {}))
        await gateway.server.prepare(changed)
        gateway.server.commit()
        await post(gateway)
        await gateway.server.stop()
    keys = [SecretKey.parse(name, (tmp_path / name).read_bytes()) for name in ("old", "new")]
    used = []
    for path in (tmp_path / "audit").iterdir():
        with path.open("rb") as file:
            used.append(json.loads(file.readline())["keys"][0]["key"])
            file.seek(0)
            (line,) = read_lines(file, keys)
        assert json.loads(line)["verdict"] == "ok"
    assert sorted(used) == ["new", "old"]


def break_folder(folder: Path) -> None:
    """Put a file in place of the folder, so that nothing can be written."""
    shutil.rmtree(folder / "audit", ignore_errors=True)
    (folder / "audit").write_text("")


async def test_records_that_cannot_be_written_wait_and_nothing_else_does(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    async with ScriptedUpstream(json_reply(ANSWER)) as upstream:
        gateway = await start_gateway(config(upstream, tmp_path))
        await eventually((tmp_path / "audit").exists, patience_s=30)
        break_folder(tmp_path)
        assert (await post(gateway)).status == 200
        line = await gateway.wait_for_log(lambda line: line.get("event") == "prompt_audit")
        assert line["destination"] == "failing"
        assert "ot a directory" in line["reason"]
        assert (await read(gateway)).value("gateway_prompt_audit_failing") == 1
        (tmp_path / "audit").unlink()
        (record,) = await records(tmp_path)
        await gateway.wait_for_log(lambda line: line.get("destination") == "working")
        samples = await read(gateway)
    assert samples.value("gateway_prompt_audit_failing") == 0
    assert samples.value("gateway_prompt_audit_records_total", route="main", result="written") == 1
    assert record["verdict"] == "ok"
    assert len([one for one in gateway.log_lines if one.get("destination") == "failing"]) == 1
    assert b"Hello" not in bytes(gateway.log.raw)


@pytest.mark.parametrize("on_full", ["drop", "refuse"])
async def test_a_full_queue_drops_records_or_refuses_requests(
    start_gateway: StartGateway, tmp_path: Path, on_full: str
) -> None:
    audit = {"queue": "1MiB", "on_full": on_full}
    async with ScriptedUpstream(json_reply(ANSWER)) as upstream:
        document = config(upstream, tmp_path, audit, audit_prompts={"max_bytes": "2MiB"})
        document["routes"].append(
            {**document["routes"][0], "name": "off", "path": "/off/v1/", "audit_prompts": None}
        )
        gateway = await start_gateway(document)
        await eventually((tmp_path / "audit").exists, patience_s=30)
        break_folder(tmp_path)
        words = [{"role": "user", "content": "words " * 200_000}]
        assert (await post(gateway, messages=words)).status == 200
        log = gateway.server.runtime.prompt_audit
        assert log is not None
        await eventually(lambda: log.queued_bytes > 1024**2, patience_s=30)
        answer = await post(gateway)
        other = await post(gateway, path="/off/v1/chat/completions")
        (tmp_path / "audit").unlink()
        await records(tmp_path)
        await eventually(lambda: not log.queued_bytes, patience_s=30)
        after = await post(gateway)
        await records(tmp_path, 2)
    assert (other.status, after.status) == (200, 200)
    if on_full == "drop":
        assert answer.status == 200
        assert log.counts.records["main", RecordResult.DROPPED] == 1
    else:
        assert (answer.status, answer.json()["error"]["code"]) == (503, "audit_unavailable")
        assert answer.value("retry-after") == b"5"


async def test_the_route_keeps_its_own_names_of_things_in_the_dialect_of_anthropic(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    async with ScriptedUpstream(sse_reply(EVENTS)) as upstream:
        gateway = await start_gateway(config(upstream, tmp_path, dialect="anthropic"))
        await post(gateway, path="/v1/messages", stream=True, max_tokens=10)
        (record,) = await records(tmp_path)
    answer = record["answer"]
    assert answer["text"] == "Hi there"
    assert answer["body"]["type"] == "message"
    assert answer["body"]["content"] == [{"type": "text", "text": "Hi there"}]


async def test_the_calls_of_tools_are_assembled(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    def call(**function: str) -> bytes:
        delta = {"tool_calls": [{"index": 0, "id": "c1", "function": function}]}
        return b"data: %b\n\n" % json.dumps({"choices": [{"index": 0, "delta": delta}]}).encode()

    events = (call(name="find", arguments='{"q":'), call(arguments='"x"}'), *EVENTS[2:])
    async with ScriptedUpstream(sse_reply(events)) as upstream:
        gateway = await start_gateway(config(upstream, tmp_path))
        await post(gateway, stream=True)
        (record,) = await records(tmp_path)
    (part,) = record["answer"]["messages"][0]["parts"]
    assert (part["name"], part["arguments"]) == ("find", {"q": "x"})
    (called,) = record["answer"]["body"]["choices"][0]["message"]["tool_calls"]
    assert called["function"] == {"name": "find", "arguments": '{"q":"x"}'}


@pytest.mark.timeout(180)
async def test_files_are_uploaded_to_s3_with_what_is_left_at_the_end(
    start_gateway: StartGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = SecretKey("k", bytes(range(32)))
    (tmp_path / "key").write_text(key.secret.hex())
    sealed = {"keys": {"k": {"secret": {"file": str(tmp_path / "key")}}}}
    async with s3_server() as server, ScriptedUpstream(json_reply(ANSWER)) as upstream:
        monkeypatch.setenv("S3_ID", server.access_key)
        monkeypatch.setenv("S3_SECRET", "another")
        audit = {"s3": server.settings, "encryption": sealed, "rotate": {"age": "1s"}}
        gateway = await start_gateway(config(upstream, tmp_path, audit))
        await post(gateway, model="m", messages=[{"role": "user", "content": "first"}])
        line = await gateway.log.wait_for(
            lambda line: line.get("destination") == "failing", patience_s=45
        )
        assert line["reason"] == "upload: status 403 SignatureDoesNotMatch"
        # The credentials are mended, as by a secret that rotates.
        monkeypatch.setenv("S3_SECRET", server.secret_key)
        changed = load_text(config_text(config(upstream, tmp_path, audit), {}))
        await gateway.server.prepare(changed)
        gateway.server.commit()
        await post(gateway, model="m", messages=[{"role": "user", "content": "second"}])
        await gateway.server.stop()
        objects = await server.objects()
    assert not any((tmp_path / "audit").iterdir())
    assert all(re.match(r"gateway/\d{4}/\d\d/\d\d/prompts-", name) for name in objects)
    lines = [line for data in objects.values() for line in read_lines(BytesIO(data), [key])]
    asked = [json.loads(line)["request"]["body"]["messages"][0]["content"] for line in lines]
    assert sorted(asked) == ["first", "second"]


@pytest.mark.timeout(180)
async def test_personal_data_is_redacted_by_hooks_and_passes_to_the_backend(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    events = [
        b'data: {"choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n' % part
        for part in (b"card 4111 1111", b" 1111 1111")
    ]
    async with ScriptedUpstream(sse_reply((*events, *EVENTS[2:]))) as upstream:
        document = config(upstream, tmp_path, audit_prompts={"redact": ["pii"]})
        document["hooks"] = {"pii": {"type": "redact", "where": ["recorded"]}}
        gateway = await start_gateway(document)
        text = "call +1 212 555 0123 or mail bob@example.com"
        response = await post(
            gateway, stream=True, messages=[{"role": "user", "content": text}], user="10.1.2.3"
        )
        (record,) = await records(tmp_path)
    assert b"bob@example.com" in upstream.requests[0].body
    assert b"1111" in response.body
    told = json.dumps(record["request"])
    assert "<PHONE_NUMBER>" in told
    assert "<IP_ADDRESS>" in told
    assert "bob" not in told
    for form in ("text", "messages", "body"):
        assert "card <CREDIT_CARD>" in json.dumps(record["answer"][form])


async def test_generations_over_a_bridge_are_recorded(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    async with ScriptedUpstream(sse_reply(EVENTS)) as upstream:
        document = config(upstream, tmp_path)
        bridge = {"name": "bridge", "path": "/bridge", "bridge": {"to": "main"}}
        document["routes"].append({**bridge, "auth": "anonymous", "websocket": True})
        gateway = await start_gateway(document)
        async with bridge_client(gateway.port, "/bridge") as client:
            await client.create("a", body={"model": "m", "messages": []})
            await client.end_of("a")
        (record,) = await records(tmp_path)
    assert record["answer"]["text"] == "Hi there"
    assert record["bridge"]


async def test_what_hooks_change_is_recorded_as_they_left_it_and_what_they_refuse_as_it_came(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    async with ScriptedUpstream(json_reply(ANSWER)) as upstream:
        document = config(upstream, tmp_path, hooks=["words", "shout"])
        document["hooks"] = {
            name: {"type": "plugin", "use": f"tests.support.hooks.{name.title()}"}
            for name in ("words", "shout")
        }
        gateway = await start_gateway(document)
        for text in ("hello", "a secret"):
            await post(gateway, messages=[{"role": "user", "content": text}])
        changed, refused = await records(tmp_path, 2)
    assert changed["request"]["body"]["messages"][0]["content"] == "HELLO"
    assert changed["answer"]["text"] == "HI"
    assert (refused["verdict"], refused["reason"]) == ("content_refused", "hook 'words': a word")
    assert refused["request"]["body"]["messages"][0]["content"] == "a secret"
    assert len(upstream.requests) == 1
