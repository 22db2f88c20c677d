"""Reverse-proxy gateway in front of LLM APIs. Only the version is defined here."""

__version__ = "0.1.0"
