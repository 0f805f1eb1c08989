"""The pages of conf: README.md and those of `PAGES`, from the comments of the YAML files.

A line `name: value # text` is an option with its default and meaning. The comment at the top of a file describes the
choice (`GROUP=FILE`) or the step; lines in it that are commands are left out.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

CONF = Path(__file__).resolve().parents[2] / "conf"
STEPS = ("label", "prepare", "embed", "train", "evaluate", "report", "export", "recommend", "search", "app", "forget")
LINE = re.compile(r"^( *)([A-Za-z_]\w*):(?: +(.*?))?(?: +# +(.*))?$")
NOT_OPTIONS = ("defaults", "hydra", "models", "plugins")
# groups whose files are a single block of settings: one line a choice
CHOICES_ONLY = ("experiment", "recipe", "row", "debug", "schema", "table", "pooling", "hydra/output")


@dataclass(frozen=True)
class Option:
    """`default` is None for a node that holds other options."""

    name: str
    default: str | None
    meaning: str


@dataclass(frozen=True)
class Choice:
    """A file of a group, with the options that it adds."""

    group: str
    name: str
    meaning: str
    options: tuple[Option, ...]


def options(file: Path, prefix: str = "") -> Iterator[Option]:
    """Yield the options of a YAML file, in its order."""
    parents: list[tuple[int, str]] = []
    skipped: int | None = None
    for line in file.read_text(encoding="utf-8").splitlines():
        found = LINE.match(line)
        if not found:
            continue
        indent, key, value, comment = len(found[1]), found[2], found[3], found[4] or ""
        if skipped is not None and indent > skipped:
            continue
        skipped = None
        parents = [parent for parent in parents if parent[0] < indent]
        if key in NOT_OPTIONS or value in ("|-", "|"):
            skipped = indent
            continue
        if value and value.startswith("#"):
            value, comment = None, value[1:].strip()
        name = prefix + ".".join([*(parent for _, parent in parents), key])
        if not value:
            parents.append((indent, key))
            if comment:
                yield Option(name, None, comment)
        elif not key.startswith("_") and not (key in ("name", "task") and file.parent != CONF):
            yield Option(name, value, comment)


def description(file: Path) -> str:
    """Return the comment at the top of a YAML file as one line, without package lines and commands."""
    lines = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        if line.startswith("# @package") or line.startswith("#   python"):
            continue
        lines.append(line[1:].strip())
    text = " ".join(line for line in lines if line)
    text = re.sub(r"^python -m style_match\.\w+: ", "", text)
    return re.sub(r"[;,] see style_match/\S+\.$", ".", _first_sentence(text))


def _first_sentence(text: str) -> str:
    found = re.match(r"(.+?[.?])(?= [A-Z(`]|$)", text)
    return found[1] if found else text.rstrip(":")


def choices(group: str) -> list[Choice]:
    """Return the files of a group, the default first; an option is left out where it was last listed like that.

    An option without a comment has the meaning that another file of the group gives it.
    """
    files = sorted((CONF / group).glob("*.yaml"), key=lambda file: (file.stem not in default_choices(group), file.stem))
    listed = {file: [] if group in CHOICES_ONLY else list(options(file, f"{group}.")) for file in files}
    explained = sorted(files, key=lambda file: -sum(bool(each.meaning) for each in listed[file]))
    meanings: dict[str, str] = {}
    for each in (each for file in explained for each in listed[file] if each.meaning):
        meanings.setdefault(each.name, each.meaning)
    found, last = [], {}
    for file in files:
        new = []
        for each in listed[file]:
            shown = Option(each.name, each.default, each.meaning or meanings.get(each.name, ""))
            hidden = group == "callbacks" and each.default is not None
            if not hidden and last.get(each.name) != shown:
                new.append(shown)
                last[each.name] = shown
        found.append(Choice(group, file.stem, description(file), tuple(new)))
    return found


def default_choices(group: str) -> set[str]:
    """Return the choices that some step takes when none is named."""
    texts = [(CONF / f"{step}.yaml").read_text(encoding="utf-8").partition("defaults:\n")[2] for step in STEPS]
    return {name for text in texts for name in re.findall(rf"^  - {group}: (\w+)", text.partition("\n\n")[0], re.M)}


def group_rows(group: str) -> list[str]:
    """Return the lines of a group's table: each choice, and below it the options that it adds."""
    lines, found = [], choices(group)
    for choice in found:
        if len(found) > 1:
            used = " (default)" if choice.name in default_choices(group) else ""
            lines.append(f"| **`{group}={choice.name}`**{used} | | {_cell(choice.meaning)} |")
        lines += map(_row, choice.options)
    return lines


def step_rows(step: str) -> list[str]:
    """Return the lines of the options that only this step has."""
    return [_row(each) for each in options(CONF / f"{step}.yaml")]


def _row(option: Option) -> str:
    default = "" if option.default is None else f"`{_cell(option.default)}`"
    return f"| `{option.name}` | {default} | {_cell(option.meaning)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def groups_of(step: str) -> list[str]:
    """Return the groups that a step composes."""
    text = (CONF / f"{step}.yaml").read_text(encoding="utf-8").partition("defaults:\n")[2].partition("\n\n")[0]
    return re.findall(r"^  - (\w+): ", text, re.M)


def page(name: str) -> str:
    """Return the text of a page."""
    title, about, steps, groups = PAGES[name]
    parts = [NOTE, f"# {title}\n", about]
    if name == "README.md":
        parts.append(_steps_table())
    for step in steps:
        parts.append(f"## `style_match.{step}`\n\n" + _table(step_rows(step)))
    for group in groups:
        few = choices(group)
        one = f"{few[0].meaning}\n\n" if len(few) == 1 and few[0].meaning else ""
        parts.append(f"## `{group}`\n\n{one}" + _table(group_rows(group)))
    return "\n".join(parts)


def _table(rows: Sequence[str]) -> str:
    return "\n".join(["| option | default | meaning |", "|---|---|---|", *rows]) + "\n"


def _steps_table() -> str:
    where = {group: name for name, (_, _, _, groups) in PAGES.items() for group in groups}
    rows = []
    for step in STEPS:
        page_of = next(name for name, (_, _, steps, _) in PAGES.items() if step in steps)
        links = [f"[{group}]({where[group]}#{group})" for group in groups_of(step)]
        rows.append(f"| [{step}]({page_of}#style_match{step}) | {', '.join(links)} |")
    return "\n".join(["| step | groups |", "|---|---|", *rows]) + "\n"


NOTE = "<!-- written from the comments of the YAML files: change those, then run make docs -->"
# page -> title, first paragraph, steps, groups
PAGES: dict[str, tuple[str, str, tuple[str, ...], tuple[str, ...]]] = {
    "README.md": (
        "Options",
        """Which options are there, what are their defaults, and which choices does a group have? This page lists the
options of training; [MODELS.md](MODELS.md) lists backbones, prompts, heads and recipes, [DATA.md](DATA.md) labeling,
preparation and balancing, [STEPS.md](STEPS.md) evaluation, reports and serving.

A group is a folder and a choice is a file in it: `loss=triplet` reads `conf/loss/triplet.yaml`, and `loss.margin=0.3`
changes one number of it. `???` marks an option without a default. `python -m style_match.train --cfg job` prints the
composed configuration, and `--help` lists the groups. Add YAMLs of your own with `--config-dir FOLDER`.
""",
        ("train",),
        ("data", "sampler", "loss", "optimizer", "scheduler", "trainer", "callbacks", "logger"),
    ),
    "MODELS.md": (
        "Options of backbones, prompts, heads and recipes",
        "Which models, poolings, heads, recipes and experiments are there, and which numbers do they have?\n",
        (),
        ("backbone", "prompt", "pooling", "features", "head", "text", "recipe", "row", "experiment", "debug"),
    ),
    "DATA.md": (
        "Options of labeling, preparation and balancing",
        "Which options have the steps that make, embed and clean a dataset folder, and the balancing of classes?\n",
        ("label", "prepare", "embed", "forget"),
        ("labeler", "schema", "balance"),
    ),
    "STEPS.md": (
        "Options of evaluation, reports and serving",
        "Which options have the steps that come after training?\n",
        ("evaluate", "report", "export", "recommend", "search", "app"),
        ("evaluation", "picture", "table", "index"),
    ),
}
