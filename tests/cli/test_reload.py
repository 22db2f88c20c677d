"""`gateway reload`: which file the gateway read, and what was wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.commands import NOWHERE, Said, call, called
from tests.support.gateway import GatewayProcess, StartGatewayProcess, config_text, simple_config
from tests.support.upstream import ScriptedUpstream, json_reply


def change(gateway: GatewayProcess, **sections: Any) -> None:
    """Write other sections into its file."""
    document = yaml.safe_load(gateway.file.read_text())
    for name, value in sections.items():
        old = document.get(name)
        both = isinstance(old, dict) and isinstance(value, dict)
        document[name] = {**old, **value} if both else value
    gateway.file.write_text(yaml.safe_dump(document))


async def test_the_command_says_which_file_was_read(
    start_gateway_process: StartGatewayProcess, tmp_path: Path
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway_process(simple_config(upstream.url))
        change(gateway, admin={"listen": f"127.0.0.1:{gateway.admin_port}"})
        assert await called("reload", "--config", str(gateway.file)) == Said(
            0, f"reloaded {gateway.file}\nadmin: takes effect after a restart\n", ""
        )
        another = tmp_path / "another.yaml"
        another.write_bytes(gateway.file.read_bytes())
        said = await called("reload", "--config", str(another))
        assert (said.code, said.out.splitlines()[0]) == (0, f"reloaded {gateway.file}")
        assert f"{another} is not the file that gateway serves" in said.err


def test_a_gateway_that_is_not_there_is_told_of(
    capsys: pytest.CaptureFixture[str], file: Path
) -> None:
    file.write_text(config_text(simple_config(NOWHERE), {"admin": {"listen": "127.0.0.1:1"}}))
    said = call(capsys, "reload", "--config", str(file))
    assert (said.code, said.out) == (4, "")
    assert "no gateway answers at 127.0.0.1:1: Connection refused. Is it running?" in said.err
