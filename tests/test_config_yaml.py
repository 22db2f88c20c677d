"""The `config.yaml` that ships: what it serves, and the examples in its comments."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
import yaml
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.app import Runtime
from gateway.config import load, load_text
from gateway.process_state import ProcessState
from gateway.telemetry.logs.logger import make_logger

SHIPPED = Path(__file__).parents[1] / "config.yaml"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the files, and an environment with the keys, that the examples name."""
    for name in ("OPENAI_API_KEY", "AZURE_OPENAI_API_KEY", "ANTHROPIC_API_KEY", "ADMIN_TOKEN"):
        monkeypatch.setenv(name, "sk-made-up")
    for name in ("GATEWAY_PORT", "ADMIN_PORT", "DEMO_PORT"):
        monkeypatch.delenv(name, raising=False)
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "internal-ca.pem"))
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "corp.pem").write_bytes(pem)
    (tmp_path / "acme").mkdir()
    (tmp_path / "acme" / "gateway.py").write_text(_first_class_in("plugins.md"))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    # Other tests have an acme of their own.
    for name in ("acme", "acme.gateway"):
        sys.modules.pop(name, None)


def test_it_says_what_the_documentation_says_of_it(folder: Path) -> None:
    config = load_text(SHIPPED.read_text(), base=folder)
    assert config.server.listen == "127.0.0.1:8080"
    assert config.demo is not None
    assert config.demo.listen == "127.0.0.1:8081"
    assert (folder / ".gateway/demo-secret").stat().st_mode & 0o777 == 0o600


def test_its_ports_can_be_changed_from_outside(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_PORT", "9000")
    monkeypatch.setenv("DEMO_PORT", "9001")
    config = load_text(SHIPPED.read_text(), base=folder)
    assert config.server.listen == "127.0.0.1:9000"
    assert config.upstreams["demo"].endpoints[0].url == "http://127.0.0.1:9001"


def test_its_settings_are_the_defaults_where_it_says_so(folder: Path) -> None:
    document = yaml.safe_load(SHIPPED.read_text())
    shown = load_text(SHIPPED.read_text(), base=folder)
    del document["server"]
    del document["telemetry"]
    silent = load_text(yaml.safe_dump(document), base=folder)
    changed = {"listen", "trusted_proxies"}
    assert shown.server.model_dump(exclude=changed) == silent.server.model_dump(exclude=changed)
    assert shown.telemetry.log == silent.telemetry.log
    assert shown.telemetry.traces is not None
    assert silent.telemetry.traces is not None
    changed = {"sample"}
    assert shown.telemetry.traces.model_dump(exclude=changed) == (
        silent.telemetry.traces.model_dump(exclude=changed)
    )


def test_every_example_in_its_comments_is_valid(folder: Path) -> None:
    text = _uncommented(SHIPPED.read_text())
    file = folder / "config.yaml"
    file.write_text(text)
    config = load(file)
    logger = make_logger(lambda _: None, level="info", console=False)
    Runtime(config, ProcessState.begin(config, logger)).build_routes()
    assert set(config.auth) == {"corp", "demo", "keys", "door"}
    assert {"vllm", "llama-cpp", "ollama", "openai", "azure", "anthropic", "whisper"} < set(
        config.upstreams
    )
    assert {"azure", "status", "stamped"} < {route.name for route in config.routes}


def _uncommented(text: str) -> str:
    """The text with each block of comments below a `#>` taken as YAML."""
    lines, inside = [], False
    for line in text.splitlines():
        stripped = line.lstrip()
        if stripped.startswith("#>"):
            inside = True
        elif not stripped.startswith("#"):
            inside = False
        elif inside:
            line = line.replace("# ", "", 1)
        lines.append(line)
    return "\n".join(lines) + "\n"


def _first_class_in(page: str) -> str:
    text = (SHIPPED.parent / "docs" / page).read_text()
    blocks: list[str] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    return next(block for block in blocks if "class " in block)


def test_every_dialect_reaches_every_dialect(folder: Path) -> None:
    config = load_text(SHIPPED.read_text(), base=folder)
    backends = {"llama-3", "demo-claude", "demo-ollama"}
    used = [one.upstream for name in backends for one in config.models[name].served_by]
    assert {config.upstreams[name].dialect for name in used} == {
        "openai",
        "anthropic",
        "ollama",
    }
    routes = {route.dialect: set(route.models) for route in config.routes if route.dialect}
    assert set(routes) == {"openai", "anthropic", "ollama"}
    assert all(backends <= models for models in routes.values())
