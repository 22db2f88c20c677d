"""Findings: each variable once, and a name for each upstream."""

from __future__ import annotations

from gateway.cli.litellm.findings import ConvertedModel, ConvertedUpstream, Findings


def upstream(provider: str, url: str) -> ConvertedUpstream:
    """Return an upstream with one endpoint."""
    return ConvertedUpstream(provider, "openai", ((url, 1, 0),), "", "", (), "", "", None, True)


def test_a_variable_is_told_once() -> None:
    found = Findings()
    for _ in range(2):
        found.use("KEY", "the key")
    found.use("KEY_2")
    assert found.variables == ["KEY=... # the key", "KEY_2=..."]


def test_upstreams_are_named_after_their_providers_and_counted() -> None:
    first, second = upstream("hosted_vllm", "http://a"), upstream("hosted_vllm", "http://b")
    found = Findings(
        {
            "x": ConvertedModel(first, "x", {}, 0, 0),
            "y": ConvertedModel(second, "y", {}, 0, 0, is_listed=False),
            "z": ConvertedModel(first, "z", {}, 0, 0),
        }
    )
    assert found.upstream_names() == {first: "hosted-vllm", second: "hosted-vllm-2"}
    assert list(found.listed) == ["x", "z"]
