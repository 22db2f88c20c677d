"""`gateway serve`: serve a configuration until SIGTERM."""

from __future__ import annotations

import argparse
import json
import sys

from gateway.cli.config_file import add_config_file, config_file
from gateway.cli.token import mint, signing_provider
from gateway.config import Config, load_source
from gateway.config import models as config_models
from gateway.processes.master import Master


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments of `gateway serve`."""
    parser.description = (
        "SIGTERM or SIGINT drains, a second one ends at once; SIGHUP reloads; SIGUSR2 "
        "starts the program anew on the same sockets."
    )
    add_config_file(parser)
    parser.set_defaults(run=_serve)


def _serve(arguments: argparse.Namespace) -> int:
    loaded = load_source(config_file(arguments))
    master = Master(loaded, [sys.executable, "-m", "gateway", *sys.argv[1:]])
    master.on_ready = lambda *urls: _welcome(loaded.config, *urls)
    return master.run()


def _command() -> str:
    """Return the command that started this program, for use in messages."""
    name = sys.argv[0]
    return "python -m gateway" if name.endswith("__main__.py") else name


def _welcome(config: Config, url: str, admin: str | None, demo: str | None) -> None:
    """Print all URLs and a sample request, if there is a demo backend."""
    name = signing_provider(config)
    provider = config.auth.get(name or "")
    if demo is None or not isinstance(provider, config_models.JwtProviderSettings):
        return
    token = mint(provider, 3600, subject="demo", tenant="demo")
    body = json.dumps(
        {
            "model": next(iter(config.models), "demo"),
            "stream": True,
            "messages": [{"role": "user", "content": "Hello"}],
        }
    )
    pages = "" if admin is None else f"  dashboard     {admin}\n"
    play = "" if admin is None else f"Or in a browser:  {admin}/play#token={token}\n\n"
    print(
        f"""
  gateway       {url}      set your SDK's base_url to {url}/v1
{pages}  demo backend  {demo}
  more tokens   {_command()} token      (this one is good for an hour)

Try it:

  curl -N {url}/v1/chat/completions \\
    -H 'Authorization: Bearer {token}' \\
    -H 'Content-Type: application/json' \\
    -d '{body}'

{play}Watch it fail: add  -H 'x-demo-fault: reset@5'  (or stall, hang, error, …: see config.yaml).
""",
        file=sys.stderr,
        flush=True,
    )
