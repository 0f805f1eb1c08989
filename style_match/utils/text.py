"""Text from users and files: one Unicode spelling for comparisons, safe and bounded forms for messages."""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

MOST = 120  # characters of a value in a message
# Byte order mark, zero-width space, word joiner, soft hyphen, and marks of writing direction: invisible.
_INVISIBLE = re.compile("[\ufeff\u200b\u2060\u00ad\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_OUTER = "\u200c\u200d" + "".join(letter for letter in map(chr, range(0x3001)) if letter.isspace())


def plain(text: str) -> str:
    """Return the text in NFC, without outer white space and invisible characters.

    Removed anywhere: byte order marks (U+FEFF), zero-width spaces (U+200B), word joiners (U+2060), soft hyphens
    (U+00AD) and marks of writing direction. The zero-width joiner and non-joiner (U+200D, U+200C) change how emoji and
    Persian or Indic words look, so they are removed only at both ends. Upper and lower case, white space inside,
    digits and compatibility characters (such as full-width letters) stay: `007`, `1e5` and `null` are plain texts.
    """
    if text.isascii():
        return text.strip()
    return unicodedata.normalize("NFC", _INVISIBLE.sub("", text).strip(_OUTER))


def plain_keys_and_values(value: Any) -> Any:
    """Apply `plain` to every text in a value read from JSON or YAML; equal keys are merged."""
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, list | tuple):
        return [plain_keys_and_values(each) for each in value]
    if isinstance(value, Mapping):
        return {plain_keys_and_values(key): plain_keys_and_values(each) for key, each in value.items()}
    return value


def stored_forms(text: str) -> set[str]:
    """Return the spellings of a `plain` text that files of other programs may contain."""
    return {text, unicodedata.normalize("NFD", text)}


def folded(text: str) -> str:
    """Return a form for comparisons that ignore upper and lower case."""
    return plain(plain(text).casefold())


def other_case(word: str, known: Iterable[str]) -> str | None:
    """Return the first of `known` that differs from `word` only in upper and lower case."""
    wanted = folded(word)
    return next((each for each in known if each != word and folded(each) == wanted), None)


def cut(text: str, most: int = MOST) -> str:
    """Return a text for a message; the end of a long one is replaced by `...`."""
    return text if len(text) <= most else f"{text[: most - 3]}..."


def shown(value: Any) -> str:
    """Return a value in quotes for a message, cut to `MOST` characters; bytes are counted, not shown."""
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    return cut(repr(value[: MOST + 1] if isinstance(value, str) else value))


# ESC [ ... letter and ESC ] ... BEL: colours, cursor movements, links and titles of a terminal
_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?")
_BREAKS = re.compile("[\t\n\v\f\r\x85\u2028\u2029]+")
# control characters, lone surrogates, Unicode's Bidi_Control, the byte order mark, invisible tags
_REMOVED = re.compile(
    "[\x00-\x1f\x7f-\x9f\ud800-\udfff\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\U000e0000-\U000e007f]"
)


def safe(text: str) -> str:
    """`text` on one line: spaces for line breaks and tabs, no control, escape or bidirectional characters."""
    return _REMOVED.sub("", _BREAKS.sub(" ", _ESCAPES.sub("", text))).strip()


def quoted(text: str, *, most: int = 120) -> str:
    """Return the first `most` characters of `safe(text)`, in quotes, for a message."""
    text = safe(text[: 10 * most])
    return f'"{text[:most]}"' + ("..." if len(text) > most else "")
