"""deploy/kubernetes: every manifest fits its schema, and they fit each other and the gateway."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from gateway.config import Config, load_text
from gateway.telemetry.metrics.instruments import ALL

FOLDER = Path(__file__).parents[2] / "deploy/kubernetes"
KUSTOMIZATION: dict[str, Any] = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
MANIFESTS: list[dict[str, Any]] = [
    document
    for name in KUSTOMIZATION["resources"]
    for document in yaml.safe_load_all((FOLDER / name).read_text())
]
# Kinds that the cluster's own API has: that of an operator has no schema in the package.
OF_THE_CLUSTER = [one for one in MANIFESTS if one["kind"] != "ServiceMonitor"]


def manifest(kind: str, name: str = "llm-gateway") -> dict[str, Any]:
    """The one of this kind and name."""
    [found] = (one for one in MANIFESTS if (one["kind"], one["metadata"]["name"]) == (kind, name))
    return found


def container() -> dict[str, Any]:
    """The gateway's."""
    [found] = manifest("Deployment")["spec"]["template"]["spec"]["containers"]
    assert isinstance(found, dict)
    return found


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch) -> Config:
    """The ConfigMap's file, as the gateway reads it."""
    monkeypatch.setenv("ADMIN_TOKEN", "t" * 32)
    monkeypatch.setenv("REDIS_URL", "redis://redis.models.svc.cluster.local:6379/0")
    [generated] = KUSTOMIZATION["configMapGenerator"]
    [name] = generated["files"]
    return load_text((FOLDER / name).read_text())


@pytest.mark.parametrize("version", ["1.29", "1.33"])
@pytest.mark.parametrize("document", OF_THE_CLUSTER, ids=lambda one: one["kind"])
def test_a_manifest_fits_the_schema_of_kubernetes(document: dict[str, Any], version: str) -> None:
    kubernetes_validate.validate(document, version, strict=True)


def test_every_manifest_is_listed() -> None:
    files = {file.name for file in FOLDER.glob("*.yaml")} - {"kustomization.yaml", "config.yaml"}
    assert files == set(KUSTOMIZATION["resources"])


def test_probes_and_ports_are_those_of_the_gateway(config: Config) -> None:
    assert config.admin is not None
    ports = {port["name"]: str(port["containerPort"]) for port in container()["ports"]}
    assert ports["http"] == config.server.listen.rpartition(":")[2]
    assert ports["admin"] == config.admin.listen.rpartition(":")[2]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        asked = container()[probe]["httpGet"]
        assert asked["path"] in ("/livez", "/readyz")
        assert asked["port"] == "admin"
    for service in ("llm-gateway", "llm-gateway-admin"):
        [port] = manifest("Service", service)["spec"]["ports"]
        assert port["targetPort"] in ports


def test_a_pod_has_time_to_drain(config: Config) -> None:
    grace_s = manifest("Deployment")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert grace_s > config.server.drain_delay + config.server.drain


def test_the_autoscaler_goes_by_a_metric_that_the_gateway_exports() -> None:
    names = set(ALL)
    for metric in manifest("HorizontalPodAutoscaler")["spec"]["metrics"]:
        if metric["type"] == "Pods":
            assert metric["pods"]["metric"]["name"] in names


def test_the_service_monitor_scrapes_the_admin_service() -> None:
    spec = manifest("ServiceMonitor")["spec"]
    service = manifest("Service", "llm-gateway-admin")
    assert spec["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    [endpoint] = spec["endpoints"]
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    secret = container()["envFrom"][0]["secretRef"]["name"]
    assert endpoint["authorization"]["credentials"] == {"name": secret, "key": "ADMIN_TOKEN"}
    # The alert GatewayDown names the job.
    assert service["metadata"]["labels"][spec["jobLabel"]] == "llm-gateway"


def test_the_mounted_file_is_the_one_the_image_serves() -> None:
    dockerfile = (FOLDER.parents[0] / "Dockerfile").read_text()
    [mount] = (one for one in container()["volumeMounts"] if one["name"] == "config")
    assert f'"{mount["mountPath"]}/config.yaml"' in dockerfile
