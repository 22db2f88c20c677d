"""The folder that the processes of a gateway share: where it is, and what stands in for it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from gateway.processes.folder import private_folder
from gateway.server.cannot_start import CannotStart
from tests.support.client import ask, request
from tests.support.gateway import StartGatewayProcess, simple_config
from tests.support.upstream import ScriptedUpstream, json_reply


@pytest.mark.parametrize("fault", ["too long", "not there"])
async def test_a_temporary_folder_that_cannot_be_used_is_replaced_and_named(
    start_gateway_process: StartGatewayProcess,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
) -> None:
    folder = tmp_path / ("x" * 100)
    if fault == "too long":
        folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    async with ScriptedUpstream(json_reply({"ok": True})) as upstream:
        gateway = await start_gateway_process(simple_config(upstream.url, server={"workers": 2}))
        assert (await ask(gateway.port, request())).json() == {"ok": True}
        line = await gateway.log.wait_for(lambda line: line["event"] == "folder")
    assert str(folder) in line["reason"]
    assert line["reason"].endswith("is used instead")
    assert not folder.exists() or not any(folder.iterdir())


def test_without_any_folder_the_reasons_and_the_remedy_are_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def read_only(*_: object, dir: str, **__: object) -> None:
        raise OSError(30, "Read-only file system", dir)

    monkeypatch.setattr(tempfile, "TemporaryDirectory", read_only)
    monkeypatch.setenv("TMPDIR", "/mine")
    with pytest.raises(CannotStart) as caught:
        private_folder(lambda _: None)
    text = str(caught.value)
    assert "/mine: Read-only file system" in text
    assert "/dev/shm: Read-only file system" in text
    assert text.endswith("Set TMPDIR to a short path where files can be written.")


def test_a_folder_on_a_full_disk_is_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Folders can be made there, files cannot."""
    disk = tmp_path_factory.mktemp("disk")  # shorter than `tmp_path`: sockets fit in
    monkeypatch.setenv("TMPDIR", str(disk))
    write = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if disk in path.parents:
            raise OSError(28, "No space left on device", str(path))
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    said: list[str] = []
    with private_folder(said.append) as folder:
        assert not folder.startswith(str(disk))
    assert f"{disk}: No space left on device" in said[0]
    assert os.listdir(disk) == []
