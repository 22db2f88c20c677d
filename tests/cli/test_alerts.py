"""`gateway alerts test`."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.commands import called
from tests.support.gateway import config_text, simple_config
from tests.support.upstream import ScriptedUpstream, json_reply


async def test_each_alert_is_sent_and_its_answer_printed(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    async with (
        ScriptedUpstream(json_reply({})) as good,
        ScriptedUpstream(json_reply({}, status="403 no")) as bad,
    ):
        alerts = {"good": {"url": good.url + "/x"}, "bad": {"url": bad.url + "/secret"}}
        file.write_text(config_text(simple_config("http://127.0.0.1:1"), {"alerts": alerts}))
        said = await called("alerts", "test", "--config", str(file))
        one = await called("alerts", "test", "good", "--config", str(file))
    assert said.code == 4
    assert said.out.splitlines() == [
        "good: sent to 127.0.0.1",
        "bad: 127.0.0.1 did not accept it: status 403",
    ]
    assert one.code == 0
    body = json.loads(good.requests[-1].body)
    assert (body["kind"], body["text"]) == ("test", "This is a test of good")


async def test_a_name_that_is_none_is_told(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    config = simple_config("http://127.0.0.1:1")
    file.write_text(config_text(config, {}))
    assert "has no alerts" in (await called("alerts", "test", "--config", str(file))).err
    file.write_text(config_text(config, {"alerts": {"a": {"url": "http://127.0.0.1:1/x"}}}))
    said = await called("alerts", "test", "b", "--config", str(file))
    assert (said.code, "there is no alert 'b'" in said.err) == (2, True)
