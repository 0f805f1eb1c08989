"""Addresses of feature rows that older versions wrote: under every prompt that this configuration and runs tell of."""

import itertools
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from style_match.bounded import read_yaml
from style_match.data.image import COLOUR_POLICY, DECODE_POLICY
from style_match.errors import UserError
from style_match.features.identity import row_address
from style_match.forgetting.person import Row, Table
from style_match.prompt import render
from style_match.run_config import NODES
from style_match.targets import conf_dir

_OPTIONS = ("image", "system", "instruction", "template")


def known_prompts(configs: Iterable[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], list[tuple[str, ...]]]:
    """The prompts of conf/prompt and of runs' configs, and what may be left out of the metadata: a label column."""
    prompts = [
        yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted((conf_dir() / "prompt").glob("*.yaml"))
    ]
    leave_out: list[tuple[str, ...]] = [(), ("fashion_style",)]
    for config in configs:
        if _is_prompt(prompt := config.get("prompt")):
            prompts.append(prompt)
        data = config.get("data")
        if isinstance(data, dict) and isinstance(column := data.get("label_column"), str):
            leave_out.append((column,))
    return prompts, list(dict.fromkeys(leave_out))


def addresses(table: Table, rows: Iterable[Row], configs: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Hex addresses of the rows of these photos under all known prompts."""
    prompts, leave_out = known_prompts(configs)
    found = set()
    for row, prompt, hidden in itertools.product(rows, prompts, leave_out):
        metadata = table.metadata.get(PurePosixPath(row.image)) if prompt["metadata"] else None
        if (prompt["metadata"] and metadata is None) or (prompt["image"] and row.sha256 is None):
            continue
        try:
            text = render(metadata=metadata, leave_out=hidden, **{name: prompt[name] for name in _OPTIONS})
        except UserError:  # nothing was computed from it either
            continue
        for policy in (DECODE_POLICY, COLOUR_POLICY):
            found.add(row_address(row.sha256 if prompt["image"] else None, policy, text))
    return tuple(sorted(found))


def configs_below(roots: Iterable[Path]) -> list[tuple[Path, dict[str, Any]]]:
    """(folder, config) of every run below the roots; files that are no config of a run are passed over."""
    found = []
    for path in sorted({path for root in roots for path in root.rglob("config.yaml")}):
        try:
            config = read_yaml(path)
        except (OSError, ValueError, yaml.YAMLError):
            continue
        if isinstance(config, dict) and "data" in config:
            sound = {name: node for name, node in config.items() if name not in NODES or isinstance(node, dict)}
            found.append((path.parent, sound))
    return found


def _is_prompt(node: Any) -> bool:
    if not isinstance(node, dict) or not {*_OPTIONS, "metadata"} <= node.keys():
        return False
    texts = [node[name] for name in ("instruction", "template")] + ([node["system"]] if node["system"] else [])
    return all(isinstance(text, str) for text in texts)
