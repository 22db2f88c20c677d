"""How commands fail, but for a bad configuration: by a wrong command line, or by the world."""

from __future__ import annotations


class WrongUsage(Exception):
    """The command line asks for something that cannot be; the text says what to write."""


class CannotDo(Exception):
    """What was asked for cannot be done now: the store, the gateway or a backend does not do its
    part. The text says why.
    """
