"""The section `store`: its URL may be a secret."""

from __future__ import annotations

from pathlib import Path

from gateway.config.models import StoreSettings
from gateway.config.secrets import Secret


def test_a_secret_url_of_memory_is_one_of_memory(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("memory://")
    secret = Secret.model_validate({"file": "url"}, context={"base": tmp_path})
    assert not StoreSettings(url=secret).location.is_shared
