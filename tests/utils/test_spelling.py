"""One spelling of texts that people read as the same."""

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from style_match.utils.files import on_disk
from style_match.utils.text import cut, other_case, plain, plain_keys_and_values, shown, stored_forms

FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"  # one picture, of three joined by U+200D
PERSIAN = "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"  # one word, with U+200C inside


@pytest.mark.parametrize(
    ("written", "is_plain"),
    [
        (unicodedata.normalize("NFD", "김민지"), "김민지"),
        ("Ame\u0301lie", "Am\u00e9lie"),
        ("\u212bsa", "\u00c5sa"),  # the sign for angstroms
        ("\ufeffid", "id"),
        ("a\u200bb\u2060c\u00add", "abcd"),
        ("\u202aC1\u202c", "C1"),  # as copied from a dialog of Windows
        ("\u00a0\u3000a b\u200d ", "a b"),
        ("e\u200b\u0301", "\u00e9"),
        (FAMILY, FAMILY),
        (PERSIAN, PERSIAN),
        (f"{PERSIAN}\u200c", PERSIAN),
        ("\uff21", "\uff21"),  # full width is another letter
        ("007", "007"),
        (" 1e5\t", "1e5"),
        ("null", "null"),
        ("A", "A"),
        ("\udcff", "\udcff"),  # a byte of a file name that is no UTF-8
    ],
)
def test_plain(written: str, is_plain: str) -> None:
    assert plain(written) == is_plain


@given(st.text())
def test_plain_twice_is_plain_once(text: str) -> None:
    once = plain(text)
    assert plain(once) == once == plain(unicodedata.normalize("NFD", text))
    assert once in stored_forms(once)


def test_nested_values() -> None:
    written = {unicodedata.normalize("NFD", "색"): [" a ", {"b ": 1, "c": None}], "n": 1.5, "t": True}
    assert plain_keys_and_values(written) == {"색": ["a", {"b": 1, "c": None}], "n": 1.5, "t": True}


def test_other_case() -> None:
    assert other_case("kim", ["Lee", "KIM"]) == "KIM"
    assert other_case("AME\u0301LIE", ["Am\u00e9lie"]) == "Am\u00e9lie"
    assert other_case("kim", ["kim", "lee"]) is None


def test_values_in_messages_are_cut() -> None:
    assert shown("x" * 1000) == cut(repr("x" * 121)) and len(shown("x" * 1000)) == 120
    assert shown(b"\xff" * 10**6) == "<1000000 bytes>"
    assert shown("a'b") == repr("a'b")


def test_paths_are_spelled_as_the_disk_has_them(tmp_path: Path) -> None:
    composed, decomposed = "사진", unicodedata.normalize("NFD", "사진")
    (tmp_path / decomposed / "a b").mkdir(parents=True)
    assert on_disk(tmp_path / composed / "a b") == tmp_path / decomposed / "a b"
    assert on_disk(tmp_path / composed / "absent") == tmp_path / decomposed / "absent"
    (tmp_path / composed).mkdir()
    assert on_disk(tmp_path / composed) == tmp_path / composed
    assert on_disk(tmp_path / "없음") == tmp_path / "없음"
