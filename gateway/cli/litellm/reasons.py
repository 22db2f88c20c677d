"""Why a setting of LiteLLM is not converted, by its name."""

from __future__ import annotations

DEFAULT_REASON = "no counterpart"
REASONS = {
    "api_version": "not needed: Azure's v1 API has none",
    "allowed_fails": "see upstreams.NAME.outliers.failures",
    "cooldown_time": "see upstreams.NAME.outliers.base",
    "enable_pre_call_checks": "not needed: see models.NAME.context_window",
    "additional_drop_params": "see models.NAME.parameters.drop",
    "drop_params": "see models.NAME.parameters.drop",
    "success_callback": "see telemetry: metrics, traces for OpenTelemetry, and the log",
    "failure_callback": "see telemetry: metrics, traces for OpenTelemetry, and the log",
    "callbacks": "see telemetry; middleware of your own is a plug-in",
    "database_url": "not needed: API keys are in a file or in the store",
    "store_model_in_db": "models are in this file",
    "environment_variables": "set them in the environment of the gateway",
    "json_logs": "see telemetry.log.format",
    "max_budget": "no budget of all callers: see `gateway teams set NAME --budget`",
    "budget_duration": "budgets are for calendar days, weeks or months: see docs/keys.md",
    "default_team_settings": "teams are made with `gateway teams set`",
    "default_internal_user_params": "limits of users are made with `gateway users set`",
    "upperbound_key_generate_params": "see `gateway teams set --own-keys-expire` and --key-budget",
    "max_internal_user_budget": "see `gateway teams set --user-budget`",
    "alerting": "see dashboards/prometheus for rules and alerts",
    "guardrails": "add `hooks`: see docs/guardrails.md",
    "mcp_servers": "see examples/mcp.yaml",
    "content_policy_fallbacks": "fallbacks do not depend on content policies",
    "cache": "see routes[].cache: only equal requests share answers",
    "cache_params": "see routes[].cache and store.url",
}
