"""Tests are found by the name of their source: `gateway/a/b.py` has `tests/a/test_b.py`, or the
folder `tests/a/b/`.

What only shows on the wire is in `tests/wire/test_b.py`. A file without code that runs (protocols,
models, constants) needs no tests.
"""

from __future__ import annotations

import ast
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE, TESTS = ROOT / "gateway", ROOT / "tests"

ON_THE_WIRE = ("bridge", "middleware", "proxy", "routing", "wiring")
"""Packages whose tests may be in tests/wire/."""
ELSEWHERE = {
    # The request path: seen from both sockets, where the order of its parts matters.
    "app.py": "wire/test_routing.py",
    "pending.py": "test_pipeline.py",
    "routing/target.py": "wire/test_model_routing.py",
    "middleware/channels.py": "channels/test_channels.py",
    "middleware/publish_answer.py": "channels/test_answer.py",
    "limiting/decision.py": "wire/test_limits.py",
    "middleware/resume.py": "resume/test_replay.py",
    "middleware/tracing.py": "wire/test_traces.py",
    "telemetry/request_class.py": "middleware/test_request_classes.py",
    "middleware/upgrade.py": "wire/test_websocket.py",
    "proxy/asking_usage.py": "wire/test_usage.py",
    "proxy/attempt.py": "wire/test_failover.py",
    "proxy/attempts.py": "wire/test_retries.py",
    "request_body/reader.py": "wire/test_request_bodies.py",
    "proxy/continuation.py": "wire/test_one_ending.py",
    "proxy/health_report.py": "wire/test_endpoint_health.py",
    "proxy/upload.py": "wire/test_request_bodies.py",
    "proxy/first_attempt.py": "wire/test_upstream_reuse.py",
    "proxy/forward.py": "wire/test_upstream_passing.py",
    "proxy/in_stream.py": "wire/test_early_head.py",
    "routing/model_listing.py": "wire/test_model_routing.py",
    "proxy/relay.py": "wire/test_streams.py",
    "proxy/remade.py": "wire/test_translation.py",
    "proxy/request_head.py": "wire/test_headers.py",
    "routing/resolve.py": "wire/test_model_routing.py",
    "proxy/translated.py": "wire/test_translation.py",
    "server/answering.py": "wire/test_leaving_clients.py",
    "server/closing.py": "wire/test_leaving_clients.py",
    "server/connection.py": "processes/test_drain.py",
    "server/half_closed.py": "wire/test_leaving_clients.py",
    "server/listener.py": "processes/test_drain.py",
    "resume/reads.py": "resume/test_replay.py",
    "store/polling.py": "store/test_record_watcher.py",
    "virtual_transport.py": "bridge/test_call.py",
    "server/takeover.py": "resume/test_takeover.py",
    "stores/redis/streams/orphans.py": "resume/test_takeover.py",
    # Objects that need most of a gateway around them.
    "admin/answer.py": "admin/test_api.py",
    "admin/cache_api.py": "wire/test_cache.py",
    "admin/masked_config.py": "admin/test_api.py",
    "admin/operation.py": "admin/test_openapi.py",
    "admin/reference.py": "admin/test_openapi.py",
    "admin/worker_metrics.py": "admin/test_metrics.py",
    "channels/channel.py": "channels/test_channels.py",
    "channels/follower.py": "channels/test_channels.py",
    "channels/link.py": "channels/test_channels.py",
    "channels/notices.py": "channels/test_channels.py",
    "channels/position.py": "channels/test_channels.py",
    "channels/space.py": "channels/test_channels.py",
    "channels/worker_mirror.py": "channels/test_worker_link.py",
    "processes/admin.py": "admin/test_api.py",
    "processes/demo.py": "cli/test_demo.py",
    "processes/trace_collection.py": "admin/test_record_collector.py",
    "processes/worker.py": "processes/test_master.py",
    "telemetry/metrics/minute.py": "telemetry/metrics/test_minutes.py",
    "telemetry/traces/minutes.py": "telemetry/traces/test_store.py",
    "telemetry/traces/store_schema.py": "telemetry/traces/test_store.py",
    "upstream/asking.py": "wire/test_endpoint_health.py",
    "upstream/wake_request.py": "wire/test_scale_from_zero.py",
    "config/models/credentials.py": "config/test_check_upstreams.py",
    "upstream/checks.py": "wire/test_endpoint_health.py",
    "upstream/model_polling.py": "wire/test_model_discovery.py",
    "wiring/served_routes.py": "wire/test_model_discovery.py",
    "config/models/model_settings.py": "config/models/test_served_models.py",
    "upstream/endpoint.py": "upstream/test_upstream.py",
    "upstream/response.py": "upstream/test_connection.py",
    "websocket/response.py": "middleware/test_plugin.py",
    "websocket/session.py": "wire/test_websocket.py",
    "websocket/upstream_session.py": "wire/test_websocket.py",
    "proxy/shadow.py": "wire/test_mirror.py",
    "response_cache/use.py": "wire/test_cache.py",
    "routing/plain_generation.py": "wire/test_cache.py",
    "dialects/json_schema.py": "dialects/test_request_check.py",
    "dialects/request_description.py": "wire/test_check_requests.py",
    "middleware/audit_prompts.py": "wire/test_prompt_audit.py",
    "prompt_audit/answer_forms.py": "wire/test_prompt_audit.py",
    "prompt_audit/redaction.py": "wire/test_prompt_audit.py",
    # Hooks: what they do to traffic is what matters.
    "hooks/answers.py": "wire/test_hooks.py",
    "dialects/passage_bodies.py": "wire/test_hooks.py",
    "hooks/content.py": "hooks/test_windows.py",
    "hooks/events.py": "wire/test_hooks.py",
    "hooks/guarded.py": "wire/test_hooks.py",
    "hooks/stages.py": "wire/test_hooks.py",
    "hooks/recorded.py": "hooks/test_redact.py",
    "hooks/webhook.py": "wire/test_guardrails.py",
    "proxy/hooked.py": "wire/test_hooks.py",
    "routing/applied_rules.py": "wire/test_model_rules.py",
    # Construction from the configuration: its result is what is tested.
    "wiring/channels.py": "channels/test_channels.py",
    "wiring/resume.py": "resume/test_generation.py",
    "wiring/balancers.py": "wire/test_balancing.py",
    "wiring/parts.py": "middleware/test_plugin.py",
    "wiring/pipelines.py": "wire/test_routing.py",
    "wiring/policies.py": "wire/test_routing.py",
    "wiring/channel_policies.py": "channels/test_channels.py",
    "wiring/route_limits.py": "wire/test_limits.py",
    "wiring/route_dialect.py": "wire/test_routing.py",
    "wiring/routes.py": "wire/test_routing.py",
    "wiring/targets.py": "wire/test_model_routing.py",
    "telemetry/traces/answer_messages.py": "telemetry/traces/test_content.py",
    "telemetry/traces/message_parts.py": "telemetry/traces/test_content.py",
    "telemetry/traces/prompt_messages.py": "telemetry/traces/test_content.py",
    # Values that their users' tests are made of.
    "config/models/egress.py": "wire/test_egress.py",
    "wiring/alerts.py": "cli/test_alerts.py",
    "config/model_errors.py": "config/test_load.py",
    "config/yaml_reader.py": "config/test_load.py",
    "config/plug_in.py": "hooks/test_load.py",
    "http/connectors.py": "wire/test_egress.py",
    "http/tunnel_connector.py": "wire/test_egress.py",
    "config/public_keys.py": "config/test_check_providers.py",
    "admin/budgets.py": "admin/test_members_api.py",
    "admin/key_registers.py": "admin/test_keys_api.py",
    "admin/record_requests.py": "admin/test_keys_api.py",
    "admin/usage_sums.py": "admin/test_members_api.py",
    "admin/access.py": "admin/test_auth.py",
    "admin/audit.py": "admin/test_audit_log.py",
    "admin/gate.py": "admin/test_roles.py",
    "admin/operator.py": "admin/test_auth.py",
    "admin/operator_store.py": "admin/test_session_api.py",
    "admin/reload_audit.py": "admin/test_audit_api.py",
    "admin/sign_in_failures.py": "admin/test_sign_in.py",
    "auth/oidc/client.py": "admin/test_sign_in.py",
    "auth/oidc/id_token.py": "admin/test_sign_in.py",
    "auth/oidc/token_client.py": "admin/test_session_api.py",
    "processes/operator_access.py": "admin/test_roles.py",
    "wiring/sign_in.py": "admin/test_sign_in.py",
    "admin/holder_orders.py": "admin/test_holders_api.py",
    "admin/key_orders.py": "admin/test_keys_api.py",
    "auth/allowance.py": "auth/test_holders.py",
    "middleware/own_usage.py": "wire/test_self_service.py",
    "cli/allowances.py": "cli/test_keys.py",
    "auth/provider.py": "auth/test_jwt.py",
    "limiting/demand.py": "stores/test_limits.py",
    "response_cache/store.py": "stores/test_answers.py",
    "stores/memory/answers.py": "stores/test_answers.py",
    "stores/redis/answers.py": "stores/test_answers.py",
    "stores/redis/answer_leads.py": "stores/test_answer_leads.py",
}
"""Sources whose tests have another name, and one file of those tests."""


def sources() -> list[Path]:
    """The source files below gateway/ that hold code, by their paths in it."""
    return [
        path.relative_to(SOURCE)
        for path in sorted(SOURCE.rglob("*.py"))
        if path.name not in ("__init__.py", "__main__.py") and _runs(path)
    ]


def _runs(path: Path) -> bool:
    """Whether a file has a function that does more than say what it is."""
    functions = (
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    return any(not isinstance(line, ast.Expr | ast.Pass) for one in functions for line in one.body)


def _has_tests(source: Path) -> bool:
    name, folder = f"test_{source.stem}.py", TESTS / source.parent
    on_wire = source.parts[0] in ON_THE_WIRE and (TESTS / "wire" / name).exists()
    return on_wire or (folder / name).exists() or any((folder / source.stem).glob("test_*.py"))


def _is_in(source: Path, pattern: str) -> bool:
    return fnmatch(str(source), pattern) and str(source).count("/") == pattern.count("/")


def test_every_source_file_has_tests_of_its_name() -> None:
    without = [source for source in sources() if not _has_tests(source)]
    unnamed = [one for one in without if not any(_is_in(one, known) for known in ELSEWHERE)]
    assert unnamed == [], "name their tests after them"


def test_sources_with_tests_elsewhere_are_there_and_so_are_the_tests() -> None:
    without = [source for source in sources() if not _has_tests(source)]
    done = [known for known in ELSEWHERE if not any(_is_in(one, known) for one in without)]
    assert done == [], "these have tests of their name, or are gone"
    assert [test for test in ELSEWHERE.values() if not (TESTS / test).exists()] == []
