"""A reverse-proxy gateway in front of LLM APIs. Only the version lives here."""

__version__ = "0.1.0"
