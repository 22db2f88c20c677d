"""Tools that people use with the gateway: the requests that they send get answers that they read.

The requests of Claude Code 2.1.197 and Codex 0.171 were recorded, and are sent with shorter texts;
those of Open WebUI are written by hand. LangChain itself runs.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from typing import Any

import httpx

from tests.support.examples import EXAMPLES, Example, Prepare, sent

TOOL = {
    "name": "Read",
    "description": "Reads a file.",
    "input_schema": {
        "type": "object",
        "properties": {"file_path": {"type": "string"}},
        "required": ["file_path"],
        "additionalProperties": False,
        "$schema": "https://json-schema.org/draft/2020-12/schema",
    },
}
CLAUDE_CODE = {
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "<system-reminder>Today is Monday.</system-reminder>"},
                {"type": "text", "text": "Say hello", "cache_control": {"type": "ephemeral"}},
            ],
        },
        {"role": "system", "content": "Available agent types for the Agent tool: claude"},
    ],
    "system": [
        {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.197.1c0;"},
        {
            "type": "text",
            "text": "You are a Claude agent.",
            "cache_control": {"type": "ephemeral"},
        },
    ],
    "tools": [TOOL],
    "metadata": {"user_id": '{"device_id":"9977","session_id":"bd26"}'},
    "max_tokens": 32000,
    "thinking": {"type": "adaptive"},
    "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
    "output_config": {"effort": "high"},
    "stream": True,
}
CODEX = {
    "model": "gpt",
    "stream": True,
    "input": [
        {
            "type": "message",
            "id": "msg_07d14def-211d-5d9f-834f-4192c3946d93",
            "role": "developer",
            "content": [{"type": "input_text", "text": "You are a coding agent."}],
        },
        {
            "type": "message",
            "id": "msg_01a22bf2-f2c9-76e2-9b8e-e48db50fd4a9",
            "role": "user",
            "content": [{"type": "input_text", "text": "Say hello"}],
        },
    ],
    "tools": [
        {
            "type": "function",
            "name": "exec_command",
            "description": "Runs a command.",
            "strict": False,
            "parameters": {
                "type": "object",
                "properties": {"cmd": {"type": "string"}},
                "required": ["cmd"],
                "additionalProperties": False,
            },
        }
    ],
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "reasoning": {"summary": "auto"},
    "store": False,
    "include": ["reasoning.encrypted_content"],
    "prompt_cache_key": "01a22bf2-f22f-7403-8ce1-bcc87898fb40",
    "client_metadata": {"x-codex-window-id": "01a22bf2-f22f-7403-8ce1-bcc87898fb40:0"},
}


async def served(prepare: Prepare, name: str) -> tuple[Example, dict[str, str]]:
    """Serve an example. Return it, and the headers of a caller with a key."""
    example = await prepare(name)
    key = await example.command("keys", "create", "--owner", "me@example.com")
    await example.serve()
    return example, {"Authorization": f"Bearer {key}"}


async def post(example: Example, path: str, body: Any, headers: dict[str, str]) -> str:
    async with httpx.AsyncClient(base_url=example.url, headers=headers, trust_env=False) as http:
        answer = await http.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.text


async def test_claude_code_works_on_claude_and_on_a_vllm(prepare: Prepare) -> None:
    example, headers = await served(prepare, "claude-code.yaml")
    headers |= {
        "anthropic-version": "2023-06-01",
        "anthropic-beta": "claude-code-20250219,context-management-2025-06-27,"
        "mid-conversation-system-2026-04-07,effort-2025-11-24",
        "x-app": "cli",
        "user-agent": "claude-cli/2.1.197 (external, cli)",
    }
    for model in ("claude", "claude-small", "qwen-coder"):
        body = {**CLAUDE_CODE, "model": model}
        text = await post(example, "/v1/messages?beta=true", body, headers)
        kinds = re.findall(r"^event: (\w+)$", text, re.MULTILINE)
        assert (kinds[0], kinds[-1]) == ("message_start", "message_stop")
        assert '"text_delta"' in text
    assert len(example.backends["anthropic"].asked) == 2
    assert sent(example.backends["vllm"]).path == "/v1/chat/completions"
    async with httpx.AsyncClient(base_url=example.url, headers=headers, trust_env=False) as http:
        counted = await http.post(
            "/v1/messages/count_tokens?beta=true",
            json={"model": "claude", "messages": CLAUDE_CODE["messages"], "tools": [TOOL]},
        )
    assert counted.json()["input_tokens"] > 0


async def test_codex_works_with_responses(prepare: Prepare) -> None:
    example, headers = await served(prepare, "codex.yaml")
    headers |= {"accept": "text/event-stream", "originator": "codex_exec"}
    text = await post(example, "/v1/responses", CODEX, headers)
    kinds = re.findall(r"^event: ([\w.]+)$", text, re.MULTILINE)
    assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")
    asked = sent(example.backends["openai"])
    assert asked.path == "/v1/responses"
    assert asked.headers["Authorization"] == "Bearer sk-openai"


async def test_open_webui_lists_the_models_and_streams_with_usage(
    prepare: Prepare, tmp_path: Any
) -> None:
    example = await prepare("open-webui.yaml", store={"url": f"sqlite:///{tmp_path}/store.db"})
    key = await example.command("keys", "create", "--owner", "open-webui")
    await example.serve()
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=example.url, headers=headers, trust_env=False) as http:
        listed = (await http.get("/v1/models")).json()
        assert [model["id"] for model in listed["data"]] == ["llama-3.1-8b"]
    body = {
        "stream": True,
        "model": "llama-3.1-8b",
        "messages": [{"role": "user", "content": "Hello"}],
        "stream_options": {"include_usage": True},
    }
    text = await post(example, "/v1/chat/completions", body, headers)
    assert text.rstrip().endswith("data: [DONE]")
    title = {**body, "stream": False, "max_completion_tokens": 1000}
    del title["stream_options"]
    said = json.loads(await post(example, "/v1/chat/completions", title, headers))
    assert said["choices"][0]["message"]["content"]


async def test_langchain_streams_an_answer_and_counts_its_tokens(
    prepare: Prepare, tmp_path: Any
) -> None:
    store = {"url": f"sqlite:///{tmp_path}/store.db"}
    example = await prepare("keys-and-budgets.yaml", store=store, auth=KEYS)
    key = await example.command("keys", "create", "--owner", "me@example.com", "--tenant", "a")
    await example.serve()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(EXAMPLES / "langchain_chat.py"), "gpt-mini"),
        env={**os.environ, "GATEWAY_URL": example.url, "GATEWAY_KEY": key},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    answer, tokens = out.decode().rstrip().split("\n")
    assert len(answer.split()) > 5
    assert re.fullmatch(r"\d+ tokens", tokens)


KEYS = {"keys": {"type": "api_key", "file": "keys.yaml"}}
