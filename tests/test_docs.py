"""The documentation: every YAML block is a valid part of a configuration, every link leads on."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
import yaml
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from benchmarks.__main__ import BENCHMARKS
from gateway.admin.openapi import description
from gateway.cli import main
from gateway.cli.main import command_parser
from gateway.config import load_text
from gateway.demo import DemoBackend
from tests.support.commands import called
from tests.support.gateway import StartGateway

ROOT = Path(__file__).parents[1]
DECISIONS = sorted(ROOT.glob("docs/decisions/[0-9]*.md"))
PAGES = sorted({*ROOT.glob("docs/**/*.md"), *ROOT.glob("*/README.md"), *ROOT.glob("[A-Z]*.md")})
LEADING = [*(ROOT / name for name in ("CONTRIBUTING.md", "SECURITY.md")), *DECISIONS]
LEADING.append(ROOT / "docs/architecture.md")
"""Pages that lead a maintainer to files."""
AROUND: dict[str, Any] = {
    "auth": {
        "corp": {"type": "jwt", "issuer": "https://sso.test", "audience": "a", "jwks": "auto"},
        "keys": {"type": "api_key", "file": "keys.yaml"},
    },
    "store": {"url": "redis://127.0.0.1/0"},
    "upstreams": {"vllm": {"endpoints": [{"url": "http://10.0.0.5:8000"}]}},
    "models": {"llama-3": {"upstream": "vllm"}},
    "routes": [{"name": "r", "path": "/v1/", "auth": ["corp"], "models": ["llama-3"]}],
}
BLOCKS = [
    pytest.param(block, id=f"{page.name}-{number}")
    for page in PAGES
    for number, block in enumerate(re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL))
]


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_of_yaml_is_valid_where_it_would_stand(
    block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JWT_SECRET", "s" * 32)
    monkeypatch.setenv("ADMIN_TOKEN", "t" * 32)
    monkeypatch.setenv("OIDC_CLIENT_SECRET", "s" * 32)
    monkeypatch.setenv("PLAYGROUND_PASSWORD", "p" * 32)
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1/0")
    monkeypatch.setenv("SLACK_WEBHOOK_URL", "https://hooks.slack.com/services/T/B/x")
    monkeypatch.setenv("ALERT_SECRET", "a" * 32)
    monkeypatch.setenv("PROMPT_AUDIT_KEY", "0f" * 32)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a" * 20)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s" * 40)
    for backend in ("TEAM_A", "TEAM_B", "OPENAI", "ANTHROPIC", "VLLM"):
        monkeypatch.setenv(f"{backend}_API_KEY", "k" * 32)
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "ci.pem").write_bytes(pem)
    _write_certificates(tmp_path / "tls")
    document = {
        name: dict(part) if isinstance(part, dict) else part for name, part in AROUND.items()
    }
    for name, part in yaml.safe_load(block).items():
        old = document.get(name)
        document[name] = {**old, **part} if isinstance(old, dict) else part
    load_text(yaml.safe_dump(document), base=tmp_path)


def _write_certificates(folder: Path) -> None:
    """Write the files that pages about TLS name."""
    folder.mkdir()
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "mesh-ca.pem"))
    own = authority.issue_cert("llm.example.com")
    own.cert_chain_pems[0].write_to_path(str(folder / "server.pem"))
    own.private_key_pem.write_to_path(str(folder / "server.key"))


def _commands(text: str) -> list[str]:
    """Return the arguments of each `gateway` command in the shell blocks of a page."""
    found = []
    for block in re.findall(r"```(?:sh|console)\n(.*?)```", text, re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            code = re.sub(r"(?:^|\s)#.*", "", line)
            found += re.findall(r"(?:^|^\$ |&& |\(|/)gateway ([a-z]+(?: [^&|;()]*)?)", code)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_command_line_takes_the_commands_of_a_page(page: Path) -> None:
    for command in _commands(page.read_text()):
        command_parser().parse_args(shlex.split(command))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_make_has_the_targets_of_a_page(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for block in re.findall(r"```(?:sh|console)\n(.*?)```", page.read_text(), re.DOTALL):
        for target in re.findall(r"^(?:\$ )?make ([a-z-]+)", block, re.MULTILINE):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


async def test_the_steps_of_getting_started_end_in_an_answer(
    start_gateway: StartGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    steps = _commands((ROOT / "docs/getting-started.md").read_text())
    assert [step.split()[0] for step in steps] == ["init", "check", "doctor", "keys", "serve"]
    backend = DemoBackend(pace_s=0.0)
    await backend.start()
    try:
        said = {}
        for step in steps[:-1]:
            command = shlex.split(step.replace("http://10.0.0.5:8000", backend.url))
            said[command[0]] = await called(*command)
        # `doctor` may find other gateways of this machine at the addresses of the file.
        assert {name: one.code for name, one in said.items() if name != "doctor"} == {
            "init": 0,
            "check": 0,
            "keys": 0,
        }
        assert f"{backend.url}: demo backend, " in said["doctor"].out
        document = yaml.safe_load((tmp_path / "my.yaml").read_text())
        document["auth"]["keys"]["file"] = str(tmp_path / "keys.yaml")
        gateway = await start_gateway({**document, "server": {}})
        async with httpx.AsyncClient(base_url=gateway.url, trust_env=False) as http:
            http.headers["Authorization"] = f"Bearer {said['keys'].out.split()[-1]}"
            chat = {"model": "demo", "messages": [{"role": "user", "content": "Hello"}]}
            answer = await http.post("/v1/chat/completions", json=chat)
        assert answer.json()["choices"][0]["message"]["content"]
    finally:
        await backend.stop()


def test_the_conversion_of_litellm_writes_what_its_page_shows(tmp_path: Path) -> None:
    page = (ROOT / "docs/migrating-from-litellm.md").read_text()
    (before,) = re.findall(r"```yml\n(.*?)```", page, re.DOTALL)
    (after,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "litellm.yaml").write_text(before)
    written = tmp_path / "gateway.yaml"
    assert main(["init", "--from", str(tmp_path / "litellm.yaml"), "--output", str(written)]) == 0
    assert yaml.safe_load(written.read_text()) == yaml.safe_load(after)


def test_the_admin_api_has_the_paths_of_the_documentation() -> None:
    paths = {re.sub(r"\{.*?\}", "*", path) for path in description()["paths"]}
    # Ollama's API, and base paths of backends.
    foreign = {"/api/tags", "/api/ps", "/api/version", "/api/show", "/api/chat", "/api/embed"}
    named = {
        re.sub(r"\b[A-Z]+\b", "*", path)
        for page in PAGES
        for path in re.findall(r"`(?:[A-Z]+ )?(/api/[\w./]*\w)[?`]", page.read_text())
    }
    assert len(named) > 15
    assert {path for path in named - foreign if "/paas/" not in path} <= paths
    bare = re.compile(
        r"`(?:GET|POST|PUT|DELETE) /(?:requests|upstreams|limits|logs|traces|usage)\b"
    )
    assert not [page.name for page in PAGES if bare.search(page.read_text())]


def test_every_note_of_the_comparison_has_its_source() -> None:
    tables, _, sources = (ROOT / "docs/comparison.md").read_text().partition("## Sources")
    noted = set(re.findall(r"\((\d+)\)", tables))
    assert noted == set(re.findall(r"^\| \((\d+)\) \|", sources, re.MULTILINE))


def test_there_are_blocks_to_look_at() -> None:
    assert len(BLOCKS) > 8
    assert sum(len(_commands(page.read_text())) for page in PAGES) > 10


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if target.startswith(("http:", "https:")):
            continue
        name, _, heading = target.partition("#")
        file = (page.parent / name) if name else page
        assert file.exists(), target
        if heading:
            headings = re.findall(r"^#+ (.+)$", file.read_text(), re.MULTILINE)
            slugs = [
                re.sub(r"[^a-z0-9_ -]", "", text.lower()).replace(" ", "-") for text in headings
            ]
            assert heading in slugs, target


def test_the_index_and_the_site_list_every_page_once() -> None:
    index = (ROOT / "README.md").read_text().partition("\n## Documentation\n")[2]
    navigation = (ROOT / "docs/site/mkdocs.yml").read_text().partition("\nnav:\n")[2]
    pages = sorted(page.name for page in ROOT.glob("docs/*.md"))
    assert sorted(re.findall(r"\]\(docs/([\w-]+\.md)\)", index)) == pages
    assert sorted(re.findall(r": docs/([\w-]+\.md)$", navigation, re.MULTILINE)) == pages


def test_the_readme_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    listed = re.findall(r"^\| `gateway (\w+)", (ROOT / "README.md").read_text(), re.MULTILINE)
    with pytest.raises(SystemExit):
        main(["--help"])
    commands = re.findall(r"^    (\w+)(?:  |$)", capsys.readouterr().out, re.MULTILINE)
    assert sorted(listed) == sorted(commands)


def test_every_field_of_the_access_line_is_described() -> None:
    source = (ROOT / "gateway/middleware/access_log.py").read_text()
    fields = set(re.findall(r'"(\w+)":', source))
    described = set(re.findall(r"`(\w+)`", (ROOT / "docs/logs.md").read_text()))
    assert len(fields) > 20
    assert fields <= described


def test_the_metrics_and_codes_of_troubleshooting_exist() -> None:
    page = (ROOT / "docs/troubleshooting.md").read_text()
    reference = (ROOT / "docs/metrics-reference.md").read_text()
    metrics = set(re.findall(r"`(gateway_\w+)`", page))
    assert len(metrics) > 10
    assert all(f"`{name}`" in reference for name in metrics)
    errors = (ROOT / "docs/errors-reference.md").read_text()
    codes = set(re.findall(r"`(\w+_\w+)`", page[page.index("## 502") : page.index("## The first")]))
    assert all(f"`{code}`" in errors or f"`{code}`" in reference for code in codes)


@pytest.mark.parametrize("page", LEADING, ids=lambda page: page.name)
def test_the_files_that_a_maintainer_is_led_to_exist(page: Path) -> None:
    folders = "gateway|tests|docs|benchmarks|deploy|examples|nginx"
    named = set(re.findall(rf"`((?:{folders})/[\w./-]*)`", page.read_text()))
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


def test_contributing_and_architecture_name_files() -> None:
    for name in ("CONTRIBUTING.md", "docs/architecture.md"):
        assert len(re.findall(r"`gateway/[\w./]+\.py`", (ROOT / name).read_text())) > 40


def test_every_decision_is_one_step_from_the_index() -> None:
    index = (ROOT / "docs/decisions/README.md").read_text()
    linked = re.findall(r"^\| \[(\d{4})\]\((\1-[\w-]+\.md)\)", index, re.MULTILINE)
    assert [name for _, name in linked] == [page.name for page in DECISIONS]
    assert "(docs/decisions/README.md)" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("page", DECISIONS, ids=lambda page: page.name)
def test_a_decision_has_its_parts_and_its_number(page: Path) -> None:
    text = page.read_text()
    assert text.startswith(f"# {page.name[:4]}: ")
    parts = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert parts == ["Context", "Decision", "Consequences", "Figure"]


def test_every_benchmark_is_described() -> None:
    page = (ROOT / "benchmarks/README.md").read_text()
    described = set(re.findall(r"-m benchmarks (\w+) ", page))
    assert set(BENCHMARKS) == described


def test_what_is_said_of_names_in_spans_and_metrics_is_so() -> None:
    page = (ROOT / "docs/logs.md").read_text()
    spans = "".join(
        (ROOT / "gateway/telemetry" / name).read_text()
        for name in ("traces/spans.py", "semconv.py")
    )
    metrics = (ROOT / "docs/metrics-reference.md").read_text()
    table = page[page.index("The same facts in traces and metrics") : page.index("## Secrets")]
    attributes = set(re.findall(r"`([a-z_]+\.[a-z_.]+)`", table))
    assert {"gateway.end", "enduser.id"} < attributes
    assert all(f'"{name}"' in spans for name in attributes)
    families = set(re.findall(r"`((?:gateway|gen_ai)_\w+)`", table))
    assert len(families) > 3
    assert all(f"`{name}`" in metrics for name in families)
