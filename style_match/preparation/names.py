"""File names made of profile ids: safe on every file system, and the same for the same ids."""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

_MOST_BYTES = 120  # file systems take 255; the ending and a number follow
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # of Windows


def file_stems(profile_ids: Sequence[str]) -> list[str]:
    """One stem a photo: the id where it is a plain name, followed by +2, +3, ... for further photos of a profile.

    Ids that are cut, changed, or would fall together where capitals do not count are followed by a hash of themselves.
    """
    plain = {each: _plain(each) for each in dict.fromkeys(profile_ids)}
    shared = Counter(_folded(stem) for stem in plain.values())
    stem_of = {
        each: stem if stem == each and shared[_folded(stem)] == 1 else f"{stem}-{_hash(each)}"
        for each, stem in plain.items()
    }
    seen: Counter[str] = Counter()
    stems = []
    for each in profile_ids:
        seen[each] += 1
        stems.append(stem_of[each] + (f"+{seen[each]}" if seen[each] > 1 else ""))
    return stems


def _plain(profile_id: str) -> str:
    """The id with nothing in it but letters and digits of any script, -, _ and dots inside; never empty."""
    text = re.sub(r"[^\w.-]+", "_", unicodedata.normalize("NFC", profile_id)).strip(".-")
    text = text.encode()[:_MOST_BYTES].decode(errors="ignore").strip(".-")
    return f"_{text}" if not text or _RESERVED.fullmatch(text) else text


def _folded(stem: str) -> str:
    return unicodedata.normalize("NFKC", stem).casefold()


def _hash(profile_id: str) -> str:
    return hashlib.sha256(profile_id.encode("utf-8", "surrogateescape")).hexdigest()[:10]
