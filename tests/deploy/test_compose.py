"""deploy/compose: the services fit together, and their configuration is one the gateway accepts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from gateway.config import load_text
from tests.support.nginx import SHIPPED, Nginx
from tests.support.prometheus import DASHBOARDS

FOLDER = DASHBOARDS.parent / "deploy/compose"
COMPOSE: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())


def test_the_compose_file_mounts_files_that_exist() -> None:
    named = COMPOSE["volumes"].keys()
    for name, service in COMPOSE["services"].items():
        assert ("image" in service) != ("build" in service), name
        if "build" in service:
            context = FOLDER / service["build"]["context"]
            assert (context / service["build"]["dockerfile"]).exists()
        if "image" in service:
            assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+\.\d+", service["image"]), name
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert source in named or (FOLDER / source).exists(), f"{name}: {source}"
        assert set(service.get("depends_on", ())) <= COMPOSE["services"].keys()
        assert set(service.get("secrets", ())) <= COMPOSE["secrets"].keys()
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), f"{name}: {port} is open to everybody"


def test_the_gateways_have_a_valid_configuration_that_prometheus_scrapes(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("a-token-for-operators")
    text = (FOLDER / "gateway.yaml").read_text()
    config = load_text(text.replace("/run/secrets/admin_token", str(tmp_path / "token")))
    assert config.telemetry.metrics is not None
    assert config.admin is not None
    scraped = yaml.safe_load((DASHBOARDS / "prometheus/prometheus.yml").read_text())
    [replicas] = scraped["scrape_configs"][0]["dns_sd_configs"]
    assert set(replicas["names"]) <= COMPOSE["services"].keys()
    assert config.admin.listen.rpartition(":")[2] == str(replicas["port"])


def test_the_gateways_share_the_redis_of_the_compose_file() -> None:
    store = yaml.safe_load((FOLDER / "gateway.yaml").read_text())["store"]["url"]
    assert re.fullmatch(r"redis://(\w+):6379/0", store).group(1) in COMPOSE["services"]  # type: ignore[union-attr]


async def test_nginx_accepts_its_site_files(tmp_path: Path) -> None:
    site = FOLDER / "nginx-site"
    assert {file.name for file in site.iterdir()} == {
        file.name for file in (SHIPPED / "site").iterdir()
    }
    upstream = (site / "upstream.conf").read_text()
    # The name exists in the compose network only.
    own = {"upstream": upstream.replace("gateway:8080", "127.0.0.1:1")}
    own |= {name: (site / f"{name}.conf").read_text() for name in ("certificates",)}
    own["listen"] = (
        (site / "listen.conf").read_text().replace("listen 80", f"listen unix:{tmp_path}/s")
    )
    said = await Nginx(tmp_path, 1, site=own).test()
    assert "syntax is ok" in said
