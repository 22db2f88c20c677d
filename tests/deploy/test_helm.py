"""deploy/helm: the chart, rendered by Helm's own library, fits Kubernetes and the gateway."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

import gateway
from gateway.config import Config, load_text
from gateway.telemetry.metrics.instruments import ALL

CHART = Path(__file__).parents[2] / "deploy/helm/llm-gateway"
PLAIN = Path(__file__).parents[2] / "deploy/kubernetes"
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
EXISTING: dict[str, Any] = {"secrets": {"existing": "of-the-vault"}}
EVERYTHING: dict[str, Any] = {
    "secrets": {"values": {"ADMIN_TOKEN": "1e5", "OPENAI_API_KEY": 'a"b'}},
    "autoscaling": {"enabled": True},
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "ingress": {"enabled": True, "tls": [{"hosts": ["llm.example.com"], "secretName": "tls"}]},
    "env": [{"name": "TZ", "value": "UTC"}],
    "lifecycle": {"preStop": {"exec": {"command": ["sleep", "5"]}}},
    "serviceAccount": {"annotations": {"a": "b"}},
    "service": {"annotations": {"a": "b"}},
    "podAnnotations": {"a": "b"},
    "podLabels": {"team": "ml"},
    "imagePullSecrets": [{"name": "registry"}],
    "nodeSelector": {"pool": "cpu"},
    "tolerations": [{"key": "cpu", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "extraVolumes": [{"name": "ca", "configMap": {"name": "ca"}}],
    "extraVolumeMounts": [{"name": "ca", "mountPath": "/etc/ca"}],
}
# The library has wheels for some machines only; see the lock.
helm = pytest.importorskip("helm_python")


def rendered(values: Mapping[str, Any], name: str = "llm-gateway") -> list[dict[str, Any]]:
    """Return the manifests of a release."""
    with helm.Chart.load(CHART) as chart:
        files = chart.render(dict(values), name=name, namespace="gateway")
    return [
        document
        for file, text in files.items()
        if file.endswith(".yaml")
        for document in yaml.safe_load_all(text)
        if document
    ]


def one(manifests: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    """Return the first manifest of a kind."""
    return next(document for document in manifests if document["kind"] == kind)


def kinds(manifests: list[dict[str, Any]]) -> list[str]:
    """Return the kinds of all manifests."""
    return sorted(document["kind"] for document in manifests)


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch) -> Config:
    """Return the default configuration, as the gateway reads it."""
    monkeypatch.setenv("ADMIN_TOKEN", "t" * 32)
    monkeypatch.setenv("REDIS_URL", "redis://redis:6379/0")
    return load_text(one(rendered(EXISTING), "ConfigMap")["data"]["config.yaml"])


@pytest.mark.parametrize("values", [EXISTING, EVERYTHING], ids=["defaults", "everything"])
def test_helm_lint_finds_nothing(values: dict[str, Any]) -> None:
    report = helm.lint(CHART, values, strict=True)
    assert report["errors"] == []
    assert {message["error"] for message in report["messages"]} <= {"icon is recommended"}


@pytest.mark.parametrize("values", [EXISTING, EVERYTHING], ids=["defaults", "everything"])
@pytest.mark.parametrize("version", ["1.29", "1.33"])
def test_every_manifest_fits_the_schema_of_kubernetes(values: dict[str, Any], version: str) -> None:
    for document in rendered(values):
        if document["kind"] != "ServiceMonitor":  # of an operator; no schema in the package
            kubernetes_validate.validate(document, version, strict=True)


def test_what_needs_an_operator_or_an_adapter_is_off_by_default() -> None:
    default = kinds(rendered(EXISTING))
    assert default == [
        *("ConfigMap", "Deployment", "NetworkPolicy", "PodDisruptionBudget"),
        *("Service", "Service", "ServiceAccount"),
    ]
    more = ["HorizontalPodAutoscaler", "Ingress", "Secret", "ServiceMonitor"]
    assert kinds(rendered(EVERYTHING)) == sorted([*default, *more])


def test_the_pod_is_that_of_the_plain_manifests() -> None:
    plain = yaml.safe_load((PLAIN / "deployment.yaml").read_text())["spec"]
    chart = one(rendered(EXISTING), "Deployment")["spec"]
    assert chart["strategy"] == plain["strategy"]
    ours, theirs = chart["template"]["spec"], plain["template"]["spec"]
    assert ours["securityContext"] == theirs["securityContext"]
    assert ours["terminationGracePeriodSeconds"] == theirs["terminationGracePeriodSeconds"]
    [container], [expected] = ours["containers"], theirs["containers"]
    same = ("name", "ports", "securityContext", "resources", "volumeMounts")
    probes = ("startupProbe", "readinessProbe", "livenessProbe")
    for key in (*same, *probes):
        assert container[key] == expected[key], key


def test_a_pod_has_time_to_drain_and_its_ports_are_those_of_the_gateway(config: Config) -> None:
    spec = one(rendered(EXISTING), "Deployment")["spec"]["template"]["spec"]
    drain_s = config.server.drain_delay + config.server.drain
    assert spec["terminationGracePeriodSeconds"] > drain_s
    ports = {port["name"]: port["containerPort"] for port in spec["containers"][0]["ports"]}
    assert config.admin is not None
    assert config.server.listen.endswith(f":{ports['http']}")
    assert config.admin.listen.endswith(f":{ports['admin']}")


def test_pods_restart_when_the_configuration_or_the_secret_changes() -> None:
    def annotations(**values: Any) -> Any:
        deployment = one(rendered({**EVERYTHING, **values}), "Deployment")
        return deployment["spec"]["template"]["metadata"]["annotations"]

    first = annotations()
    assert annotations() == first
    assert annotations(config="server: {}")["checksum/config"] != first["checksum/config"]
    other = annotations(secrets={"values": {"ADMIN_TOKEN": "other"}})
    assert other["checksum/secrets"] != first["checksum/secrets"]


def test_secrets_are_those_of_the_user_or_of_the_chart() -> None:
    def source(manifests: list[dict[str, Any]]) -> Any:
        [container] = one(manifests, "Deployment")["spec"]["template"]["spec"]["containers"]
        return container["envFrom"][0]["secretRef"]["name"]

    assert source(rendered(EXISTING)) == "of-the-vault"
    made = rendered(EVERYTHING)
    secret = one(made, "Secret")
    assert source(made) == secret["metadata"]["name"]
    assert secret["stringData"] == EVERYTHING["secrets"]["values"]
    token = one(made, "ServiceMonitor")["spec"]["endpoints"][0]["authorization"]["credentials"]
    assert token["name"] == secret["metadata"]["name"]
    assert token["key"] in secret["stringData"]


@pytest.mark.parametrize(
    ("secrets", "reason"),
    [
        ({}, "set secrets.existing"),
        ({"existing": "a", "values": {"ADMIN_TOKEN": "b"}}, "either secrets.existing or"),
    ],
)
def test_exactly_one_source_of_secrets_is_asked_for(secrets: dict[str, Any], reason: str) -> None:
    with pytest.raises(helm.HelmRenderError, match=reason):
        rendered({"secrets": secrets})


def test_everything_selects_the_pods_of_its_release_only() -> None:
    manifests = rendered(EVERYTHING, name="blue")
    labels = one(manifests, "Deployment")["spec"]["template"]["metadata"]["labels"]
    selectors = [
        one(manifests, "Deployment")["spec"]["selector"]["matchLabels"],
        one(manifests, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        one(manifests, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        *(each["spec"]["selector"] for each in manifests if each["kind"] == "Service"),
    ]
    for selector in selectors:
        assert selector.items() <= labels.items()
        assert selector["app.kubernetes.io/instance"] == "blue"
    assert {each["metadata"]["name"] for each in manifests} == {
        "blue-llm-gateway",
        "blue-llm-gateway-admin",
    }


def test_the_service_monitor_scrapes_the_admin_service_under_the_job_of_the_alerts() -> None:
    manifests = rendered(EVERYTHING, name="blue")
    spec = one(manifests, "ServiceMonitor")["spec"]
    [service] = (
        each
        for each in manifests
        if each["kind"] == "Service"
        and spec["selector"]["matchLabels"].items() <= each["metadata"]["labels"].items()
    )
    assert [port["name"] for port in service["spec"]["ports"]] == [spec["endpoints"][0]["port"]]
    assert service["metadata"]["labels"][spec["jobLabel"]] == "llm-gateway"


def test_the_autoscaler_goes_by_streams_and_replaces_the_number_of_replicas() -> None:
    manifests = rendered({**EVERYTHING, "autoscaling": {"enabled": True, "cpu": None}})
    [metric] = one(manifests, "HorizontalPodAutoscaler")["spec"]["metrics"]
    assert metric["pods"]["metric"]["name"] in set(ALL)
    assert "replicas" not in one(manifests, "Deployment")["spec"]
    assert one(rendered(EXISTING), "Deployment")["spec"]["replicas"] == VALUES["replicaCount"]


@pytest.mark.parametrize(
    "values",
    [
        {"replicas": 3},
        {"image": {"pullPolicy": "Sometimes"}},
        {"ports": {"http": 0}},
        {"secrets": {"values": {"ADMIN_TOKEN": 5}}},
        {"config": {"server": {}}},
        {"ingress": {"hosts": [{"host": "a"}]}},
    ],
)
def test_a_value_that_does_not_exist_or_fit_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(helm.HelmError):
        rendered({**EXISTING, **values})


def test_every_value_is_used_and_the_version_is_that_of_the_gateway() -> None:
    templates = "".join(file.read_text() for file in (CHART / "templates").iterdir())
    used = set(re.findall(r"\.Values\.([A-Za-z]+)", templates))
    assert used == set(VALUES)
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == gateway.__version__


def test_the_mounted_file_is_the_one_the_image_serves() -> None:
    dockerfile = (CHART.parents[1] / "Dockerfile").read_text()
    [container] = one(rendered(EXISTING), "Deployment")["spec"]["template"]["spec"]["containers"]
    [mount] = (each for each in container["volumeMounts"] if each["name"] == "config")
    assert f'"{mount["mountPath"]}/config.yaml"' in dockerfile
