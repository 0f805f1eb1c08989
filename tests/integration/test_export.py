"""From a run to its matcher folder: the same embeddings, a card, and the runs that cannot be exported."""

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors import safe_open

from style_match import StyleMatcher
from tests.commands import HEAVY, QUICK, unimportable
from tests.serving.web.people import data_folder

COUPLES = ("data.num_couples=40", *QUICK)
TRAINED = ("sampler.batch_size=8", "trainer.max_epochs=1", *COUPLES)
RUNS = {
    "frozen": ("evaluate", *COUPLES),
    "combined": ("train", "recipe=combined", *TRAINED),  # both poolings, an earlier layer, a closed form
    "metadata": ("train", "prompt=image_metadata", *TRAINED),
    "combined_metadata": ("train", "recipe=combined", "prompt=image_metadata", *TRAINED),
    "cca": ("train", "recipe=cca", "head.dim=8", *TRAINED),  # a closed form that tells the sides apart
    "two_heads": ("train", "head=two_heads", *TRAINED),
    "ensemble": ("train", "head=ensemble", "head.num=2", *TRAINED),
}
REPEATED = ("combined", "metadata", "two_heads", "ensemble")  # the others take their code paths


@pytest.fixture(scope="module")
def exported(once, run_step, couples_run, matcher_folder, request) -> Callable[[str], tuple[Path, Path]]:
    """`exported("mlp")` is (run folder, matcher folder); do not write into them."""

    def make(name: str) -> tuple[Path, Path]:
        if name == "mlp":
            return couples_run, matcher_folder
        if name == "styles":
            run = request.getfixturevalue("styles_run")
        else:
            step, *words = RUNS[name]
            run = once(f"{name}_run", lambda folder: run_step(step, *words, f"hydra.run.dir={folder}"))
        return run, once(f"{name}_matcher", lambda folder: run_step("export", f"run={run}", f"out={folder}"))

    return make


def stored(run: Path) -> dict[str, tuple[list[str], np.ndarray]]:
    """Side -> ids and embeddings that the run left."""
    with safe_open(run / "embeddings.safetensors", "np") as file:
        header = file.metadata()
        return {
            name: (json.loads(header["ids" if name == "embeddings" else f"{name}_ids"]), file.get_tensor(name))
            for name in file.keys()  # noqa: SIM118
        }


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["mlp", "styles", *(pytest.param(each, marks=[pytest.mark.thorough] * (each in REPEATED)) for each in RUNS)],
)
def test_a_matcher_gives_the_embeddings_of_its_run(exported, name, capsys):
    run, folder = exported(name)
    matcher = StyleMatcher.from_pretrained(folder)
    found = matcher.embed_folder()
    assert "computed" not in capsys.readouterr().err, "every feature is in the store of the run"
    metadata = {}
    if name.endswith("metadata"):
        root = Path(found.photos[0][0]).parents[1]
        lines = map(json.loads, (root / "metadata.jsonl").read_text(encoding="utf-8").splitlines())
        metadata = {str(root / line.pop("image")): line for line in lines}
    worst = 0.0
    for side, (ids, wanted) in stored(run).items():
        rows = [found.row_of[one] for one in ids]
        assert np.abs(found.embeddings[rows] - wanted).max() <= 1e-5
        files = [found.photos[row][0] for row in rows]
        options = {"side": {"left": "female", "right": "male"}[side]} if matcher.folder.tells_sides else {}
        direct = matcher.encode(files, [metadata[file] for file in files] if metadata else None, **options)
        worst = max(worst, float(np.abs(direct - wanted).max()))
    with capsys.disabled():
        print(f" {name}: {worst:.1e}", end="")
    assert worst <= 1e-5
    assert matcher.folder.tells_sides == (name in ("two_heads", "cca"))


def test_the_same_run_is_exported_to_the_same_bytes_and_nothing_else_is_overwritten(
    couples_run, matcher_folder, styles_run, run_step, tmp_path
):
    again = tmp_path / "again"
    shutil.copytree(matcher_folder, again)
    for path in again.iterdir():
        os.utime(path, (0, 0))
    run_step("export", f"run={couples_run}", f"out={again}")
    assert contents(again) == contents(matcher_folder)
    assert all(path.stat().st_mtime > 0 for path in again.iterdir()), "every file was written again"
    with unimportable(*HEAVY):
        reported = run_step("export", f"run={styles_run}", f"out={again}", code=2).stderr
    assert "holds the matcher of another run" in reported
    assert contents(again) == contents(matcher_folder)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    with unimportable(*HEAVY):
        reported = run_step("export", f"run={couples_run}", f"out={tmp_path / 'full'}", code=2).stderr
    assert "is not empty and holds no matcher. Set another out" in reported


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_card_names_data_figures_and_limits(couples_run, matcher_folder):
    card = (matcher_folder / "README.md").read_text(encoding="utf-8")
    header = yaml.safe_load(card.split("---\n")[1])
    assert header["library_name"] == "style_match" and "synthetic-data" in header["tags"]
    result = header["model-index"][0]["results"][0]
    metrics = json.loads((couples_run / "metrics.json").read_text())["trained"]
    reported = {each["type"]: each for each in result["metrics"]}
    assert reported["mrr"]["value"] == pytest.approx(metrics["mrr"]["value"], abs=1e-6)
    assert reported["mrr"]["args"]["ci95"] == pytest.approx(metrics["mrr"]["ci95"], abs=1e-6)
    for words in ("**Synthetic data.**", "| chance |", "| trained |", "By gender of the query's profile", "not shown"):
        assert words in card
    for title in ("## Intended use", "## Limits", "## Privacy", "seen.txt"):
        assert title in card
    assert not any(path.suffix in (".ckpt", ".pt", ".pkl", ".bin") for path in matcher_folder.iterdir())
    about = (matcher_folder / "matcher.json").read_text() + card
    assert str(couples_run.parent) not in about, "no path of this machine"
    ids = [one for ids, _ in stored(couples_run).values() for one in ids]
    assert not any(one in about for one in ids)


@pytest.mark.slow
def test_only_a_finished_run_is_exported(couples_run, run_step, tmp_path):
    cell = tmp_path / "cell=1"
    shutil.copytree(couples_run, cell)

    def refuses(message: str, *words: str) -> None:
        reported = run_step("export", *words, code=2).stderr
        assert re.search(message, reported) and "Traceback" not in reported, reported

    refuses("card.by=agee: .* has no such column; it has gender, user_id", f"run={cell}", "card.by=agee")
    refuses("card.bands needs a column: set card.by=COLUMN.", f"run={cell}", "card.bands=[18,25]")
    run_step("evaluate", f"run={couples_run}", *QUICK, f"hydra.run.dir={tmp_path / 'scored'}")
    with unimportable(*HEAVY):
        refuses("run is required. Set run=FOLDER.")
        refuses("is a folder of 2 runs. Choose one of them", f"run={tmp_path}")
        refuses("is a file. Set out to a folder", f"run={cell}", f"out={couples_run / 'config.yaml'}")
        refuses("Cannot write out=", f"run={cell}", f"out={couples_run / 'config.yaml' / 'matcher'}")
        scored = re.escape(f"has no trained head. It scored run={couples_run}. Export that run")
        refuses(scored, f"run={tmp_path / 'scored'}")
        (cell / "provenance.json").write_text('{"data": ')
        refuses("provenance.json is damaged", f"run={cell}")
        (cell / "metrics.json").unlink()
        refuses("is not finished: it has no metrics.json", f"run={cell}")


@pytest.mark.slow
def test_a_run_whose_data_was_changed_since_is_not_exported(couples_run, run_step, tmp_path):
    people, run, copy = tmp_path / "people", tmp_path / "run", tmp_path / "copy"
    shutil.copytree(data_folder(couples_run), people, ignore=shutil.ignore_patterns("splits"))
    run_step("train", "data=couples", f"data.root={people}", *TRAINED[:2], *QUICK, f"hydra.run.dir={run}")
    shutil.copytree(people, copy)
    table = people / "couples.csv"
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:-1]))
    with unimportable(*HEAVY):
        reported = run_step("export", f"run={run}", code=2).stderr
    assert f"{people} changed since run={run}" in reported and "data.root=FOLDER" in reported
    run_step("export", f"run={run}", f"data.root={copy}", f"out={tmp_path / 'matcher'}")
    (split,) = (copy / "splits").glob("*.csv")
    lines = split.read_text().splitlines(keepends=True)
    test = next(place for place, line in enumerate(lines) if line.rstrip().endswith(",test"))
    lines[test] = lines[test].replace(",test", ",train")
    split.write_text("".join(lines))
    reported = run_step("export", f"run={run}", f"data.root={copy}", f"out={tmp_path / 'matcher'}", code=2).stderr
    assert f"{split} no longer divides {copy} as when run={run}" in reported


def test_the_backbone_alone_answers_texts_by_both_paths(exported):
    about = json.loads((exported("frozen")[1] / "matcher.json").read_text())
    assert about["text"]["head"]["kind"] == "fitted" and about["no_text"] is None
    found = about["text"]["measured"]["mrr"]["fitted"]
    assert about["text"]["path"] == "both" or max(found.values()) > found["both"] + 0.02
