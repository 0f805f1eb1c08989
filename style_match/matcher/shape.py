"""What matcher.json may hold: names and kinds of its values, so that a folder of unknown origin is refused at once."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from style_match.check import leaves, rule_like
from style_match.errors import UserError
from style_match.options import find
from style_match.rules import RULES
from style_match.spelling import cut
from style_match.values import FLAG, LIST, NAMES, TEXT, Rule, whole, word

ABSENT = object()
MAX_SHOWN = 83  # characters of a value in a message, with the dots that replace its end
NODE = Rule("an object", lambda value: isinstance(value, dict))
WORDS = Rule("a text", lambda value: isinstance(value, str))
NAME = Rule("a name without slashes", lambda value: isinstance(value, str) and bool(re.fullmatch(r"\w[\w.-]*", value)))
SIDES = Rule("two names", lambda value: isinstance(value, list) and len(value) == 2 and all(map(WORDS.holds, value)))
HASHES = Rule(
    "file names with their sha256", lambda value: isinstance(value, dict) and all(map(TEXT.holds, value.values()))
)
SHAPE: dict[str, Rule] = {
    "name": WORDS,
    "task": word("couple", "style"),
    "synthetic": FLAG,
    "sides": SIDES.or_null(),
    "label_column": WORDS.or_null(),
    "classes": NAMES.or_null(),
    "head": NODE,
    "head.options": NODE,
    "head.options._target_": WORDS,
    "head.in_dim": whole(1, 2**20),
    "head.dim": whole(1, 2**20),
    "head.tells_sides": FLAG,
    "backbone": NODE,
    "backbone.name": WORDS,
    "backbone.path": WORDS,
    "backbone.revision": WORDS.or_null(),
    "backbone.options": NODE,
    "backbone.files": HASHES,
    "prompt": NODE,
    "prompt.name": WORDS,
    "prompt.image": FLAG,
    "prompt.metadata": FLAG,
    "prompt.system": WORDS.or_null(),
    "prompt.instruction": WORDS,
    "prompt.template": WORDS,
    "pooling": NODE,
    "pooling.name": WORDS,
    "text": NODE.or_null(),
    "data": NODE,
    "data.options": NODE,
    "data.options.image_root": Rule("null", lambda value: value is None),
    "data.options.label_column": WORDS.or_null(),
    "data.demo": NODE.or_null(),
    "features": NODE,
    "run": NODE,
    "run.id": WORDS,
    "files": HASHES,
}
OF_TEXT: dict[str, Rule] = {
    "text.path": word("image", "caption", "both"),
    "text.head": NODE,
    "text.head.options": NODE.or_null(),
    "text.options": NODE,
    "text.options.attributes": LIST,
    "text.options.pooling": LIST,
    "text.options.template": WORDS,
    "text.options.system": WORDS.or_null(),
}
OF_TEXT_HEAD: dict[str, Rule] = {"text.head.in_dim": whole(1, 2**20), "text.head.dim": whole(1, 2**20)}
OF_DEMO: dict[str, Rule] = {
    "data.demo.name": NAME,
    "data.demo.task": word("couple", "style"),
    "data.demo.root": Rule("null", lambda value: value is None),
    "data.demo.world": NODE,
}
# Where the options of a config are in matcher.json. The options of the first ones are these and no others, so that the
# folder cannot choose where files are read or written.
OPTIONS = {"features": "features", "data.options": "data", "data.demo": "data", "backbone.options": "backbone"}
OPTIONS |= {"head.options": "head", "text.options": "text", "pooling": "pooling"}
CLOSED = {
    "features": {"shard_rows"},
    "data.options": {"image_root", "label_column", "max_source_pixels", "num_workers", "on_bad_image"},
}


def refuse_other_shape(about: Mapping[str, Any], file: Path) -> None:
    """Check the names and kinds of the values of matcher.json.

    Raises:
        UserError: the first value that no export writes.
    """
    for path, value, wanted in _faults(about):
        said = f"{path} is missing" if value is ABSENT else f"{path}={cut(str(value), MAX_SHOWN)} is not {wanted}"
        raise UserError(f"{file}: {said}, so no export wrote it: export the matcher again, or do not use it.")


def _faults(about: Mapping[str, Any]) -> Iterator[tuple[str, Any, str]]:
    rules = SHAPE
    if isinstance(about.get("text"), dict):
        rules = rules | OF_TEXT | (OF_TEXT_HEAD if find(about, "text.head.options") else {})
    if isinstance(about.get("data"), dict) and isinstance(about["data"].get("demo"), dict):
        rules = rules | OF_DEMO
    for path, rule in rules.items():
        value = find(about, path, ABSENT)
        if value is ABSENT or not rule.holds(value):
            yield path, value, rule.wanted
    for place, names in CLOSED.items():
        for name in sorted(find(about, place).keys() - names):
            yield f"{place}.{name}", find(about, place)[name], f"one of the options {', '.join(sorted(names))}"
    for place, group in OPTIONS.items():
        for name, value in leaves(find(about, place) or {}):
            rule = RULES.get(f"{group}.{name}") or rule_like(None)
            if f"{place}.{name}" not in rules and not rule.holds(value):
                yield f"{place}.{name}", value, rule.wanted
