"""The documents name commands, options, files and make targets that exist; `tests/thorough` runs the commands."""

import re
import shlex

import pytest

from style_match.cli import schema
from style_match.cli.quoting import path_as_value
from tests.composed import composed
from tests.docs.documents import COMMANDS, DOCUMENTS, OTHERS, ROOT

STEPS = [line for line in COMMANDS if "style_match." in line and "--help" not in line]


def is_swept(word: str) -> bool:
    return "," in word and not word.startswith(("query=", "where="))


@pytest.mark.integration
@pytest.mark.parametrize("line", STEPS)
def test_the_words_of_a_command_are_known_and_its_values_hold(line):
    """Of a sweep, the first value of each option."""
    step = re.search(r"python -m style_match\.(\w+)", line).group(1)
    words = [word for word in shlex.split(line.partition(f"style_match.{step}")[2]) if word != "-m"]
    words = [re.sub(r"=([^\[,]+),.*", r"=\1", word) if is_swept(word) else word for word in words]
    words = [path_as_value(word) for word in words if not word.startswith("hydra")]
    config = composed(step, *words)
    assert schema.faults(config, config, step=step) == []


def test_the_documents_have_commands_and_what_is_handled_apart_stands_in_them():
    assert len(COMMANDS) > 10 and set(OTHERS) <= set(COMMANDS)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_make_target_that_is_named_exists(document):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    text = (ROOT / document).read_text(encoding="utf-8")
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.M)) <= targets


PAGES = [*(ROOT / name for name in DOCUMENTS), *sorted((ROOT / "experiments").glob("*/README.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_paths_lead_to_files(page):
    text = page.read_text(encoding="utf-8")
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    assert not [link for link in links if link and not (page.parent / link).exists()]
    roots = r"conf|style_match|tests|experiments"
    named = [path for path in re.findall(rf"`((?:{roots})/[\w./]+)`", text) if "NAME" not in path]
    assert not [path for path in named if not (ROOT / path).exists()]
