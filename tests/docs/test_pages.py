"""Pages are short, up to date, and name what exists; `tests/thorough/docs` runs their commands."""

import re
import shlex

import pytest

from experiments.docs import build, options
from style_match.cli import schema
from style_match.cli.quoting import path_as_value
from tests.composed import composed
from tests.docs.documents import ALL, OTHERS, ROOT, RUN, commands

LINES = [line for page in ALL for line in commands(page)]
STEPS = sorted({line for line in LINES if "-m style_match." in line and "--help" not in line and "--cfg" not in line})
MAX_LINES, README_LINES, README_WORDS = 200, 150, 1300


def test_pages_quote_what_is_recorded_and_the_comments_of_the_yaml_files():
    assert [str(page.relative_to(ROOT)) for page in build.stale(build.RECORDED)] == [], "run make docs"


def test_a_page_that_quotes_something_old_is_found():
    old = "<!-- begin hybrid -->\n| old |\n<!-- end hybrid -->"
    made: dict[str, str] = {}
    assert build.recorded("hybrid/table.md") in build.filled(old, build.RECORDED, made) and set(made) == {"hybrid"}
    assert build.filled(old, build.COMMANDS, made) == old
    with pytest.raises(KeyError, match="no-such"):
        build.filled("<!-- begin no-such -->\n<!-- end no-such -->", build.RECORDED, made)


def test_every_source_is_quoted():
    quoted = {name for page in build.pages() for _, name, _ in build.BLOCK.findall(page.read_text(encoding="utf-8"))}
    assert quoted == {*build.RECORDED, *build.COMMANDS}


def test_a_table_is_narrowed():
    table = "| a | R@5 | MRR |\n|---|---|---|\n| x | 1<br>0-2 | 3 |\n| y | 4 | 5 |\n| x | 6 | 7 |\n"
    assert build.narrow(table, ["R@5"], rows=["x"]) == "| a | R@5 |\n| --- | --- |\n| x | 1 (0-2) |"
    assert build.narrow(table, ["MRR"], without="x") == "| a | MRR |\n| --- | --- |\n| y | 5 |"


def test_the_option_pages_have_every_option_with_its_default():
    """As Hydra composes them, of the choices in use."""
    text = "".join(options.page(name) for name in options.PAGES)
    named = set(re.findall(r"^\| `([\w.]+)` \|", text, re.M))
    config = composed("train")
    for group in ("optimizer", "sampler", "trainer", "head", "loss", "data", "split"):
        for name in config[group]:
            assert (
                str(name).startswith("_")
                or name in ("name", "task", "plugins")
                or f"{group}.{name}" in {".".join(each.split(".")[:2]) for each in named}
            ), f"{group}.{name}"
    assert "| `sampler.batch_size` | `48` |" in text and "| **`loss=infonce`** (default) |" in text


def test_options_of_a_yaml(tmp_path):
    file = tmp_path / "some.yaml"
    file.write_text(
        "# Something. Some more.\n_target_: a.B\nlr: 0.1 # how fast\nnode: # holds two\n  x: [1, 2]\n"
        "  y: null # or 3\nlater: 1\n"
    )
    assert [tuple(vars(each).values()) for each in options.options(file, "g.")] == [
        ("g.lr", "0.1", "how fast"),
        ("g.node", None, "holds two"),
        ("g.node.x", "[1, 2]", ""),
        ("g.node.y", "null", "or 3"),
        ("g.later", "1", ""),
    ]
    assert options.description(file) == "Something."


@pytest.mark.parametrize("page", ALL)
def test_a_page_is_short_and_begins_with_what_it_answers(page):
    text = ALL[page].read_text(encoding="utf-8")
    lines = text.count("\n")
    if page == "README.md":
        words = [word for word in text.split() if re.search(r"\w", word)]
        assert lines <= README_LINES and len(words) <= README_WORDS
    elif page in RUN:
        assert lines <= MAX_LINES
        if page != "CONTRIBUTING.md":
            about = re.sub(r"<!--.*?-->", "", text).partition("\n\n")[2].partition("\n\n")[0]
            assert "?" in about, about
    assert not re.search(r"\bthe brief\b", text)


def is_swept(word: str) -> bool:
    return "," in word and not word.startswith(("query=", "where="))


@pytest.mark.integration
@pytest.mark.parametrize("line", STEPS)
def test_the_words_of_a_command_are_known_and_its_values_hold(line):
    """Of a sweep, the first value of each option."""
    step = re.search(r"-m style_match\.(\w+)", line).group(1)
    words = [word for word in shlex.split(line.partition(f"style_match.{step}")[2]) if word != "-m"]
    words = [re.sub(r"=([^\[,]+),.*", r"=\1", word) if is_swept(word) else word for word in words]
    words = [path_as_value(word) for word in words if not word.startswith("hydra")]
    config = composed(step, *words)
    assert schema.faults(config, config, step=step) == []


def test_pages_have_commands_and_what_is_handled_apart_occurs_in_them():
    assert len(LINES) > 30 and set(OTHERS) <= set(LINES)


@pytest.mark.parametrize("page", ALL)
def test_a_make_target_that_is_named_exists(page):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    text = ALL[page].read_text(encoding="utf-8")
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.M)) <= targets


@pytest.mark.parametrize("page", ALL)
def test_links_and_paths_lead_to_files(page):
    text = ALL[page].read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    for link in links:
        path, _, anchor = link.partition("#")
        target = (ALL[page].parent / path).resolve() if path else ALL[page]
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), link
    roots = r"conf|style_match|tests|experiments"
    named = [path for path in re.findall(rf"`((?:{roots})/[\w./]+)`", text) if "NAME" not in path]
    assert not [path for path in named if not (ROOT / path).exists()]


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    heads = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}
