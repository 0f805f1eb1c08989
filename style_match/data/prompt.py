"""Prompts in Qwen's chat format, as text whose bytes can be hashed.

A prompt is an optional system turn and one user turn. It ends exactly with `<|im_end|>`, the EOS token that `eos`
pooling reads. (The chat template of the released checkpoints adds a newline after it.)
"""

import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from style_match.data.records import MAX_SHOWN
from style_match.utils.errors import UserError

IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"
END = "<|im_end|>"
REPAIR = "Repair metadata.jsonl (style_match.label writes it; or by hand, one JSON object per photo)"

_CONTROL_TOKEN = re.compile(r"<\|[^<>|\s]*\|>")
_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_WORD_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_A-Za-z]+")


def render(
    *,
    image: bool,
    metadata: Mapping[str, Any] | None,
    system: str | None,
    instruction: str,
    template: str,
    leave_out: Collection[str],
) -> str:
    """Render one prompt.

    Args:
        image: Whether the photo comes before the text, as one `<|image_pad|>` that is expanded later.
        metadata: The photo's attributes, or None if the template takes none.
        system: Text of the system turn; no such turn if None.
        instruction: The task of the model.
        template: Text of the user turn, with `{metadata}` and `{instruction}`.
        leave_out: Keys, at any depth, that are never rendered.

    Raises:
        UserError: The text contains a control token such as `<|im_end|>`; the template has an unknown placeholder or
            lacks one; the metadata has nothing to render.
    """
    _check_options(metadata is not None, system, instruction, template)
    values = {"instruction": instruction}
    if metadata is not None:
        values["metadata"] = metadata_text(metadata, leave_out=leave_out)
    text = _PLACEHOLDER.sub(lambda found: values[found[1]], template)
    turns = f"<|im_start|>system\n{system}{END}\n" if system is not None else ""
    return f"{turns}<|im_start|>user\n{IMAGE if image else ''}{text}{END}"


def metadata_text(metadata: Mapping[str, Any], *, leave_out: Collection[str]) -> str:
    """Lines `key: value` in the object's own order; nested values joined by ", ", empty ones skipped.

    Raises:
        UserError: It contains a control token, or nothing is left to render.
    """
    hidden = {_plain(key) for key in leave_out}
    lines = []
    for key, value in metadata.items():
        text = "" if _plain(key) in hidden else ", ".join(_leaves(value, hidden))
        if text:
            lines.append(f"{' '.join(str(key).split())}: {text}")
    if not lines:
        raise UserError("the metadata has no attribute to render; use prompt=image, or label the photo")
    refuse_control_tokens("\n".join(lines), "the metadata")
    return "\n".join(lines)


def render_all(
    images: Sequence[str],
    metadata_of: Mapping[str, Mapping[str, Any]],
    *,
    prompt: Mapping[str, Any],
    leave_out: Collection[str] = (),
    class_names: Collection[str] = (),
) -> tuple[str, ...]:
    """Return the prompt of each photo, in order; every fault of every photo is found before one is raised.

    Args:
        images: Photos as the dataset folder writes them.
        metadata_of: Photo -> attributes; not read if the prompt takes no metadata.
        prompt: A group of `conf/prompt`.
        leave_out: Keys never rendered: the label that is trained or evaluated on.
        class_names: Label values that no metadata may contain.

    Raises:
        UserError: Photos without metadata, with control tokens in it, or whose metadata contains the class.
    """
    _check_options(prompt["metadata"], prompt["system"], prompt["instruction"], prompt["template"])
    options = {name: prompt[name] for name in ("image", "system", "instruction", "template")}
    faults, prompts = [], []
    for image in images:
        metadata = metadata_of.get(image) if prompt["metadata"] else None
        try:
            if prompt["metadata"] and metadata is None:
                raise UserError("it has no metadata")
            prompts.append(render(metadata=metadata, leave_out=leave_out, **options))
            if metadata and (named := classes_named(metadata, class_names, leave_out=leave_out)):
                raise UserError(f"the metadata names the class ({', '.join(named)})")
        except UserError as error:
            faults.append(f"{image}: {error}")
    if faults:
        raise UserError(
            f"prompt={prompt['name']} cannot be rendered for {list_faults(faults, len(images))}\n{REPAIR}, or use "
            "prompt=image."
        )
    return tuple(prompts)


def list_faults(faults: Sequence[str], num_photos: int) -> str:
    """Return the count of faulty photos and the first `MAX_SHOWN` faults, one per line."""
    more = [f"(and {len(faults) - MAX_SHOWN} more)"] if len(faults) > MAX_SHOWN else []
    return "\n".join([f"{len(faults)} of {num_photos} photos:", *faults[:MAX_SHOWN], *more])


def classes_named(
    metadata: Mapping[str, Any], class_names: Collection[str], *, leave_out: Collection[str]
) -> list[str]:
    """Return the class names that the rendered metadata contains, sorted.

    `Street_Hip` is found as `street hip`, `STREET-HIP` or `StreetHip`, but not inside `streethippie`; a name outside
    ASCII is found inside longer words too, since Korean particles follow without a space.
    """
    text = _fold(metadata_text(metadata, leave_out=leave_out))
    return sorted(name for name in class_names if _class_pattern(name).search(text))


@lru_cache
def _class_pattern(name: str) -> re.Pattern[str]:
    parts = _WORD_PARTS.findall(unicodedata.normalize("NFKC", name)) or [name]
    joined = r"[\s_\-\u2010-\u2015]*".join(re.escape(_fold(part)) for part in parts)
    return re.compile(rf"(?<![a-z0-9]){joined}(?![a-z0-9])" if name.isascii() else joined)


def _check_options(wants_metadata: bool, system: str | None, instruction: str, template: str) -> None:
    for option, text in (("system", system or ""), ("instruction", instruction), ("template", template)):
        refuse_control_tokens(text, f"prompt.{option}")
    allowed = {"instruction", "metadata"} if wants_metadata else {"instruction"}
    found = set(_PLACEHOLDER.findall(template))
    if unknown := sorted(found - allowed):
        names = " and ".join(f"{{{name}}}" for name in sorted(allowed))
        raise UserError(f"prompt.template has {{{unknown[0]}}}, which this prompt does not fill; it fills {names}.")
    if wants_metadata and "metadata" not in found:
        raise UserError("prompt.template lacks {metadata}, so the metadata would not reach the model.")


def refuse_control_tokens(text: str, where: str) -> None:
    """Raise UserError if a text contains a control token; `where` names the text."""
    found = _CONTROL_TOKEN.search(text)
    if found:
        raise UserError(f"{where} contains the control token {found[0]}, which would end or alter the prompt")


def _leaves(value: Any, hidden: Collection[str]) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if _plain(key) not in hidden:
                yield from _leaves(inner, hidden)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _leaves(inner, hidden)
    elif isinstance(value, bool):
        yield "yes" if value else "no"
    elif value is not None and (text := " ".join(str(value).split())):
        yield text


def _plain(key: object) -> str:
    """Return a key without case and punctuation: `Fashion Style` equals `fashion_style`."""
    return re.sub(r"[\W_]+", "", _fold(str(key)))


def _fold(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()
