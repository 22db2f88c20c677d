"""examples/: every configuration serves the answer that its first lines promise."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
import yaml

from gateway.cli.main import command_parser
from gateway.config import load_text
from tests.support.examples import EXAMPLES, HELLO, Prepare, sent
from tests.support.gateway import StartGateway
from tests.support.issuer import Issuer
from tests.support.upstream import ScriptedUpstream, json_reply
from tests.support.waiting import PATIENCE_S, asked_until


async def test_two_vllm_servers_answer_under_one_name(prepare: Prepare) -> None:
    example = await prepare("vllm-two.yaml")
    token = await example.command("token")
    await example.serve()
    assert await example.chat("llama-3.1-8b", token)
    assert sent(example.backends["vllm"]).path == "/v1/chat/completions"


async def test_models_that_two_backends_list_are_served(prepare: Prepare) -> None:
    example = await prepare("model-discovery.yaml")
    await example.serve()
    assert await example.chat("vllm/demo-llama")
    assert await example.chat("ollama/demo")
    assert sent(example.backends["vllm"]).path == "/v1/chat/completions"
    assert sent(example.backends["ollama"]).path == "/api/chat"
    async with httpx.AsyncClient(base_url=example.url, trust_env=False) as http:
        listed = (await http.get("/v1/models")).json()["data"]
    names = {one["id"] for one in listed}
    assert {"vllm/demo", "ollama/demo-llama"} <= names


async def test_a_channel_gets_events_and_a_whole_generation(prepare: Prepare) -> None:
    example = await prepare("channels.yaml")
    follower = await example.command("token")
    publisher = await example.command("token", "--scopes", "events:write")
    await example.serve()
    channel = "/v1/channels/show"
    asking = {"Authorization": f"Bearer {publisher}"}
    async with httpx.AsyncClient(base_url=example.url, trust_env=False) as http:
        headers = {"Authorization": f"Bearer {follower}"}
        refused = await http.post(channel, content="x", headers=headers)
        assert refused.status_code == 403
        async with http.stream("GET", channel, headers=headers) as followed:
            lines = followed.aiter_lines()
            assert await anext(lines)
            said = await http.post(channel, content="Here it begins.", headers=asking)
            assert said.status_code == 201
            body = {"model": "demo", "stream": True, "messages": HELLO}
            asking["X-Gateway-Publish"] = "show"
            await http.post("/v1/chat/completions", json=body, headers=asking)
            met = [await anext(lines)]
            while met[-1] != "data: [DONE]":
                met.append(await anext(lines))
    assert "data: Here it begins." in met
    assert sum(line.startswith("data: {") for line in met) > 5


async def test_ollama_answers_callers_of_three_dialects(prepare: Prepare) -> None:
    example = await prepare("ollama.yaml")
    await example.serve()
    assert await example.chat("qwen")
    async with httpx.AsyncClient(base_url=example.url, trust_env=False) as http:
        message = await http.post(
            "/v1/messages", json={"model": "qwen", "max_tokens": 100, "messages": HELLO}
        )
        chat = await http.post("/api/chat", json={"model": "qwen", "messages": HELLO})
    assert message.json()["content"][0]["text"]
    assert json.loads(chat.text.splitlines()[0])["message"]["role"] == "assistant"
    assert {one.path for one in example.backends["ollama"].asked} == {"/api/chat"}


async def test_llama_cpp_answers_behind_its_queue(prepare: Prepare) -> None:
    example = await prepare("llama-cpp.yaml")
    await example.serve()
    texts = await asyncio.gather(*(example.chat("local") for _ in range(8)))
    assert all(texts)


async def test_openai_answers_with_the_platforms_key(prepare: Prepare) -> None:
    example = await prepare("openai-azure.yaml")
    key = await example.command("keys", "create", "--owner", "me@example.com")
    await example.serve()
    assert await example.chat("gpt-mini", key)
    assert sent(example.backends["openai"]).headers["Authorization"] == "Bearer sk-openai"
    assert not example.backends["azure"].asked


async def test_azure_answers_when_openai_fails(prepare: Prepare) -> None:
    example = await prepare("openai-azure.yaml")
    example.backends["openai"].refuses = True
    key = await example.command("keys", "create", "--owner", "me@example.com")
    await example.serve()
    assert await example.chat("gpt-mini", key)
    asked = sent(example.backends["azure"])
    assert asked.path == "/openai/v1/chat/completions"
    assert asked.headers["api-key"] == "azure-key"
    assert "Authorization" not in asked.headers


async def test_claude_answers_callers_of_openai_and_of_anthropic(prepare: Prepare) -> None:
    example = await prepare("anthropic.yaml")
    key = await example.command("keys", "create", "--owner", "me@example.com")
    await example.serve()
    assert await example.chat("claude", key)
    asked = sent(example.backends["anthropic"])
    assert asked.path == "/v1/messages"
    assert asked.headers["x-api-key"] == "sk-ant"
    assert asked.headers["anthropic-version"] == "2023-06-01"
    async with httpx.AsyncClient(base_url=example.url, trust_env=False) as http:
        answer = await http.post(
            "/v1/messages",
            headers={"Authorization": f"Bearer {key}"},
            json={"model": "claude", "max_tokens": 100, "messages": HELLO},
        )
    assert answer.json()["content"][0]["text"]


async def test_single_sign_on_admits_users_and_reserves_models_for_a_scope(
    prepare: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Issuer() as issuer:
        issuer.add_key("a")
        monkeypatch.setenv("OIDC_ISSUER", issuer.url)
        example = await prepare("sso.yaml")
        await example.serve()
        token = issuer.token("a", aud="llm-gateway", org="acme")
        assert await example.chat("llama-3.1-8b", token)
        assert sent(example.backends["vllm"]).headers["X-User"] == "ann"
        async with httpx.AsyncClient(base_url=example.url, trust_env=False) as http:
            for scope, count in (("", 1), ("large-models", 2)):
                token = issuer.token("a", aud="llm-gateway", scope=scope)
                models = await http.get("/v1/models", headers={"Authorization": f"Bearer {token}"})
                assert len(models.json()["data"]) == count


async def test_a_key_is_told_what_is_left_of_its_limits(prepare: Prepare, tmp_path: Path) -> None:
    store = {"url": f"sqlite:///{tmp_path}/store.db"}
    example = await prepare("keys-and-budgets.yaml", store=store)
    key = await example.command("keys", "create", "--owner", "ann@example.com", "--tenant", "acme")
    await example.serve()
    headers = {"Authorization": f"Bearer {key}"}
    body = {"model": "gpt-mini", "messages": HELLO}
    async with httpx.AsyncClient(base_url=example.url, headers=headers, trust_env=False) as http:
        # 503 until the gateway has read the keys from the store: /readyz says the same.
        answer = await asked_until(
            lambda: http.post("/v1/chat/completions", json=body),
            lambda answer: answer.status_code != 503,
            patience_s=PATIENCE_S,
        )
    assert answer.status_code == 200
    assert '"per-key' in answer.headers["RateLimit"]
    assert '"monthly' in answer.headers["RateLimit"]


async def test_an_mcp_server_is_reached_with_a_token_and_sees_none(
    prepare: Prepare, start_gateway: StartGateway
) -> None:
    result = {"jsonrpc": "2.0", "id": 1, "result": {"tools": []}}
    async with ScriptedUpstream(json_reply(result)) as tools:
        example = await prepare("mcp.yaml")
        document = yaml.safe_load(example.file.read_text())
        document["upstreams"]["tools"]["endpoints"] = [{"url": tools.url}]
        gateway = await start_gateway(document)
        token = await example.command("token")
        call = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        async with httpx.AsyncClient(base_url=gateway.url, trust_env=False) as http:
            refused = await http.post("/mcp", json=call)
            answer = await http.post(
                "/mcp", json=call, headers={"Authorization": f"Bearer {token}"}
            )
        assert refused.status_code == 401
        assert answer.json() == result
        [asked] = tools.requests
        assert asked.value("authorization") is None


async def test_a_page_resumes_its_stream_with_a_ticket(prepare: Prepare) -> None:
    example = await prepare("browser.yaml")
    await example.serve()
    bearer = {"Authorization": f"Bearer {await example.command('token')}"}
    async with httpx.AsyncClient(base_url=example.url, trust_env=False) as http:
        body = {"model": "demo", "stream": True, "messages": HELLO}
        whole = await http.post("/v1/chat/completions", headers=bearer, json=body)
        ids = re.findall(r"^id: (\S+)$", whole.text, re.MULTILINE)
        ticket = (await http.post("/auth/ticket", headers=bearer)).json()["ticket"]
        rest = await http.get(
            f"/v1/streams/{whole.headers['X-Stream-Id']}",
            params={"ticket": ticket},
            headers={"Last-Event-ID": ids[0]},
        )
    assert re.findall(r"^id: (\S+)$", rest.text, re.MULTILINE) == ids[1:]


async def test_a_plug_in_stamps_answers_and_refuses_outside_its_hours(
    prepare: Prepare, start_gateway: StartGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES / "plugin"))
    example = await prepare("plugin/plugin.yaml")
    await example.serve()
    body = {"model": "demo", "messages": HELLO}
    async with httpx.AsyncClient(base_url=example.url, trust_env=False) as http:
        answer = await http.post("/v1/chat/completions", json=body)
    assert answer.headers["X-Office"] == "open"
    document = yaml.safe_load(example.file.read_text())
    now = datetime.now(UTC).hour
    # The one hour that is farthest from now.
    hours = {"opens": (now + 12) % 24, "closes": (now + 12) % 24 + 1}
    document["routes"][0]["middleware"][0]["options"] = hours
    gateway = await start_gateway(document)
    async with httpx.AsyncClient(base_url=gateway.url, trust_env=False) as http:
        answer = await http.post("/v1/chat/completions", json=body)
    assert answer.status_code == 503
    assert answer.json()["error"]["request_id"]


async def test_a_key_comes_from_vault(
    prepare: Prepare, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES / "plugin"))
    (tmp_path / "token").write_text("hvs-token\n")
    example = await prepare("plugin/vault.yaml")
    document = yaml.safe_load(example.file.read_text())
    kept = {"data": {"data": {"api_key": "key-from-vault"}, "metadata": {}}}
    async with ScriptedUpstream(json_reply(kept)) as vault:
        options = document["secret_providers"]["vault"]["options"]
        options |= {"address": vault.url, "token_file": str(tmp_path / "token")}
        # Loading blocks, and Vault answers in this loop.
        config = await asyncio.to_thread(load_text, yaml.safe_dump(document))
        (asked,) = vault.requests
    assert asked.target == "/v1/secret/data/openai"
    assert asked.values("X-Vault-Token") == [b"hvs-token"]
    credentials = config.upstreams["openai"].credentials
    assert credentials is not None
    assert credentials.bearer is not None
    assert credentials.bearer.reveal() == b"key-from-vault"


async def test_a_hook_refuses_requests_and_replaces_words_of_streams(
    prepare: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES / "plugin"))
    example = await prepare("plugin/hooks.yaml")
    await example.serve()
    body = {"model": "demo", "stream": True, "messages": HELLO}
    async with httpx.AsyncClient(base_url=example.url, trust_env=False) as http:
        answer = await http.post("/v1/chat/completions", json=body)
        deltas = [
            choice["delta"].get("content", "")
            for line in answer.text.splitlines()
            if line.startswith("data: {")
            for choice in json.loads(line.removeprefix("data: "))["choices"]
        ]
        words = "".join(deltas).split()
        assert "&" in words
        assert "and" not in words
        assert answer.text.endswith("data: [DONE]\n\n")
        body["messages"] = [{"role": "user", "content": "Who is voldemort?"}]
        refused = await http.post("/v1/chat/completions", json=body)
    assert refused.status_code == 400
    assert refused.json()["error"]["message"] == "We do not talk about this here."


def test_every_example_is_listed_and_tried() -> None:
    names = {path.relative_to(EXAMPLES).as_posix() for path in EXAMPLES.rglob("*.yaml")}
    listed = set(re.findall(r"\]\(([\w./-]+)\)", (EXAMPLES / "README.md").read_text()))
    assert names - {"plugin/plugin.yaml"} <= listed
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    tried = set(re.findall(r'prepare(?:\(|, )"([\w./-]+\.yaml)"', tests))
    folders = {f"{name}/gateway.yaml" for name in re.findall(r'"examples/([\w-]+)"', tests)}
    assert tried | folders == names


@pytest.mark.parametrize("file", sorted(EXAMPLES.rglob("*.yaml")), ids=lambda file: file.name)
def test_the_commands_of_an_examples_first_lines_are_some(file: Path) -> None:
    head = file.read_text().partition("\nserver:")[0].replace("\\\n#", "")
    inner = re.findall(r"\$\(gateway ([^)]+)\)", head)
    outer = re.sub(r"\$\([^)]+\)", "VALUE", head)
    found = inner + re.findall(r"^#\s+(?:\w+=\S+ )*gateway ([a-z][^\n#]*)", outer, re.MULTILINE)
    assert found
    for command in found:
        command_parser().parse_args(shlex.split(command))


def test_no_generated_secret_is_shipped() -> None:
    """A secret with `generate: true` is kept if it is there: all clones would share it."""
    shipped = subprocess.run(
        ["git", "ls-files", "-z"], cwd=EXAMPLES.parent, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    assert [name for name in shipped if ".gateway" in Path(name).parts] == []
