"""Paths and texts are taken as they are typed, whatever characters they contain."""

import unicodedata

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import assume, given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from style_match.cli.quoting import path_as_value
from tests.composed import composed

NEEDED = {"prepare": ("source=x", "out=x"), "forget": ("data.root=x", "profile=p"), "search": ("model=m",)}
FOLDERS = ["/a/photos #1", "/a/b (2)", "/a/{x}", "/a/100%", "/a/x,y", "/a/it's", "/a/~x!?;&|<>^", "/a/가 나"]


def read(step: str, line: str, option: str) -> object:
    """The value of an option after an override as it is typed."""
    return OmegaConf.select(composed(step, *NEEDED[step], path_as_value(line)), option)


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_path_with_any_characters(tmp_path, folder: str):
    path = tmp_path / folder.lstrip("/")
    path.mkdir(parents=True)
    assert read("prepare", f"source={path}", "source") == str(path)


@pytest.mark.parametrize("folder", ["007", "1e5", "true", "[a]", "1_000", "${x}"])
def test_a_folder_that_looks_like_another_value(tmp_path, monkeypatch, folder: str):
    monkeypatch.chdir(tmp_path)
    (tmp_path / folder).mkdir()
    assert read("prepare", f"source={folder}", "source") == folder


def test_a_list_of_folders_stays_a_list():
    assert list(read("forget", "runs=[a,b]", "runs")) == ["a", "b"]
    assert read("forget", "data.image_root=null", "data.image_root") is None


def test_a_path_is_spelled_as_the_disk_has_it_and_other_words_as_tables_do(tmp_path):
    decomposed = unicodedata.normalize("NFD", "사진")
    (tmp_path / decomposed).mkdir()
    assert read("prepare", f"source={tmp_path}/사진", "source") == f"{tmp_path}/{decomposed}"
    assert read("prepare", f'label="{decomposed}"', "label") == "사진"
    ids = read("forget", f"profile=[{decomposed},007,1e5,null,${{data.root}}]", "profile")
    assert list(ids) == ["사진", "007", "1e5", "null", "${data.root}"]


@pytest.mark.parametrize("typed", ["a ${b} look", r"a \${b}", r"\\${x} \\", "x ${", 'say "${b}"', "댄디룩, ${k}=1"])
@pytest.mark.parametrize("option", ["query", "++where"])
def test_nothing_in_a_text_is_expanded(option, typed):
    assert read("search", f"{option}={typed}", option.lstrip("+")) == typed


@given(typed=st.text(alphabet='$\\{}" ab', min_size=1, max_size=12))
def test_any_characters_in_a_text(typed):
    assume(not typed.strip(" ").startswith('"') or not typed.strip(" ").endswith('"'))  # quotes of the user
    override = OverridesParser.create().parse_override(path_as_value(f"query={typed}"))
    assert OmegaConf.create({"query": override.value()}).query == typed


@pytest.mark.parametrize(("typed", "meant"), [('"a ${b}"', "a ${b}"), ("'${b}'", "${b}"), ("null", None)])
def test_quotes_of_the_user(typed, meant):
    assert read("search", f"query={typed}", "query") == meant
