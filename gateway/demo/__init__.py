"""A backend to try things on: it plays OpenAI, Anthropic and Ollama, and fails when asked to.

It knows nothing of the gateway; the gateway runs it beside itself when `demo` is configured.
"""

from __future__ import annotations

from gateway.demo.backend import DemoBackend, build

__all__ = ["DemoBackend", "build"]
