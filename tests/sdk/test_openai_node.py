"""openai-node, driven by a script of ours that says in JSON what it met."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

from tests.sdk.conftest import ANSWER, PROMPT, Door
from tests.support.waiting import asked_until

SCRIPT = Path(__file__).parents[1] / "node" / "openai.mjs"


async def met(door: Door, task: str, path: str = "/v1") -> dict[str, Any]:
    """What the script tells of one task."""
    trust = {"NODE_EXTRA_CA_CERTS": str(door.ca_file)} if door.ca_file else {}
    process = await asyncio.create_subprocess_exec(
        *("node", str(SCRIPT), task, PROMPT),
        env={
            "PATH": os.environ["PATH"],
            "OPENAI_BASE_URL": door.url + path,
            "OPENAI_API_KEY": door.token,
            **trust,
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    told: dict[str, Any] = json.loads(said)
    return told


async def test_a_stream_says_what_the_whole_answer_says(door: Door) -> None:
    told = await met(door, "chat")
    assert told == {"whole": ANSWER, "streamed": ANSWER}


async def test_comments_in_a_stream_are_nothing_to_it_or_to_eventsource_parser(door: Door) -> None:
    assert await met(door, "slow", "/slow/v1") == {"text": ANSWER}
    # A busy machine lets the silence pass without a heartbeat now and then.
    told = await asked_until(
        lambda: met(door, "parsed", "/slow/v1"), lambda told: told["comments"] > 0
    )
    assert told["text"] == ANSWER


async def test_what_people_try_first_works(door: Door) -> None:
    told = await met(door, "first")
    for said in (told["chat"], told["response"], told["structured"]):
        assert isinstance(said["city"], str)
        assert isinstance(said["days"], int)
    assert told["dimensions"] == 64
    assert told["model"] == "of/demo"


async def test_the_list_of_models_is_the_routes(door: Door) -> None:
    told = await met(door, "models")
    assert "llama-3" in told["models"]
    assert "demo-claude" not in told["models"]


async def test_an_unknown_model_is_a_not_found_error(door: Door) -> None:
    told = await met(door, "unknown")
    assert (told["name"], told["status"], told["code"]) == ("NotFoundError", 404, "model_not_found")


async def test_a_stream_that_breaks_off_throws(door: Door) -> None:
    told = await met(door, "reset")
    assert told["chunks"] > 0
    assert (told["name"], told["code"]) == ("APIError", "upstream_reset")
