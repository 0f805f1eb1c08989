"""From a run to its matcher folder and to recommendations, through the commands."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from safetensors import safe_open

from style_match import StyleMatcher

pytestmark = pytest.mark.slow

COUPLES = ("data.num_couples=40", "trainer.max_epochs=2", "sampler.batch_size=8", "evaluation.num_resamples=100")
STYLES = ("data=demo_styles", "data.num_photos=80", "loss=infonce", "sampler.num_samples=2", "trainer.max_epochs=2")
RUNS = {
    "mlp": COUPLES,
    "combined": ("recipe=combined", *COUPLES),  # both poolings, an earlier layer, a closed form
    "ensemble": ("head=ensemble", "head.num=2", *COUPLES),
    "two_heads": ("head=two_heads", *COUPLES),
    "cca": ("recipe=cca", "head.dim=8", *COUPLES),
    "metadata": ("prompt=image_metadata", *COUPLES),
    "styles": (*STYLES, "evaluation.num_resamples=100"),
}


@pytest.fixture(scope="module")
def exported(step, tmp_path_factory):
    """`exported("mlp")` is (run folder, matcher folder), made once."""
    root, made = tmp_path_factory.mktemp("exported"), {}

    def make(name: str) -> tuple[Path, Path]:
        if name not in made:
            run = root / name
            if name == "frozen":
                step("evaluate", *(word for word in COUPLES[:1] + COUPLES[3:]), f"hydra.run.dir={run}")
            else:
                step("train", *RUNS[name], f"hydra.run.dir={run}")
            step("export", f"run={run}", f"out={root / 'matchers' / name}")
            made[name] = run, root / "matchers" / name
        return made[name]

    return make


def stored(run: Path) -> dict[str, tuple[list[str], np.ndarray]]:
    """Side -> ids and embeddings that the run left."""
    with safe_open(run / "embeddings.safetensors", "np") as file:
        header = file.metadata()
        return {
            name: (json.loads(header["ids" if name == "embeddings" else f"{name}_ids"]), file.get_tensor(name))
            for name in file.keys()  # noqa: SIM118
        }


@pytest.mark.parametrize("name", [*RUNS, "frozen"])
def test_a_matcher_gives_the_embeddings_of_its_run(exported, name, capsys):
    run, folder = exported(name)
    matcher = StyleMatcher.from_pretrained(folder)
    found = matcher.embed_folder()
    assert "computed" not in capsys.readouterr().err, "every feature is in the store of the run"
    said = {}
    if name == "metadata":
        root = Path(found.photos[0][0]).parents[1]
        lines = map(json.loads, (root / "metadata.jsonl").read_text(encoding="utf-8").splitlines())
        said = {str(root / line.pop("image")): line for line in lines}
    worst = 0.0
    for side, (ids, wanted) in stored(run).items():
        rows = [found.row_of[one] for one in ids]
        assert np.abs(found.embeddings[rows] - wanted).max() <= 1e-5
        files = [found.photos[row][0] for row in rows]
        options = {"side": {"left": "female", "right": "male"}[side]} if matcher.folder.tells_sides else {}
        direct = matcher.encode(files, [said[file] for file in files] if said else None, **options)
        worst = max(worst, float(np.abs(direct - wanted).max()))
    with capsys.disabled():
        print(f" {name}: {worst:.1e}", end="")
    assert worst <= 1e-5
    assert matcher.folder.tells_sides == (name in ("two_heads", "cca"))


def test_the_same_run_is_exported_to_the_same_bytes_and_nothing_else_is_overwritten(exported, step, tmp_path):
    run, folder = exported("mlp")
    step("export", f"run={run}", f"out={tmp_path / 'again'}")
    names = sorted(path.name for path in folder.iterdir())
    assert names == sorted(path.name for path in (tmp_path / "again").iterdir())
    before = {name: (folder / name).read_bytes() for name in names}
    assert {name: (tmp_path / "again" / name).read_bytes() for name in names} == before
    step("export", f"run={run}", f"out={folder}")
    assert {name: (folder / name).read_bytes() for name in names} == before
    other, _ = exported("ensemble")
    said = step("export", f"run={other}", f"out={folder}", code=2).stderr
    assert "holds the matcher of another run" in said
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    said = step("export", f"run={run}", f"out={tmp_path / 'full'}", code=2).stderr
    assert "is not empty and holds no matcher: name another folder" in said


def test_the_card_tells_data_figures_and_limits(exported):
    run, folder = exported("mlp")
    card = (folder / "README.md").read_text(encoding="utf-8")
    header = yaml.safe_load(card.split("---\n")[1])
    assert header["library_name"] == "style_match" and "synthetic-data" in header["tags"]
    result = header["model-index"][0]["results"][0]
    metrics = json.loads((run / "metrics.json").read_text())["trained"]
    told = {each["type"]: each for each in result["metrics"]}
    assert told["mrr"]["value"] == pytest.approx(metrics["mrr"]["value"], abs=1e-6)
    assert told["mrr"]["args"]["ci95"] == pytest.approx(metrics["mrr"]["ci95"], abs=1e-6)
    for words in ("**Synthetic data.**", "| chance |", "| trained |", "By gender of the asking profile", "not shown"):
        assert words in card
    for title in ("## Intended use", "## Limits", "## Privacy", "seen.txt"):
        assert title in card
    assert not any(path.suffix in (".ckpt", ".pt", ".pkl", ".bin") for path in folder.iterdir())
    about = (folder / "matcher.json").read_text() + card
    assert str(run.parent) not in about, "no path of this machine"
    ids = [one for ids, _ in stored(run).values() for one in ids]
    assert not any(one in about for one in ids)


def test_what_is_no_finished_run_is_not_exported(exported, step, tmp_path):
    run, _ = exported("mlp")
    shutil.copytree(run, tmp_path / "cell=1")
    for words, said in (
        ((), "run is needed: write run=FOLDER"),
        ((f"run={tmp_path}",), "is no run but the folder of 1, such as a sweep: name one of them"),
        ((f"run={tmp_path / 'cell=1'}", "card.by=agee"), "card.by=agee: .* has no such column; it has gender, user_id"),
        ((f"run={tmp_path / 'cell=1'}", f"out={run / 'config.yaml'}"), "is a file: name a folder"),
    ):
        told = step("export", *words, code=2).stderr
        assert re.search(said, told), told
    bands = step("export", f"run={run}", "card.bands=[18,25]", code=2).stderr
    assert "card.bands: of which column? Write card.by=COLUMN too." in bands
    (tmp_path / "cell=1" / "provenance.json").write_text('{"data": ')
    told = step("export", f"run={tmp_path / 'cell=1'}", code=2).stderr
    assert "provenance.json is damaged" in told and "Traceback" not in told
    (tmp_path / "cell=1" / "metrics.json").unlink()
    assert "is not finished: it has no metrics.json" in step("export", f"run={tmp_path / 'cell=1'}", code=2).stderr
    step("evaluate", f"run={run}", f"hydra.run.dir={tmp_path / 'scored'}")
    told = step("export", f"run={tmp_path / 'scored'}", code=2).stderr
    assert f"holds no trained head; it scored run={run}: export that one" in told


def test_a_run_whose_data_was_changed_since_is_not_exported(exported, step, tmp_path):
    people, run, copy = tmp_path / "people", tmp_path / "run", tmp_path / "copy"
    found = StyleMatcher.from_pretrained(exported("mlp")[1]).embed_folder()
    shutil.copytree(Path(found.photos[0][0]).parents[1], people, ignore=shutil.ignore_patterns("splits"))
    step("train", "data=couples", f"data.root={people}", *COUPLES[1:], f"hydra.run.dir={run}")
    shutil.copytree(people, copy)
    table = people / "couples.csv"
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:-1]))
    told = step("export", f"run={run}", code=2).stderr
    assert f"{people} was changed since run={run} was made" in told and "data.root=FOLDER" in told
    step("export", f"run={run}", f"data.root={copy}", f"out={tmp_path / 'matcher'}")
    (split,) = (copy / "splits").glob("*.csv")
    lines = split.read_text().splitlines(keepends=True)
    test = next(place for place, line in enumerate(lines) if line.rstrip().endswith(",test"))
    lines[test] = lines[test].replace(",test", ",train")
    split.write_text("".join(lines))
    told = step("export", f"run={run}", f"data.root={copy}", f"out={tmp_path / 'matcher'}", code=2).stderr
    assert f"{split} no longer divides {copy} as it did when run={run}" in told


def test_the_backbone_alone_answers_texts_by_both_paths(exported):
    about = json.loads((exported("frozen")[1] / "matcher.json").read_text())
    assert about["text"]["head"]["kind"] == "fitted" and about["no_text"] is None
    found = about["text"]["measured"]["mrr"]["fitted"]
    assert about["text"]["path"] == "both" or max(found.values()) > found["both"] + 0.02


def test_recommend_prints_and_writes_a_page(exported, step, tmp_path):
    _, folder = exported("mlp")
    out = tmp_path / "out"
    words = (
        f"model={folder}",
        "query=f0003",
        "k=4",
        "where=gender == 'male' and not user_id in ['x, y']",
        f"out={out}",
    )
    done = step("recommend", *words)
    assert "For f0003: 80 profiles, synthetic data" in done.stdout
    rows = [line.split()[:2] for line in done.stdout.splitlines() if line.strip()[:1].isdigit()]
    assert [rank for rank, _ in rows] == ["1", "2", "3", "4"] and all(name[0] == "m" for _, name in rows)
    html = (out / "recommendations.html").read_text(encoding="utf-8")
    assert html.count("data:image/jpeg;base64,") == 5 and "://" not in html
    assert "Synthetic data: drawn figures" in html
    mutual = step("recommend", *words[:3], "mode=mutual", f"out={out}").stdout
    assert "rank back" in mutual
    faiss = step("recommend", *words[:3], "index=faiss", f"out={out}", f"index.root={tmp_path / 'indexes'}").stdout
    assert [line.split()[:2] for line in faiss.splitlines() if line.strip()[:1].isdigit()] == rows


def test_recommend_for_everybody_writes_a_table(exported, step, tmp_path):
    _, folder = exported("mlp")
    words = (f"model={folder}", "query=all", "k=3", "mode=mutual", "exposure_cap=3", f"out={tmp_path}")
    done = step("recommend", *words, "page.num_users=2")
    assert "similar " in done.stdout and "mutual, cap 3" in done.stdout
    table = pq.read_table(tmp_path / "recommendations.parquet").to_pylist()
    told = json.loads((tmp_path / "recommendations.json").read_text())["spread"]["mutual, cap 3"]
    counts = [sum(row["profile"] == name for row in table) for name in {row["profile"] for row in table}]
    assert max(counts) == told["most"] <= 3 and len(table) == told["recommendations"]
    assert told["coverage"] == len(counts) / told["candidates"]
    assert all({row["query"][0], row["profile"][0]} == {"f", "m"} for row in table)
    first = [row["rank"] for row in table if row["query"] == table[0]["query"]]
    assert first == list(range(1, len(first) + 1))


def test_mistakes_are_answered_plainly(exported, step, tmp_path):
    _, folder = exported("mlp")
    model = f"model={folder}"
    for words, said in (
        ((), "model is needed: write model=FOLDER"),
        ((model, "query=f0003", "k=0"), "k=0: Write a whole number of at least 1"),
        ((model, "query=f0003", "k=41"), "there are 40 profiles to recommend; write k=40 at most"),
        ((model, "query=f003"), "there is no such profile among 80, and no such file. Did you mean f0"),
        ((model, "query=f0003", "where=gender = 'male'"), "= is no comparison; write =="),
        ((model, "query=f0003", "where=age < 3"), "there is no column 'age'"),
        ((model, "query=f0003", "mode=mutul"), "mode=mutul: Did you mean mode=mutual"),
        ((model, "query=f0003", "exposure_cap=3"), "exposure_cap=3 is over all users: write query=all too"),
        ((model, f"query={folder / 'matcher.json'}", "side=male"), "matcher.json: is not an image"),
        ((model, "query=f0003", f"data.root={tmp_path / 'gone'}"), "does not exist"),
        ((f"model={tmp_path}", "query=f0003"), "has no matcher.json"),
        ((model, "query=f0003", "backbone.path=/gone"), "backbone.path=/gone: there is no such folder"),
    ):
        told = step("recommend", *words, code=2).stderr
        assert said in told and "Traceback" not in told, told


def test_signs_in_ids_are_shown_as_text(exported, step, tmp_path):
    _, folder = exported("mlp")
    found = StyleMatcher.from_pretrained(folder).embed_folder()
    root = tmp_path / "people"
    root.mkdir()
    rows = ["profile_id,image,gender,note"]
    for number in range(4):
        shutil.copy(found.photos[number][0], root / f"{number}.jpg")
        rows.append(f'"<script>alert({number})</script>[red]",{number}.jpg,{"fm"[number % 2]},<b>한글</b>')
    (root / "profiles.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    words = (f"model={folder}", f"data.root={root}", "query=<script>alert(0)</script>[red]", "k=2", f"out={tmp_path}")
    done = step("recommend", *words, "features.root=" + str(tmp_path / "store"))
    assert "<script>alert(1)</script>[red]" in done.stdout and "synthetic" not in done.stdout
    html = (tmp_path / "recommendations.html").read_text(encoding="utf-8")
    assert "<script" not in html and "&lt;script&gt;alert(1)" in html and "&lt;b&gt;한글" in html
