"""The wheel, installed away from the tree: it serves, and it has its pages."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import httpx
import pytest

import gateway
from gateway.demo import DemoBackend
from tests.support.gateway import config_text

ROOT = Path(__file__).parents[2]
ANY_PORT = {
    "server": {"listen": "127.0.0.1:0"},
    "admin": {"listen": "127.0.0.1:0"},
    "demo": None,
    "telemetry": {"log": {"format": "json"}, "traces": {"local": None}},
}
_PATIENCE_S = 30.0


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", folder],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    return folder


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel and what `requirements.lock` lists, lent by this
    environment. Nothing else can be imported there: neither the tests' packages, nor the tree.
    """
    folder = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    [packages] = folder.glob("lib/python*/site-packages")
    for name in re.findall(r"^([\w.-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE):
        _lend(name, packages)
    [wheel] = built.glob("*.whl")
    pip = [sys.executable, "-m", "pip", "--python", str(folder), "--disable-pip-version-check"]
    subprocess.run(
        [*pip, "install", "--quiet", "--no-deps", "--ignore-installed", str(wheel)], check=True
    )
    return folder


def _lend(name: str, packages: Path) -> None:
    """Link to the files of a distribution, if this machine needs it."""
    with contextlib.suppress(PackageNotFoundError):
        for file in distribution(name).files or ():
            top = file.parts[0]
            source = Path(str(distribution(name).locate_file(top)))
            if top != ".." and not top.startswith("__pycache__") and not (packages / top).exists():
                (packages / top).symlink_to(source)


def test_the_wheel_has_every_file_of_the_package(built: Path) -> None:
    [wheel] = built.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    files = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "gateway").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert files <= names
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/"))]


def test_the_sdist_builds_the_same_wheel(built: Path, tmp_path: Path) -> None:
    [sdist] = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
        archive.extractall(tmp_path, filter="data")
    assert {"pyproject.toml", "README.md", "LICENSE", "gateway/__init__.py"} <= names
    [source] = tmp_path.iterdir()
    build = [
        sys.executable,
        "-m",
        "hatchling",
        "build",
        "-t",
        "wheel",
        "-d",
        str(tmp_path / "dist"),
    ]
    subprocess.run(build, cwd=source, check=True, capture_output=True)
    [wheel] = built.glob("*.whl")
    [again] = (tmp_path / "dist").glob("*.whl")
    assert zipfile.ZipFile(again).namelist() == zipfile.ZipFile(wheel).namelist()


def test_an_installed_gateway_says_its_version(installed: Path) -> None:
    said = subprocess.run(
        [installed / "bin/gateway", "--version"], capture_output=True, text=True, cwd=installed
    )
    assert said.stdout == f"gateway {gateway.__version__}\n"


async def test_an_installed_gateway_serves_an_answer_and_its_pages(installed: Path) -> None:
    backend = DemoBackend(pace_s=0.0)
    await backend.start("127.0.0.1", 0)
    upstreams = {"demo": {"endpoints": [{"url": backend.url}]}}
    config = installed / "config.yaml"
    config.write_text(
        config_text((ROOT / "config.yaml").read_text(), {**ANY_PORT, "upstreams": upstreams})
    )
    program = installed / "bin/gateway"
    # Elsewhere than in the tree, whose `gateway` would be imported instead.
    serving = await asyncio.create_subprocess_exec(
        *(program, "serve", "--config", config), cwd=installed, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert serving.stdout is not None
        async with asyncio.timeout(_PATIENCE_S):
            while (line := json.loads(await serving.stdout.readline()))["event"] != "listening":
                pass
        token = subprocess.run(
            [program, "token", "--config", config], capture_output=True, text=True, check=True
        ).stdout.strip()
        async with httpx.AsyncClient(trust_env=False) as http:
            answer = await http.post(
                f"http://127.0.0.1:{line['port']}/v1/chat/completions",
                headers={"Authorization": f"Bearer {token}"},
                json={"model": "demo", "messages": [{"role": "user", "content": "Hello"}]},
            )
            page = await http.get(f"http://127.0.0.1:{line['admin_port']}/")
        assert answer.status_code == 200, answer.text
        assert answer.json()["choices"][0]["message"]["content"]
        assert page.status_code == 200
        assert "<title>" in page.text
    finally:
        serving.terminate()
        await serving.communicate()
        await backend.stop()
    assert serving.returncode == 0
