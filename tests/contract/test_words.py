"""Words of the command line: groups, choices, options with their defaults, and the answers to mistakes."""

import re
import shutil
from pathlib import Path

import pytest

from tests.contract import observe
from tests.docs.documents import ALL

pytestmark = pytest.mark.integration
README = ALL["README.md"].read_text(encoding="utf-8")
MISTAKES = observe.golden("mistakes")
GROUPS, OPTIONS = observe.golden("groups"), observe.golden("options")
# choices whose options pages name, and which are not in use without a word
CHOICES = {
    "train": (("loss=triplet",), ("data=demo_styles",), ("head=weighted",), ("logger=wandb",)),
    "label": (("labeler=openai", "schema=style"), ("labeler=compatible", "schema=couple"), ("labeler=replay",)),
    "recommend": (("index=faiss",), ("index=qdrant",)),
}
FILES = (
    "csv",
    "html",
    "json",
    "jsonl",
    "md",
    "parquet",
    "png",
    "py",
    "sqlite",
    "txt",
    "yaml",
)  # how names of files end


@pytest.mark.parametrize("step", observe.STEPS)
def test_groups_and_choices(run_step, step: str):
    assert observe.groups(run_step, step) == GROUPS[step]


@pytest.mark.parametrize("step", observe.STEPS)
def test_options_and_defaults(run_step, step: str):
    assert observe.options(run_step, step) == OPTIONS[step]


@pytest.mark.parametrize("case", MISTAKES, ids=lambda case: case["mistake"])
def test_a_mistake_is_answered_word_for_word(run_step, couples_run: Path, matcher_folder: Path, tmp_path: Path, case):
    (tmp_path / "empty").mkdir()
    copy = shutil.copytree(couples_run, tmp_path / "copy") if "COUPLES" in str(case["words"]) else couples_run
    text = observe.mistake(run_step, case, tmp_path, COUPLES=copy, MATCHER=matcher_folder)
    assert text.splitlines() == case["text"]


@pytest.fixture(scope="module")
def known(run_step) -> dict[str, set[str]]:
    """Step -> every option, of the choices in use and of those of `CHOICES`."""
    found = {step: set(OPTIONS[step]) for step in observe.STEPS}
    for step, several in CHOICES.items():
        for words in several:
            found[step] |= set(observe.options(run_step, step, *words))
    return found


def is_there(name: str, options: set[str]) -> bool:
    return any(option == name or option.startswith(f"{name}.") for option in options)


def test_the_table_of_the_readme_has_the_defaults_of_train():
    """And only choices that there are."""
    table = README.partition("\n| option | default | meaning |\n")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| `([\w.]+)` \| `([^`]+)` \| (.*) \|$", table, re.M)
    assert len(rows) > 10
    for name, default, meaning in rows:
        if name in GROUPS["train"]:
            assert f"*{default}" in GROUPS["train"][name], name
            choices = {choice.lstrip("*") for choice in GROUPS["train"][name]}
            assert {word for word in re.findall(r"`(\w+)`", meaning)} <= choices, name
        else:
            assert float(OPTIONS["train"][name]) == float(default), name


@pytest.mark.parametrize("page", [page for page in ALL if not page.startswith("conf/")])
def test_every_option_that_a_page_names(known, page: str):
    """Of any step: words with a dot and a value, or a dot after the name of a group, anywhere in its text."""
    roots = {name.split(".")[0] for options in known.values() for name in options}
    told = set(re.findall(r"[` \[]([a-z_]+(?:\.[a-z_]+)+)(?==|`)", ALL[page].read_text(encoding="utf-8")))
    named = {name for name in told if name.split(".")[0] in roots and name.split(".")[-1] not in (*FILES, "_target_")}
    for name in sorted(named):
        assert any(is_there(name, options) for options in known.values()), name
