"""Which upstream a model name leads to, what becomes of the name, and that no other is smuggled."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.client import Response, request
from tests.support.exchange import ask
from tests.support.gateway import RunningGateway, StartGateway, simple_config
from tests.support.refusal import assert_error
from tests.support.upstream import (
    LAST_CHUNK,
    Request,
    ScriptedUpstream,
    chunk,
    json_reply,
    raw_reply,
    reply,
)

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
QUOTED = 'an "odd"\\ name é'
MODELS: dict[str, dict[str, str]] = {
    "llama-3": {"upstream": "llama", "model": LLAMA},
    "odd": {"upstream": "llama", "model": QUOTED},
    "same": {"upstream": "llama"},
    "größe/中": {"upstream": "llama"},
    "whisper": {"upstream": "audio", "model": "openai/whisper-large-v3"},
    "forbidden": {"upstream": "secret"},
}
OPEN = ["llama-3", "odd", "same", "größe/中", "whisper"]
UPSTREAMS = ("llama", "audio", "secret", "fallback")
CHAT = "/v1/chat/completions"


def served_by(seen: Request) -> bytes:
    """What each upstream answers: its own name, from the header its configuration sets."""
    return reply(seen.value("x-upstream") or b"?")


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream(raw_reply(served_by)) as upstream:
        yield upstream


@pytest.fixture
async def gateway(upstream: ScriptedUpstream, start_gateway: StartGateway) -> RunningGateway:
    upstreams = {
        name: {"endpoints": [{"url": upstream.url}], "headers": {"X-Upstream": name}}
        for name in UPSTREAMS
    }
    routes: list[dict[str, Any]] = [
        {"name": "open", "path": "/v1/", "models": OPEN},
        {"name": "secret", "path": "/secret/", "models": ["forbidden", "same"]},
        {"name": "mixed", "path": "/mixed/", "models": OPEN, "upstream": "fallback"},
        {"name": "ollama", "path": "/api/", "models": OPEN, "dialect": "ollama"},
        {"name": "anthropic", "path": "/anthropic/", "models": OPEN, "dialect": "anthropic"},
    ]
    return await start_gateway(
        {
            "upstreams": upstreams,
            "models": MODELS,
            "routes": [{**route, "auth": "anonymous"} for route in routes],
        }
    )


async def post(
    gateway: RunningGateway,
    body: bytes,
    *,
    target: str = CHAT,
    content_type: str = "application/json",
) -> Response:
    raw = request("POST", target, headers=[f"Content-Type: {content_type}"], body=body)
    return await ask(gateway.port, raw)


# -- JSON -------------------------------------------------------------------------------------


async def test_an_alias_is_replaced_in_the_body_and_no_other_byte_is_touched(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    before = (
        b' {\r\n\t"messages" : [ {"content":"\\u00e9 \xc3\xa9 1.50 1e5"} ],"n":1.0, "model"\t:  "'
    )
    after = b'" ,"temperature":0.70,"stop":["model","\\"model\\":"], "big":12345678901234567890 }\n'
    response = await post(gateway, before + b"llama-3" + after)
    assert (response.status, response.body) == (200, b"llama")
    (seen,) = upstream.requests
    assert seen.body == before + LLAMA.encode() + after
    assert seen.value("content-length") == str(len(seen.body)).encode()


@pytest.mark.parametrize(
    ("name", "upstream_name", "sent"),
    [
        ("llama-3", "llama", LLAMA),
        ("odd", "llama", QUOTED),
        ("same", "llama", "same"),
        ("größe/中", "llama", "größe/中"),
        ("whisper", "audio", "openai/whisper-large-v3"),
    ],
)
@pytest.mark.parametrize("ascii_only", [False, True], ids=["utf-8", "escaped"])
async def test_a_model_leads_to_its_upstream_under_the_upstreams_name(
    gateway: RunningGateway,
    upstream: ScriptedUpstream,
    name: str,
    upstream_name: str,
    sent: str,
    ascii_only: bool,
) -> None:
    body = json.dumps({"model": name, "n": 1}, ensure_ascii=ascii_only).encode()
    response = await post(gateway, body)
    assert (response.status, response.body) == (200, upstream_name.encode())
    assert json.loads(upstream.requests[0].body) == {"model": sent, "n": 1}


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":"\\/","model":"same" , "b":[1.0,2E+1]}',
        rb'{"model":"same","x":"half a character \ud83d"}',
    ],
)
async def test_a_body_whose_model_keeps_its_name_is_forwarded_byte_for_byte(
    gateway: RunningGateway, upstream: ScriptedUpstream, body: bytes
) -> None:
    assert (await post(gateway, body)).status == 200
    assert upstream.requests[0].body == body


async def test_a_chunked_body_is_routed_and_renamed_too(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    body = b'{"model":"llama-3","x":"' + 100_000 * b"y" + b'"}'
    raw = request("POST", CHAT, headers=["Transfer-Encoding: chunked"])
    raw += b"".join(chunk(body[start : start + 999]) for start in range(0, len(body), 999))
    assert (await ask(gateway.port, raw + LAST_CHUNK)).status == 200
    (seen,) = upstream.requests
    assert seen.body == body.replace(b"llama-3", LLAMA.encode())
    assert seen.value("content-length") == str(len(seen.body)).encode()
    assert seen.values("transfer-encoding") == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'{"x":{"model":"forbidden"},"model":"', b'"}'),
        (b'{"model":"', b'","x":[{"model":"forbidden"},{"y":{"model":["model"]}}]}'),
        (b'{"x":"model","model":"', b'"}'),
        (b'{"x":"\\"model\\":\\"forbidden\\"","model":"', b'"}'),
        (b'{"tools":[{"mod\\u0065l":"forbidden"}],"model":"', b'"}'),
        (b'{"models":["forbidden"],"model":"', b'","my_model":"forbidden","model_":1}'),
        (b'{"x":"\\\\","model":"', b'","y":"\\\\\\"model\\":"}'),
        (b'{"x":{"a":{"b":[[]]}},"y":"}","model":"', b'"}'),
        (b'{"mod\\u0065l":"', b'","x":{"model":1}}'),
        (b'{"\\u006d\\u006F\\u0064\\u0065\\u006C":"', b'"}'),
    ],
)
async def test_only_the_top_level_model_counts_and_changes(
    gateway: RunningGateway, upstream: ScriptedUpstream, before: bytes, after: bytes
) -> None:
    response = await post(gateway, before + b"llama-3" + after)
    assert (response.status, response.body) == (200, b"llama")
    assert upstream.requests[0].body == before + LLAMA.encode() + after


SMUGGLED = {
    "allowed-first": b'{"model":"same","model":"forbidden"}',
    "allowed-last": b'{"model":"forbidden","model":"same"}',
    "same-twice": b'{"model":"same","model":"same"}',
    "escaped-last": b'{"model":"same","mod\\u0065l":"forbidden"}',
    "escaped-first": b'{"mod\\u0065l":"forbidden","model":"same"}',
    "escaped-twice": b'{"\\u006dodel":"same","mode\\u006C":"forbidden"}',
    "null-first": b'{"model":null,"model":"same"}',
    "null-last": b'{"model":"forbidden","model":null}',
    "number-last": b'{"model":"forbidden","model":1}',
    "number-first": b'{"model":1,"model":"same"}',
    "object-first": b'{"model":{"model":"forbidden"},"model":"same"}',
    "list-last": b'{"model":"same","model":["forbidden"]}',
    "far-apart": b'{"model":"same","x":"' + 5000 * b"x" + b'","model":"forbidden"}',
    # Go's encoding/json, which Ollama uses, matches keys in any case.
    "other-case": b'{"model":"same","Model":"forbidden"}',
    "upper-case": b'{"MODEL":"forbidden","model":"same"}',
    "escaped-case": b'{"model":"same","\\u004dodel":"forbidden"}',
}


@pytest.mark.parametrize("path", [CHAT, "/mixed/chat"])
@pytest.mark.parametrize("body", SMUGGLED.values(), ids=SMUGGLED)
async def test_a_second_model_key_is_refused_however_it_is_written(
    gateway: RunningGateway, upstream: ScriptedUpstream, path: str, body: bytes
) -> None:
    assert_error(await post(gateway, body, target=path), 400)
    assert upstream.connections == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"same"',
        b'{"model":"same"}{"model":"forbidden"}',
        b'{"model":"same"} x',
        b'{"model":"same",}',
        b"{'model':'same'}",
        b'{"model":"same"/**/}',
        b'{"model":"same","x":NaN}',
        b'{"model":"same","x":"\n"}',
        b'{"model":"same","x":"\xff"}',
        b'{"model":"same\\ud800"}',
        b'\xef\xbb\xbf{"model":"same"}',
        '{"model":"same"}'.encode("utf-16"),
        b'{"model":' + 5000 * b"[",
        b'{"model":["same"]}',
        b'{"model":true}',
    ],
)
async def test_what_is_not_one_json_object_with_one_model_is_400(
    gateway: RunningGateway, upstream: ScriptedUpstream, body: bytes
) -> None:
    assert_error(await post(gateway, body), 400)
    assert upstream.connections == []


@pytest.mark.parametrize(
    "name", ["gpt-unknown", "forbidden", "", "LLAMA-3", "llama-3 ", "llama-3\\u0000", LLAMA]
)
@pytest.mark.parametrize("path", [CHAT, "/mixed/chat"])
async def test_a_model_the_route_does_not_serve_is_404_and_names_no_other(
    gateway: RunningGateway, upstream: ScriptedUpstream, path: str, name: str
) -> None:
    response = await post(gateway, b'{"model":"%b"}' % name.encode(), target=path)
    assert_error(response, 404, code="model_not_found")
    assert response.json()["error"]["param"] == "model"
    for other in MODELS:
        assert other.encode() not in response.body
    assert upstream.connections == []


async def test_the_log_names_a_model_that_is_not_served(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    response = await post(gateway, b'{"model":"gpt-9"}')
    assert b"gpt-9" not in response.body
    line = await gateway.wait_for_log(lambda line: line.get("error") == "model_not_found")
    assert line["model"] == "gpt-9"
    assert upstream.connections == []


async def test_another_route_serves_what_this_one_does_not(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    response = await post(gateway, b'{"model":"forbidden"}', target="/secret/chat")
    assert (response.status, response.body) == (200, b"secret")
    assert_error(await post(gateway, b'{"model":"llama-3"}', target="/secret/chat"), 404)


async def test_a_body_without_a_model_goes_to_the_routes_upstream_or_is_400(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    body = b'{"input":{"model":"forbidden"}}'
    response = await post(gateway, body, target="/mixed/x")
    assert (response.status, response.body) == (200, b"fallback")
    assert upstream.requests[0].body == body
    assert_error(await post(gateway, body), 400, code="model_required")


async def test_a_get_goes_to_the_routes_upstream(gateway: RunningGateway) -> None:
    response = await ask(gateway.port, request(target="/mixed/files"), "GET")
    assert (response.status, response.body) == (200, b"fallback")


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/json; charset=utf-16", "x", "multipart/mixed"]
)
async def test_json_is_routed_by_its_model_whatever_it_calls_itself(
    gateway: RunningGateway, content_type: str
) -> None:
    allowed = await post(gateway, b'{"model":"llama-3"}', content_type=content_type)
    assert (allowed.status, allowed.body) == (200, b"llama")
    refused = await post(gateway, b'{"model":"forbidden"}', content_type=content_type)
    assert_error(refused, 404, code="model_not_found")


@pytest.mark.parametrize(
    "content_type",
    [
        "audio/wav",
        "application/octet-stream",
        "image/png",
        "video/mp4",
        "application/octet-streamx",
    ],
)
async def test_a_model_is_not_smuggled_in_json_that_calls_itself_media(
    gateway: RunningGateway, upstream: ScriptedUpstream, content_type: str
) -> None:
    """Ollama, for one, reads JSON whatever its Content-Type says."""
    for body in (b'{"model":"forbidden"}', b' \r\n\t{"model":"forbidden"}'):
        response = await post(gateway, body, target="/mixed/x", content_type=content_type)
        assert response.status in (400, 404, 415)
    assert upstream.requests == []


async def test_media_goes_to_the_routes_upstream_byte_for_byte(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    body = b"RIFF" + random.Random(1).randbytes(100_000)
    response = await post(gateway, body, target="/mixed/x", content_type="audio/wav")
    assert (response.status, response.body) == (200, b"fallback")
    assert upstream.requests[0].body == body


# -- multipart/form-data ----------------------------------------------------------------------

FORM = "multipart/form-data; boundary=b0und"
FILE = (
    b'--b0und\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n'
    b"Content-Type: audio/wav\r\n\r\nRIFF\x00\xff--b0un\r\n--b0un\r\nmodel\r\n\r\n\r\n"
)
END = b"--b0und--\r\n"


def field(name: bytes, value: bytes) -> bytes:
    """A part; `name` is all that stands behind `form-data;`."""
    return b"--b0und\r\nContent-Disposition: form-data;%b\r\n\r\n%b\r\n" % (name, value)


def model(value: bytes) -> bytes:
    """The usual way to write the model."""
    return field(b' name="model"', value)


@pytest.mark.parametrize("order", ["file first", "model first", "model between"])
async def test_the_model_of_a_form_is_found_and_replaced_wherever_it_stands(
    gateway: RunningGateway, upstream: ScriptedUpstream, order: str
) -> None:
    language = field(b' name="language"', b"model")

    def body(name: bytes) -> bytes:
        parts = {
            "file first": [FILE, language, model(name)],
            "model first": [model(name), FILE, language],
            "model between": [language, model(name), FILE],
        }
        return b"".join(parts[order]) + END

    response = await post(gateway, body(b"whisper"), content_type=FORM)
    assert (response.status, response.body) == (200, b"audio")
    (seen,) = upstream.requests
    assert seen.body == body(b"openai/whisper-large-v3")
    assert seen.value("content-type") == FORM.encode()
    assert seen.value("content-length") == str(len(seen.body)).encode()


@pytest.mark.parametrize(
    "content_type",
    ['multipart/form-data; boundary="b0und"', "Multipart/Form-Data;charset=utf-8; BOUNDARY=b0und"],
)
async def test_the_boundary_of_a_form_is_found_however_it_is_written(
    gateway: RunningGateway, content_type: str
) -> None:
    response = await post(gateway, FILE + model(b"whisper") + END, content_type=content_type)
    assert (response.status, response.body) == (200, b"audio")


async def test_a_large_file_before_the_model_passes_byte_for_byte(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    big = FILE.replace(b"RIFF", random.Random(2).randbytes(2_000_000))
    response = await post(gateway, big + model(b"same") + END, content_type=FORM)
    assert (response.status, response.body) == (200, b"llama")
    assert upstream.requests[0].body == big + model(b"same") + END


@pytest.mark.parametrize("name", [b"forbidden", b"gpt-unknown", b"", b"\xff", b"whisper\r\n"])
async def test_a_form_with_a_model_the_route_does_not_serve_is_404(
    gateway: RunningGateway, upstream: ScriptedUpstream, name: bytes
) -> None:
    response = await post(gateway, FILE + model(name) + END, content_type=FORM)
    assert_error(response, 404, code="model_not_found")
    assert upstream.connections == []


SMUGGLED_FORMS = {
    "two-models": model(b"same") + model(b"forbidden") + END,
    "two-models-around-the-file": model(b"forbidden") + FILE + model(b"same") + END,
    "unquoted": model(b"same") + field(b" name=model", b"forbidden") + END,
    "upper-case-parameter": model(b"same") + field(b' NAME="model"', b"forbidden") + END,
    "no-space": model(b"same") + field(b'name="model"', b"forbidden") + END,
    "space-around-equals": model(b"same") + field(b' name = "model"', b"forbidden") + END,
    "space-before-semicolon": model(b"same") + field(b' name="model" ; x="y"', b"forbidden") + END,
    "escaped-letter": model(b"same") + field(b' name="mod\\el"', b"forbidden") + END,
    "extended-parameter": model(b"same") + field(b" name*=utf-8''model", b"forbidden") + END,
    "continued-parameter": model(b"same")
    + field(b' name*0="mo"; name*1="del"', b"forbidden")
    + END,
    "folded": model(b"same") + field(b'\r\n name="model"', b"forbidden") + END,
    "two-dispositions": model(b"same") + b'--b0und\r\nContent-Disposition: form-data; name="x"\r\n'
    b'Content-Disposition: form-data; name="model"\r\n\r\nforbidden\r\n' + END,
    "two-names": model(b"same") + field(b' name="x"; name="model"', b"forbidden") + END,
    "two-names-turned": model(b"same") + field(b' name="model"; name="x"', b"forbidden") + END,
    "padded-boundary": model(b"same")
    + b'--b0und \t\r\nContent-Disposition: form-data; name="model"\r\n\r\nforbidden\r\n'
    + END,
    "bare-lf-part": model(b"same")
    + b'--b0und\nContent-Disposition: form-data; name="model"\n\nforbidden\n'
    + END,
    "bare-lf-form": b'--b0und\nContent-Disposition: form-data; name="model"\n\nforbidden\n'
    b'--b0und\nContent-Disposition: form-data; name="file"\n\n\r\n' + model(b"same") + END,
    "preamble": b'{"model":"forbidden"}\r\n' + model(b"same") + END,
    "epilogue": model(b"same") + END + model(b"forbidden") + END,
    "unended": model(b"same") + model(b"forbidden")[:-2],
    "as-a-file": model(b"same") + field(b' name="model"; filename="x"', b"forbidden") + END,
}


@pytest.mark.parametrize("body", SMUGGLED_FORMS.values(), ids=SMUGGLED_FORMS)
async def test_no_second_model_is_smuggled_in_a_form(
    gateway: RunningGateway, upstream: ScriptedUpstream, body: bytes
) -> None:
    """What one parser reads as `same` and another as `forbidden` is refused."""
    response = await post(gateway, body, content_type=FORM)
    assert response.status in (400, 404), upstream.requests[0].body
    assert_error(response, response.status)
    assert upstream.connections == []


async def test_a_file_whose_name_looks_like_a_model_is_only_a_file(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    odd = FILE.replace(b"a.wav", b"a; name=model; b.wav")
    body = odd + model(b"same") + END
    response = await post(gateway, body, content_type=FORM)
    assert (response.status, response.body) == (200, b"llama")
    assert upstream.requests[0].body == body


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (FORM, FILE + END),
        (FORM, b"no form at all"),
        (FORM, b""),
        ("multipart/form-data", model(b"same") + END),
        ("multipart/form-data; boundary=", model(b"same") + END),
        (f"multipart/form-data; boundary={71 * 'b'}", model(b"same") + END),
        ("multipart/form-data; boundary=b0und; boundary=x", model(b"same") + END),
    ],
)
async def test_a_form_without_a_model_or_a_boundary_is_400(
    gateway: RunningGateway, upstream: ScriptedUpstream, content_type: str, body: bytes
) -> None:
    assert_error(await post(gateway, body, content_type=content_type), 400)
    assert upstream.connections == []


async def test_a_body_that_claims_two_types_is_400(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    for types in (("application/json", FORM), (FORM, "application/json"), ("audio/wav", FORM)):
        raw = request(
            "POST",
            "/mixed/x",
            headers=[f"Content-Type: {content_type}" for content_type in types],
            body=model(b"same") + END,
        )
        assert_error(await ask(gateway.port, raw), 400)
    assert upstream.connections == []


# -- the list of models -----------------------------------------------------------------------


@pytest.mark.parametrize(("path", "names"), [("/v1/", OPEN), ("/secret/", ["forbidden", "same"])])
async def test_the_list_of_models_is_what_this_route_serves(
    gateway: RunningGateway, upstream: ScriptedUpstream, path: str, names: list[str]
) -> None:
    response = await ask(gateway.port, request(target=f"{path}models"), "GET")
    assert response.status == 200
    assert response.value("content-type") == b"application/json"
    document = response.json()
    assert document["object"] == "list"
    assert [entry["id"] for entry in document["data"]] == names
    assert all(entry["object"] == "model" for entry in document["data"])
    # Neither what stands behind a name nor where.
    assert LLAMA.encode() not in response.body
    assert str(upstream.port).encode() not in response.body
    assert upstream.connections == []


async def test_the_list_of_models_is_in_the_routes_dialect(gateway: RunningGateway) -> None:
    ollama = await ask(gateway.port, request(target="/api/tags"), "GET")
    assert [entry["name"] for entry in ollama.json()["models"]] == OPEN
    anthropic = await ask(gateway.port, request(target="/anthropic/models"), "GET")
    assert [entry["id"] for entry in anthropic.json()["data"]] == OPEN


@pytest.mark.parametrize(
    ("headers", "shape"),
    [
        (["Authorization: Bearer k"], "openai"),
        ([], "openai"),
        (["anthropic-version: 2023-06-01", "Authorization: Bearer k"], "anthropic"),
        (["x-api-key: k"], "anthropic"),
        (["x-api-key: k", "Authorization: Bearer k"], "openai"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/llama-3", "/api/v1/models"])
async def test_the_list_of_models_is_in_the_shape_that_the_client_reads(
    gateway: RunningGateway, path: str, headers: list[str], shape: str
) -> None:
    document = (await ask(gateway.port, request(target=path, headers=headers), "GET")).json()
    assert ("has_more" in document or "display_name" in document) is (shape == "anthropic")
    entry = document["data"][0] if "data" in document else document
    assert entry["id"] == "llama-3"
    assert ("object" in entry) is (shape == "openai")


@pytest.mark.parametrize("prefix", ["/v1/", "/v1/v1/", "/anthropic/", "/anthropic/v1/"])
@pytest.mark.parametrize("slash", ["/", "%2F", "%2f"])
async def test_a_model_is_found_by_its_name_however_it_is_escaped(
    gateway: RunningGateway, upstream: ScriptedUpstream, prefix: str, slash: str
) -> None:
    name = f"gr%C3%B6%C3%9Fe{slash}%E4%B8%AD"
    response = await ask(gateway.port, request(target=f"{prefix}models/{name}"), "GET")
    assert (response.status, response.json()["id"]) == (200, "größe/中")
    unknown = await ask(gateway.port, request(target=f"{prefix}models/a{slash}b"), "GET")
    assert unknown.status == 404
    assert upstream.connections == []


@pytest.mark.parametrize("prefix", ["/api/", "/api/api/"])
async def test_what_ollamas_clients_ask_at_first_is_answered(
    gateway: RunningGateway, upstream: ScriptedUpstream, prefix: str
) -> None:
    told = {
        path: (await ask(gateway.port, request(target=prefix + path), "GET")).json()
        for path in ("version", "ps", "tags")
    }
    assert told["version"].keys() == {"version"}
    for path in ("ps", "tags"):
        assert [entry["model"] for entry in told[path]["models"]] == OPEN
    assert upstream.connections == []


async def test_a_model_of_an_ollama_is_shown_by_it_and_another_by_the_gateway(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(json_reply({"details": {"family": "llama"}})) as upstream:
        endpoint = {"endpoints": [{"url": upstream.url}]}
        route = {"name": "o", "path": "/api/", "auth": "anonymous", "dialect": "ollama"}
        gateway = await start_gateway(
            {
                "upstreams": {
                    "llama": {**endpoint, "dialect": "ollama"},
                    "gpt": {**endpoint, "dialect": "openai"},
                },
                "models": {
                    "theirs": {"upstream": "llama", "model": "llama3:8b"},
                    "ours": {"upstream": "gpt"},
                },
                "routes": [{**route, "models": ["theirs", "ours"]}],
            }
        )
        said = {
            name: await post(gateway, json.dumps({"model": name}).encode(), target="/api/show")
            for name in ("theirs", "ours", "neither")
        }
        seen = [json.loads(each.body) for each in upstream.requests]
    assert said["theirs"].json() == {"details": {"family": "llama"}}
    assert "completion" in said["ours"].json()["capabilities"]
    assert said["neither"].status == 404
    assert seen == [{"model": "llama3:8b"}]


async def test_head_of_the_list_of_models_has_no_body(gateway: RunningGateway) -> None:
    whole = await ask(gateway.port, request(target="/v1/models"), "GET")
    head = await ask(gateway.port, request("HEAD", "/v1/models"), "HEAD")
    assert (head.status, head.body) == (200, b"")
    assert head.value("content-length") == str(len(whole.body)).encode()


@pytest.mark.parametrize(
    "body",
    [
        b'\xef\xbb\xbf{"model":"forbidden"}',
        '{"model":"forbidden"}'.encode("utf-16-be"),
        b"\xfe\xff" + '{"model":"forbidden"}'.encode("utf-16-be"),
        '{"model":"forbidden"}'.encode("utf-32-be"),
    ],
    ids=["bom", "utf-16-be", "utf-16-be-bom", "utf-32-be"],
)
async def test_json_in_another_encoding_is_not_taken_for_something_else(
    start_gateway: StartGateway, body: bytes
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        config = simple_config(upstream.url, models=["m"])
        config["models"] = {"m": {"upstream": "main"}}
        gateway = await start_gateway(config)
        raw = b"POST /v1/x HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Type: text/plain\r\n"
        raw += b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        response = await ask(gateway.port, raw, "POST")
    assert response.status == 400
    assert not upstream.requests
