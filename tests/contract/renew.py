"""Renew what `golden/` holds after a change that is meant: `python -m tests.contract.renew [NAME ...]`.

NAME is `numbers` (or one run of them, such as `triplet_pk`), `layout`, `vectors`, `groups`, `options`, `mistakes`, or
`old`, which makes the stored folders `old_run` and `old_matcher` anew and is for a version that need not open older
ones any more; without a name, all but `old`. Of `mistakes.json` only the texts are written: cases are added by hand.
"""

import json
import os
import re
import shutil
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import torch

from style_match import StyleMatcher
from tests.commands import SMALL_COUPLES, SMALL_STYLES, Done, run_in_process
from tests.contract import observe

NAMES = ("numbers", "layout", "vectors", "groups", "options", "mistakes")
HEAD = ("head.hidden_dim=4", "head.dim=4")
OLD = {
    "mlp": (*observe.SMALL, *HEAD),
    "styles": (*observe.STYLES, "loss=triplet", "sampler=pk", *HEAD),
    "pair_lda": (*observe.SMALL, "recipe=pair_lda", "head.dim=4"),
}
# of each run folder, and of the first; pictures and pages are left out
KEPT = ("config.yaml", "provenance.json", "metrics.json", "embeddings.safetensors", "checkpoints/best.ckpt")
KEPT_ONCE = ("ranks.parquet", "answers.parquet", "tsne.parquet", "rejected.csv", "seen.txt", "checkpoints/last.ckpt")


def write(name: str, content: Any) -> None:
    """What holds nothing but values stands in one line."""
    (observe.HERE / "golden" / f"{name}.json").write_text(dumped(content) + "\n", encoding="utf-8")


def dumped(tree: Any, indent: str = "\n ") -> str:
    below = list(tree.values() if isinstance(tree, dict) else tree) if isinstance(tree, dict | list) else []
    if not any(isinstance(each, dict | list) for each in below):
        return json.dumps(tree, ensure_ascii=False)
    parts = [dumped(each, f"{indent} ") for each in below]
    if isinstance(tree, dict):
        parts = [f"{json.dumps(key, ensure_ascii=False)}: {part}" for key, part in zip(tree, parts, strict=True)]
    start, end = "{}" if isinstance(tree, dict) else "[]"
    return f"{start}{indent}" + f",{indent}".join(parts) + indent[:-1] + end


def run_step(home: Path, step: str, *words: object, code: int = 0) -> Done:
    done = run_in_process(step, list(map(str, words)), cwd=home)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def trained(run: Any, home: Path, name: str, words: tuple[str, ...]) -> Path:
    folder = home / name
    if not folder.exists():
        run("train", *words, f"hydra.run.dir={folder}")
    return folder


def moved(tree: Any, before: str, after: str) -> Any:
    """The same tree with another folder in its texts."""
    if isinstance(tree, dict):
        return type(tree)((moved(name, before, after), moved(below, before, after)) for name, below in tree.items())
    if isinstance(tree, list | tuple):
        return type(tree)(moved(each, before, after) for each in tree)
    return tree.replace(before, after) if isinstance(tree, str) else tree


def renew_old(run: Any, home: Path) -> None:
    for folder in (observe.OLD_RUNS, observe.OLD_MATCHER):
        shutil.rmtree(folder, ignore_errors=True)
    for name, words in OLD.items():
        made = trained(run, home / "old", name, words)
        for kept in (*KEPT, *KEPT_ONCE * (name == "mlp")):
            place = observe.OLD_RUNS / name / kept
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(made / kept, place)
        about = observe.OLD_RUNS / name / "provenance.json"
        text = about.read_text().replace(str(home / "cache"), "CACHE").replace(str(home / "old"), "runs")
        about.write_text(re.sub(r'"system": "[^"]*"', '"system": "Linux"', text))
    last = observe.OLD_RUNS / "mlp" / "checkpoints" / "last.ckpt"
    torch.save(moved(torch.load(last, weights_only=True), str(home / "old"), "runs"), last)
    run("export", f"run={home / 'old' / 'mlp'}", f"out={observe.OLD_MATCHER}")
    for path in [*observe.OLD_RUNS.rglob("*"), *observe.OLD_MATCHER.rglob("*")]:
        assert path.is_dir() or str(home).encode() not in path.read_bytes(), f"{path} names a folder of this machine"
    matcher = StyleMatcher.from_pretrained(observe.OLD_MATCHER)
    photos = observe.photos_of(home / "old" / "mlp")
    write("old", {"vectors": observe.vectors(matcher, photos), "answers": observe.answers(matcher)})


def renew_mistakes(run: Any, home: Path, couples: Path, matcher: Path) -> None:
    cases = observe.golden("mistakes")
    (home / "mistakes" / "empty").mkdir(parents=True)
    copy = shutil.copytree(couples, home / "copy")
    for case in cases:
        case["text"] = observe.mistake(run, case, home / "mistakes", COUPLES=copy, MATCHER=matcher).splitlines()
    write("mistakes", cases)


def main(names: list[str]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        os.environ |= {"STYLE_MATCH_CACHE": str(home / "cache"), "HF_HUB_OFFLINE": "1", "WANDB_MODE": "offline"}
        run = partial(run_step, home)
        couples = partial(trained, run, home, "couples", SMALL_COUPLES)
        others = {**observe.OTHER_RUNS, **observe.THOROUGH_RUNS}
        styles = partial(trained, run, home, "styles", SMALL_STYLES)

        def exported() -> Path:
            if not (home / "matcher").exists():
                run("export", f"run={couples()}", f"out={home / 'matcher'}")
            return home / "matcher"

        for name in names:
            match name:
                case "numbers":
                    runs = {"couples": couples(), "styles": styles()}
                    for other, words in others.items():
                        runs[other] = trained(run, home, other, words)
                    write(name, {each: observe.stored_numbers(each, folder) for each, folder in runs.items()})
                case "layout":
                    found = {
                        each: observe.run_layout(folder())
                        for each, folder in {"couples": couples, "styles": styles}.items()
                    }
                    write(name, {**found, "matcher": observe.matcher_layout(exported())})
                case "vectors":
                    matcher = StyleMatcher.from_pretrained(exported())
                    write(name, observe.vectors(matcher, observe.photos_of(couples())))
                case "groups":
                    write(name, {step: observe.groups(run, step) for step in observe.STEPS})
                case "options":
                    write(name, {step: observe.options(run, step) for step in observe.STEPS})
                case "mistakes":
                    renew_mistakes(run, home, couples(), exported())
                case "old":
                    renew_old(run, home)
                case _ if name in others:
                    found = observe.stored_numbers(name, trained(run, home, name, others[name]))
                    write("numbers", {**observe.golden("numbers"), name: found})
                case _:
                    sys.exit(f"{name} is none of {', '.join(NAMES)}, old")


if __name__ == "__main__":
    main(sys.argv[1:] or list(NAMES))
