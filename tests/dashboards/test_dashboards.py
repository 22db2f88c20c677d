"""What is shipped to watch a gateway: it reads what a gateway exports, and nothing else.

The names are those of a real gateway under a load that makes it do whatever a metric tells of; the
expressions are evaluated by a real Prometheus that scrapes it.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.telemetry.metrics.instruments import ALL, Instrument, InstrumentKind
from tests.support.client import RawClient, Response, ask, request
from tests.support.figures import Report
from tests.support.gateway import GatewayProcess, StartGatewayProcess
from tests.support.issuer import Issuer
from tests.support.metrics import Samples, scraped_until
from tests.support.prometheus import DASHBOARDS, Prometheus, StartPrometheus
from tests.support.promql import grouped, used
from tests.support.upstream import ScriptedUpstream, UpstreamConnection, json_reply, sse_reply

BOARDS = sorted((DASHBOARDS / "grafana/dashboards").glob("*.json"))
RULES = DASHBOARDS / "prometheus"
COMPOSE = DASHBOARDS.parent / "deploy/compose/compose.yaml"
SCRAPED = {"job", "instance"}
TOKEN = "a-token-for-operators"

STREAM = [b'data: {"choices":[{"delta":{"content":"hi"}}]}\n\n'] * 5
USAGE = (
    b'data: {"usage":{"prompt_tokens":9,"completion_tokens":5,'
    b'"prompt_tokens_details":{"cached_tokens":4}}}\n\n'
)


def rules() -> Iterator[dict[str, Any]]:
    for name in ("recording.yml", "alerts.yml"):
        for group in yaml.safe_load((RULES / name).read_text())["groups"]:
            yield from group["rules"]


@cache
def recorded() -> dict[str, set[str]]:
    """What recording rules make, with its labels."""
    return {one["record"]: grouped(one["expr"]) for one in rules() if "record" in one}


def panels(board: Path) -> Iterator[dict[str, Any]]:
    yield from json.loads(board.read_text())["panels"]


def queries(board: Path) -> Iterator[tuple[str, str]]:
    """Title and expression of every target, annotation and variable, its macros filled in."""
    document = json.loads(board.read_text())
    for panel in document["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], _filled(target["expr"])
    for annotation in document["annotations"]["list"]:
        yield annotation["name"], _filled(annotation["expr"])
    for variable in document["templating"]["list"]:
        if variable["type"] == "query":
            label, metric = _label_values(variable)
            yield variable["name"], f"count by ({label}) ({metric})"


def _label_values(variable: dict[str, Any]) -> tuple[str, str]:
    match = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]["query"])
    assert match is not None
    return match[2], match[1]


def _filled(expression: str) -> str:
    expression = re.sub(r"\$__(rate_interval|range)", "1m", expression)
    return re.sub(r"\$(\w+)", ".*", expression)


def exposed_names(one: Instrument) -> list[str]:
    if one.kind is InstrumentKind.HISTOGRAM:
        return [f"{one.name}_{suffix}" for suffix in ("bucket", "sum", "count")]
    return [one.exposed]


EXPRESSIONS = [
    *((f"{board.stem}: {title}", text) for board in BOARDS for title, text in queries(board)),
    *((one.get("record") or one["alert"], one["expr"]) for one in rules()),
]


def test_promtool_finds_nothing_wrong_with_the_rules() -> None:
    for arguments in (
        ["check", "rules", "recording.yml", "alerts.yml"],
        ["test", "rules", "tests.yml"],
    ):
        done = subprocess.run(["promtool", *arguments], cwd=RULES, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_takes_the_configuration_of_prometheus(tmp_path: Path) -> None:
    document = yaml.safe_load((RULES / "prometheus.yml").read_text())
    (tmp_path / "token").write_text(TOKEN)
    document["scrape_configs"][0]["authorization"]["credentials_file"] = str(tmp_path / "token")
    document["rule_files"] = [str(RULES / name) for name in document["rule_files"]]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(document))
    done = subprocess.run(
        ["promtool", "check", "config", str(tmp_path / "prometheus.yml")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("where", "text"), EXPRESSIONS)
def test_expressions_use_metrics_and_labels_there_are(where: str, text: str) -> None:
    known = {name: {*one.labels, "le"} for one in ALL.values() for name in exposed_names(one)}
    known |= {**recorded(), "up": set()}
    together = set(SCRAPED)
    for name, labels in used(text):
        assert name in known, f"{where}: no metric {name}"
        assert labels <= known[name] | SCRAPED, f"{where}: {name} has no {labels - known[name]}"
        together |= known[name]
    assert grouped(text) <= together, f"{where}: nothing has {grouped(text) - together}"


def test_alerts_say_how_bad_and_what_to_do() -> None:
    alerts = [one for one in rules() if "alert" in one]
    assert len(alerts) > 20
    for one in alerts:
        assert one["alert"].startswith("Gateway")
        assert one["labels"]["severity"] in ("page", "ticket")
        assert set(one["annotations"]) == {"summary", "runbook", "description"}
        for name in re.findall(r"\$labels\.(\w+)", json.dumps(one["annotations"])):
            assert name in SCRAPED | grouped(one["expr"]) | {"route"}


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.stem)
def test_boards_are_whole(board: Path) -> None:
    document = json.loads(board.read_text())
    assert document["uid"] == f"gateway-{board.stem}"
    ids = [panel["id"] for panel in document["panels"]]
    assert len(ids) == len(set(ids))
    taken: set[tuple[int, int]] = set()
    for panel in document["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, f"{panel['title']} lies over another panel"
        taken |= cells
    names = {variable["name"] for variable in document["templating"]["list"]}
    macros = {"__rate_interval", "__range", "__all"}
    assert set(re.findall(r"\$\{?(\w+)", json.dumps(document["panels"]))) <= names | macros


def test_everything_is_provisioned_and_linked() -> None:
    provisioning = DASHBOARDS / "grafana/provisioning"
    sources = {
        one["uid"]: one
        for one in yaml.safe_load((provisioning / "datasources/datasources.yaml").read_text())[
            "datasources"
        ]
    }
    stores = ["tempo", "jaeger"]
    assert sources.keys() == {"prometheus", "loki", *stores}
    exemplars = sources["prometheus"]["jsonData"]["exemplarTraceIdDestinations"]
    assert [(one["name"], one["datasourceUid"]) for one in exemplars] == [
        ("trace_id", store) for store in stores
    ]
    for store in stores:
        to_logs = sources[store]["jsonData"]["tracesToLogsV2"]
        assert to_logs["datasourceUid"] == "loki"
        assert to_logs["filterByTraceID"] is True
    derived = sources["loki"]["jsonData"]["derivedFields"]
    assert [(one["matcherRegex"], one["datasourceUid"]) for one in derived] == [
        ("trace_id", store) for store in stores
    ]
    assert len({one["name"] for one in derived}) == len(stores)
    compose = yaml.safe_load(COMPOSE.read_text())["services"]
    for one in sources.values():
        host, port = re.fullmatch(r"http://(\w+):(\d+)", one["url"]).groups()  # type: ignore[union-attr]
        assert host in compose
        assert port in ("9090", "3200", "3100", "16686")
    [provider] = yaml.safe_load((provisioning / "dashboards/dashboards.yaml").read_text())[
        "providers"
    ]
    mounted = compose["grafana"]["volumes"]
    assert f"../../dashboards/grafana/dashboards:{provider['options']['path']}:ro" in mounted


def test_the_collector_carries_traces_metrics_and_logs_on() -> None:
    document = yaml.safe_load((DASHBOARDS / "collector/config.yaml").read_text())
    pipelines = document["service"]["pipelines"]
    assert pipelines.keys() == {"traces", "metrics", "logs"}
    for pipeline in pipelines.values():
        for part in ("receivers", "processors", "exporters"):
            assert pipeline[part]
            assert set(pipeline[part]) <= document[part].keys()
    compose = yaml.safe_load(COMPOSE.read_text())["services"]
    for exporter in document["exporters"].values():
        host = re.match(r"http://(\w+):", exporter["endpoint"])
        assert host is not None
        assert host[1] in compose
    options = compose["gateway"]["logging"]["options"]
    port = options["fluentd-address"].rpartition(":")[2]
    assert document["receivers"]["fluentforward"]["endpoint"].endswith(f":{port}")


def test_every_alert_names_the_section_that_helps() -> None:
    page = (DASHBOARDS.parent / "docs/troubleshooting.md").read_text()
    headings = re.findall(r"^## (.+)$", page, re.MULTILINE)
    slugs = {re.sub(r"[^a-z0-9 -]", "", text.lower()).replace(" ", "-") for text in headings}
    alerts = [rule for rule in rules() if "alert" in rule]
    assert len(alerts) > 20
    for alert in alerts:
        file, _, section = alert["annotations"]["runbook"].partition("#")
        assert (file, section in slugs) == ("docs/troubleshooting.md", True), alert["alert"]


# -- against a real gateway and a real Prometheus --------------------------------------------------


async def play(connection: UpstreamConnection) -> None:
    """Answer as the model asks for it."""
    while True:
        asked = json.loads((await connection.read_request()).body)["model"]
        scripts = {
            "told": sse_reply([*STREAM, USAGE]),
            "untold": sse_reply(STREAM),
            "bad": json_reply({}, status="503 Busy"),
        }
        if asked == "broken":
            connection.reset()
            return
        if asked == "hang":
            await connection.wait_client_gone(60)
            return
        await _once(scripts[asked], connection)


async def _once(script: Any, connection: UpstreamConnection) -> None:
    """One answer of a script that would read its request itself."""
    read = connection.read_request
    seen = False

    async def already_read() -> Any:
        nonlocal seen
        if seen:
            raise _Done
        seen = True
        return connection.requests[-1]

    connection.read_request = already_read  # type: ignore[method-assign]
    try:
        await script(connection)
    except _Done:
        pass
    finally:
        connection.read_request = read  # type: ignore[method-assign]


class _Done(Exception):
    pass


def config(url: str, issuer: Issuer) -> dict[str, Any]:
    models = ("told", "untold", "bad", "broken", "hang")
    return {
        "server": {"workers": 2},
        "admin": {"listen": "127.0.0.1:0", "token": {"env": "ADMIN_TOKEN"}},
        "telemetry": {"log": {"format": "json"}, "traces": {"sample": 1.0}},
        "auth": issuer.provider(claims={"tenant": "org"}),
        "limits": {"few": {"key": "tenant", "requests": "60/day", "burst": 60}},
        "upstreams": {
            "main": {
                "endpoints": [{"url": url}],
                "admission": {"concurrency": 1, "queue": 100, "max_wait": "20s"},
                "retries": {"post": True},
            }
        },
        "models": {
            **{name: {"upstream": "main"} for name in models},
            "told": {"upstream": "main", "price": {"input": 1, "output": 2}},
            "bad": {"upstream": "main", "fallbacks": ["told"]},
        },
        "prompt_audit": {"directory": "prompts"},
        "routes": [
            {
                "name": "chat",
                "audit_prompts": {},
                "path": "/v1/",
                "auth": ["corp"],
                "limits": ["few"],
                "models": list(models),
            }
        ],
    }


async def load(gateway: GatewayProcess, issuer: Issuer) -> None:
    """Make it do whatever a metric tells of."""

    def chat(model: str, tenant: str = "acme") -> bytes:
        return request(
            "POST",
            "/v1/chat/completions",
            headers=[
                "Content-Type: application/json",
                f"Authorization: Bearer {issuer.token('k', org=tenant)}",
            ],
            body=json.dumps({"model": model, "stream": True}).encode(),
        )

    for model in ("told", "untold", "bad", "broken", "nobody"):
        await ask(gateway.port, chat(model))
    await ask(gateway.port, b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
    await ask(gateway.port, request(target="/nowhere"))
    async with RawClient(gateway.port) as client:
        await client.send(chat("hang"))
        await scraped_until(
            gateway, lambda now: now.value("http_server_active_requests") == 1, token=TOKEN
        )
        crowd: list[asyncio.Task[Response]] = []

        def waits(now: Samples) -> bool:
            if now.value("gateway_queue_depth") >= 1:
                return True
            # Until one comes to the worker where that is in its way.
            crowd.append(asyncio.create_task(ask(gateway.port, chat("told"))))
            return False

        await scraped_until(gateway, waits, token=TOKEN)
    assert {answer.status for answer in await asyncio.gather(*crowd)} <= {200, 429}
    answers = [(await ask(gateway.port, chat("told", "other org"))).status for _ in range(62)]
    assert answers.count(429) >= 2


NEVER_BY_LOAD = {
    "gateway_channels": "a route with `channels`; see tests/channels",
    "gateway_channel_followers": "the same",
    "gateway_channel_events_total": "the same",
    "gateway_channel_gaps_total": "the same",
    "gateway_channel_disconnects_total": "the same",
    "gateway_continuations_total": "an upstream with `continues` that dies in a stream",
    "gateway_metrics_overflows_total": "thousands of labels",
    "gateway_translation_skipped_total": "a backend that answers what cannot be translated",
    "gateway_trace_exported_spans_total": "a collector of OpenTelemetry's; see tests/admin",
    "gateway_reclaimed_total": "a session or stream that lives too long; see tests/wire",
    "gateway_relay_stalls_total": "a client that takes nothing; see tests/middleware",
    "gateway_relay_stall_seconds_total": "the same",
    "gateway_alerts_total": "an alert; see tests/admin",
    "gateway_upstream_models": "an upstream with `discover_models`; see tests/admin",
    "gateway_upstream_model_lists_total": "the same",
    "gateway_upstream_waking": "an upstream with `wake`; see tests/wire",
    "gateway_upstream_waiting_for_start": "the same",
    "gateway_upstream_starts_total": "the same",
}
_NOT_CONFIGURED = ("gateway_cache_", "gateway_hook_", "gateway_shadow_")
"""Beginnings of the names of features that the load does not use; their own tests count them."""


async def test_a_real_gateway_exports_and_prometheus_shows_everything_that_is_used(
    start_gateway_process: StartGatewayProcess,
    start_prometheus: StartPrometheus,
    monkeypatch: pytest.MonkeyPatch,
    report: Report,
) -> None:
    monkeypatch.setenv("ADMIN_TOKEN", TOKEN)
    async with Issuer() as issuer, ScriptedUpstream(play) as upstream:
        issuer.add_key("k")
        gateway = await start_gateway_process(config(upstream.url, issuer))
        prometheus = await start_prometheus(gateway.admin_port, TOKEN)
        await load(gateway, issuer)
        samples = await scraped_until(
            gateway, lambda now: now.value("http_server_active_requests") == 0, token=TOKEN
        )
        _judge_names(samples)
        total = samples.value("gateway_requests_total")
        query = "sum(gateway_requests_total)"
        await prometheus.until(query, lambda rows: bool(rows) and rows[0][1] == total)
        await load(gateway, issuer)  # once more: what has only one value has no rate
        await prometheus.until(query, lambda rows: rows[0][1] > total)
        assert await prometheus.query("count(gateway_worker_memory_bytes)") == [({}, 2.0)]
        await _judge_panels(prometheus)
        exemplars = await prometheus.exemplars("http_server_request_duration_seconds_bucket")
        traces = {line["trace_id"] for line in gateway.log.requests}
        assert {labels["trace_id"] for labels in exemplars} <= traces
        assert await prometheus.failing_rules() == []
    report("dashboards", "expressions evaluated by Prometheus", len(EXPRESSIONS))
    report("dashboards", "series of two workers", samples.series)


def _judge_names(samples: Samples) -> None:
    exported = samples.labels
    made = recorded()
    for where, text in EXPRESSIONS:
        for name, labels in used(text):
            if name in made or name == "up" or name in NEVER_BY_LOAD:
                continue
            assert name in exported, f"{where}: a gateway under load exports no {name}"
            assert labels <= exported[name] | SCRAPED, f"{where}: {name} has no {labels}"
    names = {name for one in ALL.values() for name in exposed_names(one)}
    missing = {name for name in names - exported.keys() if not name.startswith(_NOT_CONFIGURED)}
    assert missing <= NEVER_BY_LOAD.keys() | {"gateway_key_fetches_total"}


async def _judge_panels(prometheus: Prometheus) -> None:
    """Each panel comes to show something, but for those of what did not happen."""
    for board in BOARDS:
        for title, text in queries(board):
            if title not in MAY_BE_EMPTY:
                await prometheus.until(text, bool)


MAY_BE_EMPTY = {
    "Reloads",
    "Streams that stand still",
    "Waiting",
    "Endpoints that are not healthy",
    "Streams continued elsewhere",
}
