"""Secret provider for HashiCorp Vault and OpenBao: the KV engine, version 2.

A secret is named by its path and a field: `openai#api_key`. The token is read from a file at each
request, since Vault's agent renews it there.
"""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class VaultSecrets:
    class Options(BaseModel):
        model_config = ConfigDict(extra="forbid")
        address: str = Field(pattern="^https?://", description="Such as https://vault:8200.")
        token_file: Path
        mount: str = "secret"
        timeout_s: float = Field(5.0, gt=0)

    def __init__(self, options: Options) -> None:
        self._options = options
        # Vault is inside the own network: no HTTPS_PROXY.
        self._http = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def read(self, name: str) -> str:
        """Return the present value of a field. Every exception becomes the reason in the log."""
        path, _, field = name.partition("#")
        options = self._options
        url = f"{options.address}/v1/{options.mount}/data/{urllib.parse.quote(path)}"
        token = options.token_file.read_text().strip()
        request = urllib.request.Request(url, headers={"X-Vault-Token": token})  # noqa: S310
        with self._http.open(request, timeout=options.timeout_s) as response:
            value: str = json.load(response)["data"]["data"][field or "value"]
        return value
