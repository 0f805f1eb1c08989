"""YAML and JSON of unknown origin: no aliases, bounded in size and in depth."""

import json
from pathlib import Path
from typing import Any

import yaml
from omegaconf._utils import get_yaml_loader

MAX_DEPTH = 50
MAX_BYTES = 2**24


class Unbounded(ValueError):
    """The text has aliases, or is too large or too deeply nested."""


class _Loader(get_yaml_loader()):  # type: ignore[misc]
    """OmegaConf's loader, which refuses aliases and deep nesting before it makes anything of them."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent):
            raise Unbounded(f"line {event.start_mark.line + 1} has the alias *{event.anchor}; write its value out")
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise Unbounded(f"line {event.start_mark.line + 1} is nested more than {MAX_DEPTH} levels deep")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def read_yaml(path: Path) -> Any:
    """The content of a YAML file, as OmegaConf reads it.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not UTF-8, has aliases, or is too large or too deeply nested (`Unbounded`).
        yaml.YAMLError: it is no YAML.
    """
    return yaml.load(_text(path), Loader=_Loader)


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no JSON, is not UTF-8, or is too large or too deeply nested (`Unbounded`).
    """
    text = _text(path)
    try:
        content = json.loads(text)
    except RecursionError:
        raise Unbounded(f"it is nested more than {MAX_DEPTH} levels deep") from None
    level, depth = [content], 0
    while level:
        level = [
            inner
            for each in level
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
        depth += 1
        if depth > MAX_DEPTH:
            raise Unbounded(f"it is nested more than {MAX_DEPTH} levels deep")
    return content


def _text(path: Path) -> str:
    if (size := path.stat().st_size) > MAX_BYTES:
        raise Unbounded(f"it has {size} bytes, more than {MAX_BYTES}")
    return path.read_text(encoding="utf-8")
