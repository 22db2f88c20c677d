"""A converted LiteLLM configuration behaves as LiteLLM does, on a recorded set of requests."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from gateway.auth import api_key
from gateway.auth.api_key import ApiKey
from gateway.auth.key_file import editing
from gateway.cli.litellm.convert import convert
from tests.support.gateway import GatewayProcess, StartGatewayProcess
from tests.support.litellm_cases import CASES, MASTER, Backends, outcome
from tests.support.record_litellm import FOLDER, configuration, key_variables

_ERROR = {"message", "type", "param", "code"}
"""Fields of an error in OpenAI's API. Each side adds some of its own."""
DIFFERENCES: dict[str, tuple[dict[str, Any], str]] = {
    "unknown_model": ({"status": 404}, "OpenAI's API has 404 model_not_found"),
    "wrong_key": ({"status": 401}, "LiteLLM has no database here, and answers 400"),
    "without_v1": ({"status": 404}, "the base URL has to end in /v1"),
    "user": ({"body": {"user": "ann"}}, "LiteLLM drops the end user; the gateway passes it on"),
    "breaks_off": ({"cut": True}, "a stream that failed has no clean end, after its error event"),
    "bad_request_with_fallback": (
        {"status": 400, "asked": ["solo"]},
        "a malformed request is the caller's fault at every backend",
    ),
}
"""What the gateway does instead, and why: docs/migrating-from-litellm.md lists them, too."""


def comparable(found: dict[str, Any]) -> dict[str, Any]:
    """Return what has to be equal: which backend got what, and what the caller got."""
    answer = dict(found["answer"])
    if "error" in answer:
        answer["error"] = sorted(_ERROR.intersection(answer["error"]))
    # The name of a model that took over is the backend's with LiteLLM, unless it streams.
    if len({one["backend"].partition("-")[0] for one in found["sent"]}) > 1:
        answer.pop("model", None)
    # How often a backend is asked again differs: the gateway has a retry budget, and does not
    # repeat a request that a quota refuses.
    sent = {one["backend"]: _plain(one["body"]) for one in found["sent"]}
    asked, bodies = list(sent), list(sent.values())
    if asked and asked[0].startswith("pair"):
        # Which of the two is first is chance: what counts is that both are asked, or one.
        bodies, asked = bodies[:1], [f"{len(set(asked))} of pair"]
    keys = {one["backend"]: one["credential"] for one in found["sent"]}
    assert all(key == f"sk-{name}" for name, key in keys.items()), "each backend gets its own key"
    paths = sorted({one["path"] for one in found["sent"]})
    return {"asked": asked, "bodies": bodies, "paths": paths, "answer": answer}


def _plain(body: Any) -> Any:
    """Return a body with single text blocks as texts: Anthropic's API takes both."""
    if isinstance(body, dict):
        return {key: _plain(value) for key, value in body.items()}
    if isinstance(body, list):
        if len(body) == 1 and isinstance(body[0], dict) and body[0].get("type") == "text":
            return body[0]["text"]
        return [_plain(one) for one in body]
    return body


async def started(
    start: StartGatewayProcess, backends: Backends, folder: Path
) -> tuple[GatewayProcess, str]:
    """Start the gateway with the converted configuration, and return it with a key."""
    secret, key_id, salt, digest = api_key.generate()
    with editing(folder / "keys.yaml") as keys:
        keys[key_id] = ApiKey(key_id, salt, digest, "ann", datetime.now(UTC))
    text = convert(configuration(backends.ports), "litellm.yaml", anonymous=False).text
    document = yaml.safe_load(text)
    del document["server"]
    document["auth"]["keys"]["file"] = str(folder / "keys.yaml")
    return await start(document), secret


async def test_a_converted_configuration_behaves_as_was_recorded(
    start_gateway_process: StartGatewayProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in key_variables().items():
        monkeypatch.setenv(name, value)
    recorded = json.loads((FOLDER / "record.json").read_text())
    assert list(recorded) == [case.name for case in CASES]
    unlike = {}
    async with Backends().running() as backends, aiohttp.ClientSession() as session:
        gateway, secret = await started(start_gateway_process, backends, tmp_path)
        address = f"http://127.0.0.1:{gateway.port}"
        for case in CASES:
            key = secret if case.key == MASTER else case.key
            ours = comparable(await outcome(session, address, case, key, backends))
            theirs = comparable(recorded[case.name])
            if case.name in DIFFERENCES:
                differs, _ = DIFFERENCES[case.name]
                shown = {**ours, **ours["answer"], "body": (ours["bodies"] or [{}])[-1]}
                for name, value in differs.items():
                    if name == "body":
                        assert value.items() <= shown[name].items(), case.name
                    else:
                        assert shown[name] == value, case.name
                assert ours != theirs, f"{case.name} is alike now: take it off the list"
            elif ours != theirs:
                unlike[case.name] = {"ours": ours, "theirs": theirs}
    assert unlike == {}
