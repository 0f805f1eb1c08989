"""Text from elsewhere without the characters that act on a terminal, a page or a line instead of being shown."""

import re

# ESC [ ... letter and ESC ] ... BEL: colours, cursor movements, links and titles of a terminal
_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?")
_BREAKS = re.compile("[\t\n\v\f\r\x85\u2028\u2029]+")
# control characters, lone surrogates, Unicode's Bidi_Control, the byte order mark, invisible tags
_REMOVED = re.compile(
    "[\x00-\x1f\x7f-\x9f\ud800-\udfff\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\U000e0000-\U000e007f]"
)


def safe(text: str) -> str:
    """`text` on one line: a space for line breaks and tabs, no control, escape or bidirectional characters."""
    return _REMOVED.sub("", _BREAKS.sub(" ", _ESCAPES.sub("", text))).strip()


def quoted(text: str, *, most: int = 120) -> str:
    """The first `most` characters of `safe(text)`, in quotes, for a message."""
    text = safe(text[: 10 * most])
    return f'"{text[:most]}"' + ("..." if len(text) > most else "")
