"""A YAML file as plain data that remember their lines, so that a mistake is told where it stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from services.common.errors import SettingsInvalid

__all__ = ["Document", "Mistakes", "Place", "read_document"]

Place = tuple[str | int, ...]
"""Keys and positions from the top of the file to a value."""

MOST_VALUES: Final = 100_000
"""Values with what aliases repeat: a file that unfolds into more is refused before it fills the memory."""
_NULL: Final = "tag:yaml.org,2002:null"


@dataclass
class Document:
    """A file that was read. Scalars are text as it stands in the file: 0.05 is not a float and a date not a date.

    Attributes:
        data: mappings, lists, text and None.
        lines: of each key or item, counted from 1.
    """

    path: Path
    data: Any = None
    lines: dict[Place, int] = field(default_factory=dict)

    def line_of(self, place: Sequence[str | int]) -> int:
        """Return the line of a place, or of the nearest one around it."""
        for length in range(len(place), -1, -1):
            line = self.lines.get(tuple(place[:length]))
            if line is not None:
                return line
        return 1


class Mistakes:
    """What is wrong with a file, told all at once in the order of its lines."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._found: dict[tuple[int, str], None] = {}

    def add(self, place: Sequence[str | int], text: str) -> None:
        """Take note of a mistake at a place; the same is told once."""
        self._found[self._document.line_of(place), text] = None

    def tell(self) -> None:
        """Do nothing if there are none.

        Raises:
            SettingsInvalid: every mistake, one a line, with file and line.
        """
        if self._found:
            raise SettingsInvalid(
                "\n".join(f"{self._document.path}:{line}: {text}" for line, text in sorted(self._found))
            )


def read_document(path: Path) -> Document:
    """Read a YAML file: nothing but mappings, lists and scalars is made of it.

    Raises:
        SettingsInvalid: it cannot be read, is not YAML, or names a key twice.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise SettingsInvalid(
            f"{path}: cannot be read ({reason}); there is an example in backoffice/scenarios/example.yaml"
        ) from error
    document = Document(path)
    try:
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            if node is not None:
                document.data = _Reading(document, loader).value(node, ())
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = 1 if mark is None else mark.line + 1
        raise SettingsInvalid(f"{path}:{line}: this is not YAML: {error.problem}; mind indents and colons") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise SettingsInvalid(f"{path}: this is not YAML: {error}") from error
    return document


class _Reading:
    def __init__(self, document: Document, loader: yaml.SafeLoader) -> None:
        self._document, self._loader = document, loader
        self._count = 0
        self._within: list[yaml.Node] = []
        self._checked: set[int] = set()

    def value(self, node: yaml.Node, place: Place) -> Any:
        """Return a node as plain data and write its lines down."""
        self._document.lines.setdefault(place, node.start_mark.line + 1)
        self._count += 1
        if self._count > MOST_VALUES:
            raise SettingsInvalid(f"{self._document.path}: over {MOST_VALUES:,} values; write fewer, or fewer aliases")
        if any(outer is node for outer in self._within):
            raise SettingsInvalid(f"{self._document.path}:{node.start_mark.line + 1}: an alias that contains itself")
        if isinstance(node, yaml.ScalarNode):
            return None if node.tag == _NULL else node.value
        self._within.append(node)
        made: Any
        if isinstance(node, yaml.SequenceNode):
            made = [self.value(item, (*place, number)) for number, item in enumerate(node.value)]
        else:
            assert isinstance(node, yaml.MappingNode)
            made = self._mapping(node, place)
        self._within.pop()
        return made

    def _mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, Any]:
        if id(node) not in self._checked:  # afterwards it also has what it merges
            self._checked.add(id(node))
            self._check_doubled(node)
        self._loader.flatten_mapping(node)  # `<<: *other`
        made: dict[str, Any] = {}
        for key, item in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise SettingsInvalid(
                    f"{self._document.path}:{key.start_mark.line + 1}: a name is meant before the colon"
                )
            inner = (*place, key.value)
            self._document.lines[inner] = key.start_mark.line + 1
            made[key.value] = self.value(item, inner)
        return made

    def _check_doubled(self, node: yaml.MappingNode) -> None:
        seen: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            line = key.start_mark.line + 1
            if key.value in seen:
                raise SettingsInvalid(
                    f"{self._document.path}:{line}: {key.value} stands in line {seen[key.value]} already; "
                    "name it once, or give it another name"
                )
            seen[key.value] = line
