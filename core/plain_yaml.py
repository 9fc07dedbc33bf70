"""YAML read as plain values: mappings with strings as keys, lists, strings, finite numbers, booleans and null.

What YAML has beyond that is refused with the line: dates, binary data, sets, objects, keys that are not strings,
duplicate keys. Anchors and merge keys work, within limits: a small file must not grow into a large value.
"""

from __future__ import annotations

import math
from typing import Any

import yaml

from nichenas.core.errors import shortened

MAX_SIZE = 100_000  # characters and values of a document, aliases expanded
MAX_DEPTH = 40

_TAG = "tag:yaml.org,2002:"
_MERGE = f"{_TAG}merge"


class YamlError(ValueError):
    """Text that cannot be read.

    Attributes:
        message: what is wrong, without the line.
        line: where, counted from 1; none where that is not known.
    """

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(f"line {line}: {message}" if line else message)
        self.message = message
        self.line = line


def parse_yaml(text: str) -> Any:
    """Returns the value of a YAML document; nothing in it is executed.

    Raises:
        YamlError: when it is not valid YAML, holds something else than plain values, or too much.
    """
    if len(text) > MAX_SIZE:
        raise YamlError(f"{len(text):,} characters; at most {MAX_SIZE:,} are read")
    try:
        value = yaml.load(text, _Loader)  # noqa: S506  (a SafeLoader)
    except _Refused as error:
        raise YamlError(str(error.problem), _line(error)) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise YamlError(f"not valid YAML ({error.reason})", line) from None
    except yaml.MarkedYAMLError as error:
        reason = str(error.problem)
        if reason.startswith("but "):
            reason = f"{error.context} {reason}"
        raise YamlError(f"not valid YAML ({' '.join(reason.split())})", _line(error)) from None
    except RecursionError:  # a long chain of merge keys
        raise YamlError("merged too often") from None
    _check_size(value)
    return value


def _line(error: yaml.MarkedYAMLError) -> int | None:
    return error.problem_mark.line + 1 if error.problem_mark else None


def _check_size(value: Any) -> None:
    """Refuses a value that is large or deep once its aliases are expanded, or holds itself."""
    size, present = 0, [(value, 0)]
    while present:
        held, depth = present.pop()
        size += 1 + (len(held) if isinstance(held, str) else 0)
        if size > MAX_SIZE:
            raise YamlError(f"more than {MAX_SIZE:,} characters and values, aliases expanded")
        if depth > MAX_DEPTH:
            raise YamlError(f"nested deeper than {MAX_DEPTH} levels")
        if isinstance(held, dict):
            present += [(inner, depth + 1) for pair in held.items() for inner in pair]
        elif isinstance(held, list):
            present += [(inner, depth + 1) for inner in held]


class _Refused(yaml.constructor.ConstructorError):
    """Valid YAML that is not a plain value."""

    def __init__(self, problem: str, node: yaml.Node | None) -> None:
        super().__init__(problem=problem, problem_mark=node.start_mark if node else None)


class _Loader(yaml.SafeLoader):
    """Safe YAML, restricted to plain values."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self._depth += 1
        if self._depth > MAX_DEPTH + 1:  # the composer calls itself, and Python limits that
            raise _Refused(f"nested deeper than {MAX_DEPTH} levels", parent)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _Refused(f"a {key.id} as key; keys are strings", key)
            if key.tag not in (_MERGE, f"{_TAG}str"):
                raise _Refused(f"the key '{shortened(key.value)}' is not a string; put it in quotes", key)
            if key.value in seen:
                raise _Refused(f"duplicate key '{shortened(key.value)}'", key)
            seen.add(key.value)
        return node

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Replaces merge keys by what they merge: own keys first, then those of earlier mappings.

        PyYAML's own gives other values in some versions, and lets keys multiply.
        """
        sources = [value for key, value in node.value if key.tag == _MERGE]
        node.value = [pair for pair in node.value if pair[0].tag != _MERGE]
        known, merged = {key.value for key, _ in node.value}, []
        for source in [inner for s in sources for inner in (s.value if isinstance(s, yaml.SequenceNode) else [s])]:
            if not isinstance(source, yaml.MappingNode):
                raise _Refused(f"'<<' merges mappings, not a {source.id}", source)
            self.flatten_mapping(source)
            for key, value in source.value:
                if key.value not in known:
                    known.add(key.value)
                    merged.append((key, value))
        node.value = merged + node.value

    def number(self, node: yaml.ScalarNode) -> int | float:
        """Returns a finite number that a signed 64-bit integer or a double can hold."""
        shown = shortened(node.value)
        try:
            value: int | float = (
                self.construct_yaml_int(node) if node.tag == f"{_TAG}int" else self.construct_yaml_float(node)
            )
        except (ValueError, IndexError, OverflowError):
            raise _Refused(f"'{shown}' is not a number", node) from None
        if isinstance(value, float) and not math.isfinite(value):
            raise _Refused(f"'{shown}' is not a finite number", node)
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise _Refused(f"'{shown}' has more than 64 bits", node)
        return value

    def text(self, node: yaml.ScalarNode) -> str:
        """Returns a string without halves of characters, which no file can hold."""
        value = str(self.construct_yaml_str(node))  # type: ignore[no-untyped-call]
        try:
            value.encode()
        except UnicodeEncodeError:
            raise _Refused("a string has characters that are not valid Unicode", node) from None
        return value

    def truth(self, node: yaml.ScalarNode) -> bool:
        """Returns a boolean."""
        try:
            return bool(self.construct_yaml_bool(node))  # type: ignore[no-untyped-call]
        except KeyError:
            raise _Refused(f"'{shortened(node.value)}' is not a boolean", node) from None

    def refuse(self, node: yaml.Node) -> None:
        """Refuses what is not a plain value."""
        kind = node.tag.removeprefix(_TAG)
        advice = "; put it in quotes" if kind == "timestamp" else ""
        raise _Refused(f"a value of type '{shortened(kind)}' is not allowed{advice}", node)


_Loader.add_constructor(f"{_TAG}int", _Loader.number)
_Loader.add_constructor(f"{_TAG}float", _Loader.number)
_Loader.add_constructor(f"{_TAG}str", _Loader.text)
_Loader.add_constructor(f"{_TAG}bool", _Loader.truth)
for kind in ("timestamp", "binary", "set", "omap", "pairs"):
    _Loader.add_constructor(f"{_TAG}{kind}", _Loader.refuse)
_Loader.add_constructor(None, _Loader.refuse)
