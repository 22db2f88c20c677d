"""Parser from YAML to nodes: libyaml where it reads a text as PyYAML's parser in Python does."""

from __future__ import annotations

import re
from contextlib import suppress

import yaml
from yaml.composer import Composer
from yaml.resolver import Resolver

if yaml.__with_libyaml__:
    from yaml._yaml import CParser

_READ_DIFFERENTLY = re.compile(r"[\t\ufeff?!]|[|>][^ \n]*#")
"""Tabs, byte order marks, complex keys, tags and comments right after `|` or `>`: libyaml accepts
some that the parser in Python refuses.
"""


def compose(text: str) -> yaml.Node | None:
    """Return the root node of a text; None if it is empty. Raise yaml.YAMLError, or RecursionError
    if it is nested too deeply.

    libyaml takes a tenth of the time. What it refuses is parsed again in Python, whose errors say
    more.
    """
    if yaml.__with_libyaml__ and not _READ_DIFFERENTLY.search(text):
        with suppress(yaml.YAMLError, UnicodeEncodeError):
            return _LibyamlComposer(text).get_single_node()
    return yaml.compose(text, Loader=yaml.SafeLoader)


class _LibyamlComposer(Composer, Resolver):
    """Composer in Python from the events of libyaml. PyYAML's composer in C would end the process
    at a deep nesting.
    """

    def __init__(self, text: str) -> None:
        Composer.__init__(self)
        Resolver.__init__(self)
        parser = CParser(text)
        self.check_event = parser.check_event
        self.peek_event = parser.peek_event
        self.get_event = parser.get_event
