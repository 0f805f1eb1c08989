"""`python -m style_match` lists the steps; `python -m style_match STEP ...`, or `style-match STEP ...`, runs one."""

import ast
import os
import runpy
import sys
from pathlib import Path

from style_match import __version__
from style_match.cli.words import nearest

# in the order in which the data passes through them
STEPS = (
    "label",
    "prepare",
    "embed",
    "train",
    "evaluate",
    "report",
    "export",
    "recommend",
    "search",
    "app",
    "forget",
)


def steps() -> dict[str, str]:
    """The steps that there are, each with the first line of what its module says of itself (read, not imported)."""
    here = Path(__file__).parent
    files = {step: here / f"{step}.py" for step in STEPS}
    return {step: _first_line(file) for step, file in files.items() if file.is_file()}


def main() -> None:
    """Entry of the console script too."""
    there = steps()
    step = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if step in ("-sc", "--shell-completion"):  # of the line that is typed in the shell
        typed = [word for word in os.environ.get("COMP_LINE", "").split() if word in there]
        sys.argv.insert(1, step := (typed or ["train"])[0])
    if step in there:
        del sys.argv[1]
        # as `python -m style_match.STEP` would, so that the processes that a run starts are started in that way too
        runpy.run_module(f"style_match.{step}", run_name="__main__", alter_sys=True)
    elif step in ("-h", "--help", "help"):
        width = max(map(len, there), default=0)
        lines = [f"  {name:<{width}}  {what}" for name, what in there.items()]
        print("\n".join(["python -m style_match STEP [--help] [GROUP=CHOICE ...] [OPTION=VALUE ...]", "", *lines]))
    elif step == "--version":
        print(f"style_match {__version__}")
    else:
        meant = nearest(step, list(there))
        guess = f" Did you mean {meant}?" if meant else ""
        print(f"{step}: there is no such step.{guess} Steps: {', '.join(there)}.", file=sys.stderr)
        sys.exit(2)


def _first_line(file: Path) -> str:
    return (ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").partition("\n")[0]


if __name__ == "__main__":
    main()
