"""The main job through its commands: what it leaves behind, that it repeats, that it goes on after a kill."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

pytestmark = pytest.mark.slow

SMALL = ("data.num_couples=80", "trainer.max_epochs=4", "sampler.batch_size=16", "head.hidden_dim=32", "head.dim=16")


@pytest.fixture(scope="module")
def first(step, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "first"
    step("train", *SMALL, f"hydra.run.dir={folder}")
    return folder


def metrics(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text())


def test_a_run_leaves_what_the_readme_says(first: Path):
    names = {path.name for path in first.iterdir()}
    assert names >= {
        "config.yaml",
        "provenance.json",
        "metrics.json",
        "ranks.parquet",
        "embeddings.safetensors",
        "checkpoints",
        "tsne.png",
        "report.html",
        "rejected.csv",
        "csv",
    }
    found = metrics(first)
    assert set(found) == {"chance", "frozen", "trained", "val"}
    gallery = found["trained"]["gallery"]
    assert gallery == 12 and found["trained"]["queries"] == 24
    assert found["chance"]["recall@5"]["value"] == pytest.approx(5 / gallery)
    assert found["trained"]["dropped_ks"] == [20, 30, 50]
    low, high = found["trained"]["mrr"]["ci95"]
    assert low < found["trained"]["mrr"]["value"] < high
    provenance = json.loads((first / "provenance.json").read_text())
    assert provenance["synthetic"] and provenance["data"]["items"] == {"train": 56, "val": 12, "test": 12}
    assert len(provenance["features"]["key"]) == 64 and provenance["versions"]["torch"] == torch.__version__


def test_the_written_embeddings_give_the_written_ranks(first: Path):
    tensors = load_file(first / "embeddings.safetensors")
    with safe_open(first / "embeddings.safetensors", "pt") as file:
        ids = {name: json.loads(text) for name, text in file.metadata().items()}
    assert torch.allclose(tensors["left"].norm(dim=1), torch.ones(12))
    similarity = tensors["left"].double() @ tensors["right"].double().T
    rank = (similarity >= similarity.diag()[:, None] - 1e-12).sum(1)
    rows = [row for row in pq.read_table(first / "ranks.parquet").to_pylist() if row["model"] == "trained"]
    written = {row["query"]: row["rank"] for row in rows if row["direction"] == "left_to_right"}
    assert [written[profile_id] for profile_id in ids["left_ids"]] == rank.tolist()


def test_the_same_command_gives_the_same_bits(first: Path, step, tmp_path: Path):
    step("train", *SMALL, f"hydra.run.dir={tmp_path / 'again'}")
    assert metrics(tmp_path / "again") == metrics(first)
    one, other = (load_file(folder / "embeddings.safetensors") for folder in (first, tmp_path / "again"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    step("train", *SMALL, "seed=1", f"hydra.run.dir={tmp_path / 'seed1'}")
    assert metrics(tmp_path / "seed1")["frozen"] == metrics(first)["frozen"]  # the same test split
    assert metrics(tmp_path / "seed1")["trained"] != metrics(first)["trained"]


def test_a_killed_run_goes_on_to_the_same_result(first: Path, step, tmp_path: Path, cache: Path):
    folder = tmp_path / "killed"
    command = [sys.executable, "-m", "style_match.train", *SMALL, f"hydra.run.dir={folder}"]
    process = subprocess.Popen(command, env={**os.environ, "STYLE_MATCH_CACHE": str(cache)}, stderr=subprocess.DEVNULL)
    while not (folder / "checkpoints" / "last.ckpt").exists():
        assert process.poll() is None, "ended before its first checkpoint"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    step("train", f"run={folder}", "ckpt_path=last")
    assert metrics(folder) == metrics(first)
    # a finished one goes on to nothing else
    step("train", f"run={folder}", "ckpt_path=last")
    assert metrics(folder) == metrics(first)


BROKEN_LOGGER = """
from style_match.logger.csv import CSV

class Broken(CSV):
    def log_outcome(self, outcome):
        raise KeyboardInterrupt
"""


def test_a_run_is_whole_only_when_the_loggers_have_its_results(first: Path, step, tmp_path: Path):
    """Stopped while it tells a logger what it ends with, a run goes on, and tells it."""
    (tmp_path / "broken_logger.py").write_text(BROKEN_LOGGER)
    folder, broken = tmp_path / "run", "logger.csv._target_=broken_logger.Broken"
    path = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
    step("train", *SMALL, broken, f"hydra.run.dir={folder}", code=130, PYTHONPATH=path)
    assert (folder / "report.html").exists() and not (folder / "metrics.json").exists()
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("broken_logger.Broken", "style_match.logger.csv.CSV"))
    step("train", f"run={folder}", "ckpt_path=last")
    assert metrics(folder) == metrics(first)
    assert "test/trained/mrr" in (folder / "csv" / "version_1" / "metrics.csv").read_text()


def test_a_run_goes_on_as_it_began_or_not_at_all(first: Path, step, tmp_path: Path):
    moved = shutil.copytree(first, tmp_path / "moved")
    changed = step("train", f"run={moved}", "ckpt_path=last", "loss.temperature=0.3", code=2)
    assert "another loss" in changed.stderr
    assert "add ckpt_path=last" in step("train", f"run={moved}", code=2).stderr
    step("train", f"run={moved}", "ckpt_path=last")
    assert metrics(moved) == metrics(first)
    (moved / "checkpoints" / "last.ckpt").unlink()
    assert "no checkpoint yet" in step("train", f"run={moved}", "ckpt_path=last", code=2).stderr


def test_features_computed_in_the_step_train_alike(first: Path, step, tmp_path: Path):
    step("train", *SMALL, "encode=online", "trainer.max_epochs=1", f"hydra.run.dir={tmp_path / 'online'}")
    step("train", *SMALL, "trainer.max_epochs=1", f"hydra.run.dir={tmp_path / 'cached'}")
    one, other = (load_file(tmp_path / name / "embeddings.safetensors") for name in ("online", "cached"))
    assert torch.allclose(one["left"], other["left"], atol=1e-4)


def test_evaluate_repeats_a_run_and_takes_other_data(first: Path, step, tmp_path: Path):
    step("evaluate", f"run={first}", f"hydra.run.dir={tmp_path / 'same'}")
    assert metrics(tmp_path / "same") == metrics(first)
    step("evaluate", "data.num_couples=80", "pooling=eos", f"hydra.run.dir={tmp_path / 'frozen'}")
    assert set(metrics(tmp_path / "frozen")) == {"chance", "frozen", "val"}


def test_styles_and_the_question_whether_style_predicts_couples(step, tmp_path: Path):
    small = ("data.num_photos=150", "trainer.max_epochs=3", "sampler.num_samples=8", "head.hidden_dim=32")
    step("train", "data=demo_styles", *small, f"hydra.run.dir={tmp_path / 'style'}")
    found = metrics(tmp_path / "style")
    assert 0 < found["trained"]["precision@5"]["value"] <= found["trained"]["recall@5"]["value"] <= 1
    with safe_open(tmp_path / "style" / "embeddings.safetensors", "pt") as file:
        assert set(file.metadata()) == {"ids", "labels"}
    asked = ("data=demo_couples", "data.num_couples=80")
    done = step("evaluate", f"run={tmp_path / 'style'}", *asked, f"hydra.run.dir={tmp_path / 'asked'}")
    assert "MRR minus chance" in done.stdout


def test_a_sweep_names_its_failing_cells_and_runs_the_others(step, tmp_path: Path):
    words = (*SMALL, "sampler.batch_size=16,1000", f"hydra.sweep.dir={tmp_path / 'sweep'}")
    done = step("train", "-m", *words, code=2)
    assert (tmp_path / "sweep" / "sampler.batch_size=16" / "metrics.json").exists()
    assert "1 cell of the sweep failed" in done.stderr and "1000" in done.stderr


def test_mistakes_are_answered_before_anything_is_computed(step, tmp_path: Path):
    data = own_photos(tmp_path / "data", num_couples=30)
    words = ["data=couples", f"data.root={data}"]
    too_few = step("train", *words, "sampler.batch_size=64", code=2)
    too_deep = step("train", *words, "evaluation.ks=[50]", code=2)
    assert "sampler.batch_size" in too_few.stderr and "evaluation.ks" in too_deep.stderr
    wide = ("sampler.batch_size=8", "head=pair_lda", "head.dim=999", f"hydra.run.dir={tmp_path / 'run'}")
    too_wide = step("train", *words, *wide, code=2)
    assert "head.dim=999 must be from 1 to 160" in too_wide.stderr
    assert not (tmp_path / "run" / "config.yaml").exists(), "the folder stays free"
    assert "features:" not in too_few.stderr + too_deep.stderr + too_wide.stderr
    no_folder = step("train", f"hydra.run.dir={data / 'profiles.csv'}", code=2)
    assert "hydra.run.dir" in no_folder.stderr and "Traceback" not in no_folder.stderr


def test_a_second_run_in_one_folder_is_refused(first: Path, step):
    done = step("train", *SMALL, f"hydra.run.dir={first}", code=2)
    assert "already holds a run" in done.stderr and "Traceback" not in done.stderr


def own_photos(root: Path, *, num_couples: int) -> Path:
    """A dataset folder of pictures that have nothing to do with the demo's."""
    rng = np.random.default_rng(0)
    (root / "photos").mkdir(parents=True)
    lines, couples = ["profile_id,image"], ["left_id,right_id"]
    for couple in range(num_couples):
        colour = rng.integers(0, 256, 3)
        for side in "ab":
            noise = rng.integers(-40, 40, (60, 80, 3))
            picture = Image.fromarray(np.clip(colour + noise, 0, 255).astype("uint8"))
            picture.save(root / "photos" / f"{side}{couple}.png")
            lines.append(f"{side}{couple},photos/{side}{couple}.png")
        couples.append(f"a{couple},b{couple}")
    (root / "profiles.csv").write_text("\n".join(lines) + "\n")
    (root / "couples.csv").write_text("\n".join(couples) + "\n")
    return root


def test_a_run_does_not_go_on_with_data_that_was_changed(step, tmp_path: Path):
    data, run = own_photos(tmp_path / "data", num_couples=40), tmp_path / "run"
    words = ["data=couples", f"data.root={data}", "sampler.batch_size=8", "trainer.max_epochs=1"]
    step("train", *words, f"hydra.run.dir={run}")
    with open(data / "couples.csv", "a") as file:
        file.write("a0,b1\n")
    changed = step("train", f"run={run}", "ckpt_path=last", code=2)
    assert f"{data} was changed since the run {run} began" in changed.stderr


def test_a_run_does_not_go_on_from_an_evaluation(step, tmp_path: Path):
    step("evaluate", "data.num_couples=80", f"hydra.run.dir={tmp_path / 'evaluation'}")
    done = step("train", f"run={tmp_path / 'evaluation'}", code=2)
    assert "is no run of style_match.train" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("backbone", ["tiny", "a checkpoint folder"])
def test_photos_of_ones_own(step, tmp_path: Path, backbone: str):
    data = own_photos(tmp_path / "data", num_couples=40)
    words = ["data=couples", f"data.root={data}", "sampler.batch_size=8", "trainer.max_epochs=3"]
    if backbone != "tiny":
        maker = Path(__file__).parents[1] / "backbone" / "random_checkpoint.py"
        subprocess.run([sys.executable, maker, tmp_path / "checkpoint"], check=True, capture_output=True)
        words.append(f"backbone.path={tmp_path / 'checkpoint'}")
    done = step("train", *words, f"hydra.run.dir={tmp_path / 'run'}")
    assert "trained" in metrics(tmp_path / "run") and "synthetic" not in done.stdout
    assert "0 of 80 from the store" in done.stderr
    assert "80 of 80 from the store" in step("train", *words, f"hydra.run.dir={tmp_path / 'warm'}").stderr


def test_a_bad_photo_stops_the_run_or_is_left_out_by_name(step, tmp_path: Path):
    data = own_photos(tmp_path / "data", num_couples=40)
    (data / "photos" / "a3.png").write_text("no picture")
    words = ["data=couples", f"data.root={data}", "sampler.batch_size=8", "trainer.max_epochs=1"]
    done = step("train", *words, code=2)
    assert "a3.png" in done.stderr and "data.on_bad_image=exclude" in done.stderr
    step("train", *words, "data.on_bad_image=exclude", f"hydra.run.dir={tmp_path / 'run'}")
    rejected = (tmp_path / "run" / "rejected.csv").read_text()
    assert "profile,a3," in rejected and rejected.count("\n") == 3
