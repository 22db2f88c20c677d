"""YAML reader: plain values with the position of each, and expanded `${ENV}`."""

from __future__ import annotations

import os
import re
from typing import Any

import yaml

from gateway.config.problems import ConfigPath, Problem, whole_file
from gateway.config.yaml_nodes import compose
from gateway.config.yaml_words import in_plain_words

SIZE_CAP_BYTES = 1024 * 1024
"""Largest file of a configuration."""
_NODE_CAP = 100_000
_TEXT = ("tag:yaml.org,2002:str", "tag:yaml.org,2002:timestamp")
_VARIABLE = re.compile(
    r"\$\$\{|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}|(?P<bad>\$\{)"
)


class YamlReader:
    """Reader that turns YAML into plain values, and records the position of each."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._nodes = 0
        self._plain: Any = yaml.SafeLoader("")
        self.positions: dict[ConfigPath, tuple[int, int]] = {}
        self.problems: list[Problem] = []

    def read(self, text: str) -> Any:
        """Return the value of a text; None if it is empty or has problems."""
        if len(text) > SIZE_CAP_BYTES:
            self.problems.append(whole_file(self._name, "is larger than 1 MiB"))
            return None
        try:
            root = compose(text)
            return None if root is None else self._value(root, ())
        except yaml.MarkedYAMLError as exc:
            line, column, message = in_plain_words(exc, text)
            self.problems.append(Problem(self._name, line, column, (), message))
        except yaml.YAMLError as exc:
            self.problems.append(whole_file(self._name, f"not valid YAML: {exc}"))
        except RecursionError:
            self.problems.append(whole_file(self._name, "is nested too deeply"))
        return None

    def _value(self, node: yaml.Node, path: ConfigPath) -> Any:
        self._nodes += 1
        if self._nodes > _NODE_CAP:
            raise yaml.YAMLError("its aliases expand to too much")
        self.positions.setdefault(path, _position(node))
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return tuple(self._value(item, (*path, i)) for i, item in enumerate(node.value))
        return self._scalar(node, path)

    def _mapping(self, node: yaml.MappingNode, path: ConfigPath) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = key_node.value
            if not isinstance(key, str) or key_node.tag == "tag:yaml.org,2002:merge":
                self._add(key_node, path, "a key has to be plain text")
                continue
            here = (*path, key)
            if key in found:
                self._add(key_node, here, "is given twice")
            self.positions[here] = _position(key_node)
            found[key] = self._value(value_node, here)
        return found

    def _scalar(self, node: yaml.Node, path: ConfigPath) -> Any:
        text, tag = node.value, node.tag
        if "${" in text:
            text = self._expand(node, path)
            if isinstance(node, yaml.ScalarNode) and not node.style:
                # The scalar is not quoted, so its expanded text may be a number.
                tag = self._plain.resolve(yaml.ScalarNode, text, (True, False))
        if tag in _TEXT:
            return text
        try:
            return self._plain.construct_object(yaml.ScalarNode(tag, text), deep=True)
        except (yaml.YAMLError, ValueError, LookupError) as exc:
            self._add(node, path, f"cannot be read: {exc}")
            return None

    def _expand(self, node: yaml.Node, path: ConfigPath) -> str:
        def replace(match: re.Match[str]) -> str:
            if match["bad"]:
                self._add(node, path, "`${` needs NAME} or NAME:-default}; `$${` is a plain `${`")
            if match["name"] is None:
                return "${"
            value = os.environ.get(match["name"])
            # As in a shell, `:-` also replaces an empty value.
            if not value and match["default"] is not None:
                return match["default"]
            if value is None:
                self._add(
                    node,
                    path,
                    f"environment variable {match['name']} is not set",
                    f"write ${{{match['name']}:-default}} to do without",
                )
                return ""
            return value

        return _VARIABLE.sub(replace, node.value)

    def _add(
        self, node: yaml.Node, path: ConfigPath, message: str, hint: str | None = None
    ) -> None:
        self.problems.append(Problem(self._name, *_position(node), path, message, hint))


def _position(node: yaml.Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1
