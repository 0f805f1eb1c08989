"""Paths are taken as they are written, and an override that is none is one message with exit code 2."""

import unicodedata

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from style_match.cli import main
from style_match.cli.plan import path_as_value

pytestmark = pytest.mark.integration


def read_back(step: str, line: str, option: str, needed: tuple[str, ...] = ()):
    with initialize_config_dir(str(main.conf_dir()), version_base=main.VERSION_BASE):
        return OmegaConf.select(compose(step, [*needed, path_as_value(line)]), option)


@pytest.mark.parametrize("option", ["source", "out", "metadata", "couples", "image_root"])
@pytest.mark.parametrize(
    "folder", ["/a/photos #1", "/a/b (2)", "/a/{x}", "/a/100%", "/a/x,y", "/a/it's", "/a/~x!?;&|<>^", "/a/가 나"]
)
def test_signs(tmp_path, option: str, folder: str) -> None:
    path = tmp_path / folder.lstrip("/")
    path.mkdir(parents=True)
    needed = tuple(f"{name}=x" for name in ("source", "out") if name != option)
    assert read_back("prepare", f"{option}={path}", option, needed) == str(path)


@pytest.mark.parametrize("folder", ["007", "1e5", "true", "[a]", "1_000", "${x}"])
def test_folders_that_look_like_other_values(tmp_path, monkeypatch, folder: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / folder).mkdir()
    assert read_back("prepare", f"source={folder}", "source", ("out=x",)) == folder


def test_a_list_of_folders_stays_a_list() -> None:
    assert list(read_back("forget", "runs=[a,b]", "runs", ("data.root=x", "profile=p"))) == ["a", "b"]
    assert read_back("forget", "data.image_root=null", "data.image_root", ("data.root=x", "profile=p")) is None


def test_a_path_is_spelled_as_the_disk_has_it_and_other_words_as_tables_do(tmp_path) -> None:
    decomposed = unicodedata.normalize("NFD", "사진")
    (tmp_path / decomposed).mkdir()
    assert read_back("prepare", f"source={tmp_path}/사진", "source", ("out=x",)) == f"{tmp_path}/{decomposed}"
    assert read_back("prepare", f'label="{decomposed}"', "label", ("source=x", "out=x")) == "사진"
    assert list(read_back("forget", f"profile=[{decomposed},007,1e5,null]", "profile", ("data.root=x",))) == [
        "사진", "007", "1e5", "null",
    ]  # fmt: skip


@pytest.mark.parametrize("word", ["loss=((", "evaluation.ks=[1", "seed=1 2#", "=3", "a b"])
def test_what_hydra_cannot_parse_is_a_mistake(step, word: str) -> None:
    assert step(word) == 2
    assert word in step.err and len(step.err.splitlines()) == 1 and "Exception" not in step.err
