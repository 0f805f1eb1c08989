"""The questions of a labeler about a photo: a YAML file, made into a strict Pydantic model and a JSON schema."""

import json
import keyword
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal

from omegaconf import DictConfig, OmegaConf
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, ValidationError, create_model

from style_match.data.records import nearest
from style_match.utils.errors import UserError
from style_match.utils.text import folded, plain, plain_keys_and_values, safe

LANGUAGES = ("en", "ko")
KEYS = ("name", "task", "model", "label", "leave_out", "instructions", "text", "untold", "attributes")
ATTRIBUTES = "{attributes}"  # in `text`: where the attributes and their classes are listed
RESERVED = ("image",)  # keys of metadata.jsonl that are no attribute
MAX_TEXT = 10_000  # characters of one text of an answer
_OPTIONS = ("description", "classes", "list")


@dataclass(frozen=True)
class Attribute:
    """A question; `classes` is empty for free text; descriptions and definitions are by language."""

    name: str
    description: Mapping[str, str]
    classes: Mapping[str, Mapping[str, str]]
    is_list: bool  # several texts

    def lines(self, language: str) -> str:
        """The attribute in the list of the prompt."""
        kind = "" if not self.is_list else " (a list of texts)" if language == "en" else " (여러 개의 글)"
        head = f"{self.name}{kind}: {self.description[language]}"
        return "\n".join([head, *(f"  - {name}: {text[language]}" for name, text in self.classes.items())])


class Schema:
    """The attributes to label, and the texts that explain them to the model.

    Args:
        node: a file of `conf/schema`, as a dict.
        file: its name, for messages.

    Attributes:
        name: of the file.
        task: "style", "couple", or a user's own.
        preset: the model that the schema was made for.
        label: the attribute to train on, which no other may reveal; None if there is none.
        attributes: by name, in order, without those in `leave_out`.

    Raises:
        UserError: lists all faults of the file.
    """

    def __init__(self, node: Mapping[str, Any], *, file: str):
        if not isinstance(node, Mapping):
            raise UserError(f"{file}: is a list; write KEY: VALUE, with the keys {', '.join(KEYS)}")
        keys = ", ".join(KEYS)
        faults = [f"{key} is unknown{nearest(str(key), KEYS)}; the keys are {keys}" for key in node if key not in KEYS]
        faults += [f"{key} is missing" for key in ("name", "task", "model") if not node.get(key)]
        self.name, self.task, self.preset = (str(node.get(key) or "") for key in ("name", "task", "model"))
        if self.name and not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", self.name):
            faults.append(
                f"name: {self.name!r} is not taken by the API; write at most 64 letters A to Z, digits, _ and -"
            )
        given = _attributes(node.get("attributes"), faults)
        out = node.get("leave_out") or []
        if not isinstance(out, list):
            faults.append("leave_out is no list; write [NAME, NAME]")
            out = []
        out = [plain(str(name)) for name in out]
        for name in out:
            if name not in given:
                faults.append(f"leave_out: {name} is no attribute; the attributes are {', '.join(given)}")
        self.attributes = {name: attribute for name, attribute in given.items() if name not in out}
        if given and not self.attributes:
            faults.append("leave_out leaves no attribute; keep one")
        label = node.get("label")
        self.label: str | None = None if label is None else plain(str(label))
        if self.label is not None and not (given.get(self.label) and given[self.label].classes):
            faults.append(f"label: {self.label} is no attribute with classes")
        self._instructions = _by_language(node.get("instructions"), "instructions", faults)
        self._text = _by_language(node.get("text"), "text", faults)
        if any(ATTRIBUTES not in text for text in self._text.values()):
            faults.append(f"text lacks {ATTRIBUTES}, so the model would not see the attributes")
        self._untold = _by_language(node.get("untold"), "untold", faults) if self.label in self.attributes else {}
        if faults:
            raise UserError("\n".join(f"{file}: {fault}" for fault in faults))

    @classmethod
    def from_config(cls, node: DictConfig, file: str) -> "Schema":
        return cls(OmegaConf.to_container(node, resolve=True), file=file)  # type: ignore[arg-type]

    def instructions(self, language: str) -> str:
        """The system text, before the photo."""
        return self._instructions[language]

    def text(self, language: str) -> str:
        """The text beside the photo, with the attributes and the definitions of their classes."""
        listed = "\n".join(attribute.lines(language) for attribute in self.attributes.values())
        text = self._text[language].replace(ATTRIBUTES, listed)
        return f"{text}\n\n{self._untold[language]}" if self._untold else text

    @cached_property
    def model(self) -> type[BaseModel]:
        """The Pydantic model of an answer; missing and extra keys and unknown classes are refused."""
        fields: dict[str, Any] = {name: (_kind(attribute), ...) for name, attribute in self.attributes.items()}
        return create_model(f"{self.name.title()}Labels", __config__=ConfigDict(extra="forbid", strict=True), **fields)

    @cached_property
    def json_schema(self) -> dict[str, Any]:
        """For strict structured outputs: every key is required, no other allowed."""
        return _without_titles(self.model.model_json_schema())

    def parse(self, text: str) -> dict[str, Any]:
        """The values of an answer, in the order of the attributes.

        Raises:
            ValueError: no JSON, or not an answer to the schema; the message lists all faults.
        """
        try:
            return self.model.model_validate_json(text).model_dump()
        except ValidationError as error:
            raise ValueError("; ".join(_describe(fault) for fault in error.errors(include_url=False))) from None

    def check(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """`parse` for an answer that is an object already; keys that are not in the schema are ignored."""
        return self.parse(json.dumps({name: values[name] for name in self.attributes if name in values}))

    def class_names(self, attribute: str) -> tuple[str, ...]:
        """The classes of an attribute; () for free text and for an attribute in `leave_out`."""
        return tuple(self.attributes[attribute].classes) if attribute in self.attributes else ()

    @property
    def nominal(self) -> tuple[str, ...]:
        """The attributes that have classes."""
        return tuple(name for name, attribute in self.attributes.items() if attribute.classes)


def _attributes(node: Any, faults: list[str]) -> dict[str, Attribute]:
    if not isinstance(node, Mapping) or not node:
        faults.append("attributes: there are none; write NAME: {description: ..., classes: {CLASS: definition}}")
        return {}
    found: dict[str, Attribute] = {}
    for written, options in node.items():
        name = plain(written) if isinstance(written, str) else written
        where = f"attribute {name}"
        if name in found:
            faults.append(f"{where}: is there twice; remove one")
            continue
        fault = _fault_of_name(name)
        if name in RESERVED:
            fault = "is no name for an attribute: metadata.jsonl has the photo's name there; take another"
        elif isinstance(name, str) and name.startswith("model_"):
            fault = "must not begin with model_"
        elif not fault and not isinstance(options, Mapping):
            fault = "has no description"
        if fault:
            faults.append(f"{where}: {fault}")
            continue
        for key in options:
            if key not in _OPTIONS:
                faults.append(f"{where}: {key} is unknown; it may have {', '.join(_OPTIONS)}")
        is_list = options.get("list", False)
        if not isinstance(is_list, bool):
            faults.append(f"{where}: list is true or false")
        classes = _classes(options["classes"], where, faults) if "classes" in options else {}
        if classes and is_list:
            faults.append(f"{where}: a list has no classes; take one of the two")
        found[name] = Attribute(name, _by_language(options.get("description"), where, faults), classes, bool(is_list))
    return found


def _classes(node: Any, where: str, faults: list[str]) -> dict[str, Mapping[str, str]]:
    if not isinstance(node, Mapping) or len(node) < 2:
        num = len(node) if isinstance(node, Mapping) else "no"
        faults.append(f"{where}: classes has {num} names; write two or more")
        return {}
    written: dict[str, str] = {}
    for name in node:
        name = plain(name) if isinstance(name, str) else name
        if fault := _fault_of_name(name):
            quotes = "" if isinstance(name, str) else ", in quotes where YAML reads yes or a number"
            faults.append(f"{where}: class {name!r} {fault}{quotes}")
        elif (first := written.get(key := "".join(c for c in folded(name) if c.isalnum()))) is not None:
            faults.append(f"{where}: classes {first} and {name} differ in writing only")
        else:
            written[key] = name
    return {plain(str(name)): _by_language(text, f"{where}, class {name}", faults) for name, text in node.items()}


def _by_language(node: Any, where: str, faults: list[str]) -> dict[str, str]:
    """One text for every language, or {en: ..., ko: ...}."""
    texts = node if isinstance(node, Mapping) else dict.fromkeys(LANGUAGES, node)
    for language in LANGUAGES:
        if not isinstance(texts.get(language), str) or not texts[language].strip():
            faults.append(f"{where}: no text in {language}; write one text, or one for each of {', '.join(LANGUAGES)}")
    if unknown := [str(language) for language in texts if language not in LANGUAGES]:
        faults.append(f"{where}: {', '.join(unknown)} is none of the languages {', '.join(LANGUAGES)}")
    return {language: str(texts.get(language) or "").strip() for language in LANGUAGES}


def _fault_of_name(name: Any) -> str | None:
    if not isinstance(name, str) or not name.isidentifier() or name.startswith("_"):
        return "is no name; write letters, digits and _"
    return "is a word of Python; take another" if keyword.iskeyword(name) else None


def _kind(attribute: Attribute) -> Any:
    if attribute.classes:
        return Annotated[Literal[tuple(attribute.classes)], BeforeValidator(plain_keys_and_values)]
    text = Annotated[str, AfterValidator(_text)]
    return list[text] if attribute.is_list else text


def _text(text: str) -> str:
    """Check a text that goes into metadata.jsonl and prompts."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("holds half a character (a lone surrogate)") from None
    text = plain(safe(text))
    if not text:
        raise ValueError("is empty")
    if "<|" in text:
        raise ValueError("holds <|, with which control tokens begin")
    if len(text) > MAX_TEXT:
        raise ValueError(f"has {len(text):,} characters, more than {MAX_TEXT:,}")
    return text


def _without_titles(node: Any) -> Any:
    """Remove the titles that Pydantic derives from the keys: they cost tokens in each request."""
    if isinstance(node, Mapping):
        return {
            key: {name: _without_titles(each) for name, each in below.items()}
            if key == "properties"
            else _without_titles(below)
            for key, below in node.items()
            if key != "title"
        }
    return [_without_titles(each) for each in node] if isinstance(node, list) else node


def _describe(fault: Any) -> str:
    where = ".".join(str(part) for part in fault["loc"])
    what = str(fault["msg"]).removeprefix("Value error, ")
    given = f", not {str(fault['input'])[:40]!r}" if fault["type"] == "literal_error" else ""
    return f"{where}: {what}{given}" if where else what


def shortened(names: Iterable[str], *, most: int) -> str:
    """A list for a message: the first `most` names, and the number of the others."""
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
