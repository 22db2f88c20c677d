"""Errors of commands, except for an invalid configuration."""

from __future__ import annotations


class WrongUsage(Exception):
    """The command line asks for something impossible. The text says what to write instead."""


class CannotDo(Exception):
    """The command cannot be done now, because the store, the gateway or a backend fails. The text
    says why.
    """
