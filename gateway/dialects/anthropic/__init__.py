"""Anthropic API: https://docs.anthropic.com/en/api."""
