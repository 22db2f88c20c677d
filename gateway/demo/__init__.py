"""Demo backend for experiments: imitates OpenAI, Anthropic and Ollama, and fails on request.

It does not depend on the proxy; the gateway starts it next to itself if `demo` is configured.
"""

from __future__ import annotations

from gateway.demo.backend import DemoBackend, build

__all__ = ["DemoBackend", "build"]
