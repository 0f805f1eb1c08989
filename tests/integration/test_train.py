"""The main step: what it leaves behind, that it repeats, and which runs it goes on with."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from style_match.training.outputs import logged_rows
from tests.backbone import random_checkpoint
from tests.commands import QUICK, SMALL_COUPLES, SMALL_HEAD, Done


def metrics(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text())


def test_a_run_leaves_what_the_readme_says(couples_run: Path):
    names = {path.name for path in couples_run.iterdir()}
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
    found = metrics(couples_run)
    assert set(found) == {"chance", "frozen", "trained", "trained_minus_frozen", "val"}
    gallery = found["trained"]["gallery"]
    assert gallery == 6 and found["trained"]["queries"] == 12
    assert found["chance"]["recall@5"]["value"] == pytest.approx(5 / gallery)
    assert found["trained"]["dropped_ks"] == [10, 20, 30, 50]
    low, high = found["trained"]["mrr"]["ci95"]
    assert low < found["trained"]["mrr"]["value"] < high
    provenance = json.loads((couples_run / "provenance.json").read_text())
    assert provenance["synthetic"] and provenance["data"]["items"] == {"train": 28, "val": 6, "test": 6}
    assert len(provenance["features"]["key"]) == 64 and provenance["versions"]["torch"] == torch.__version__


def test_the_written_embeddings_give_the_written_ranks(couples_run: Path):
    tensors = load_file(couples_run / "embeddings.safetensors")
    with safe_open(couples_run / "embeddings.safetensors", "pt") as file:
        ids = {name: json.loads(text) for name, text in file.metadata().items()}
    assert torch.allclose(tensors["left"].norm(dim=1), torch.ones(6))
    similarity = tensors["left"].double() @ tensors["right"].double().T
    rank = (similarity >= similarity.diag()[:, None] - 1e-12).sum(1)
    rows = [row for row in pq.read_table(couples_run / "ranks.parquet").to_pylist() if row["model"] == "trained"]
    written = {row["query"]: row["rank"] for row in rows if row["direction"] == "left_to_right"}
    assert [written[profile_id] for profile_id in ids["left_ids"]] == rank.tolist()


def test_another_seed_trains_other_weights_on_the_same_test_set(couples_run: Path, run_step, tmp_path: Path):
    run_step("train", *SMALL_COUPLES, "seed=1", f"hydra.run.dir={tmp_path}")
    asked, ids = [], []
    for folder in (couples_run, tmp_path):
        rows = pq.read_table(folder / "ranks.parquet").to_pylist()
        asked.append([(row["model"], row["query"], row["partner"], row["direction"], row["gallery"]) for row in rows])
        with safe_open(folder / "embeddings.safetensors", "pt") as file:
            ids.append(file.metadata())
    assert asked[0] == asked[1] and ids[0] == ids[1]
    assert metrics(tmp_path)["frozen"] == metrics(couples_run)["frozen"]
    assert metrics(tmp_path)["trained"] != metrics(couples_run)["trained"]


def test_a_finished_run_that_was_moved_goes_on_to_the_same_result(couples_run: Path, run_fresh, tmp_path: Path):
    moved = shutil.copytree(couples_run, tmp_path / "moved")
    run_fresh("train", f"run={moved}", "ckpt_path=last")
    assert metrics(moved) == metrics(couples_run)


def test_features_computed_in_the_step_train_alike(couples_run: Path, run_fresh, tmp_path: Path):
    run_fresh("train", *SMALL_COUPLES, "encode=online", f"hydra.run.dir={tmp_path}")
    one, other = (load_file(folder / "embeddings.safetensors") for folder in (tmp_path, couples_run))
    assert torch.allclose(one["left"], other["left"], atol=1e-4)


def test_evaluate_repeats_a_run(couples_run: Path, run_step, tmp_path: Path):
    run_step("evaluate", f"run={couples_run}", f"hydra.run.dir={tmp_path}")
    assert metrics(tmp_path) == metrics(couples_run)


def test_styles_and_the_question_whether_style_predicts_couples(styles_run: Path, run_step, tmp_path: Path):
    found = metrics(styles_run)
    assert 0 < found["trained"]["precision@5"]["value"] <= found["trained"]["recall@5"]["value"] <= 1
    with safe_open(styles_run / "embeddings.safetensors", "pt") as file:
        assert set(file.metadata()) == {"ids", "labels"}
    asked = ("data=demo_couples", "data.num_couples=40", f"hydra.run.dir={tmp_path}")
    assert "MRR minus chance" in run_step("evaluate", f"run={styles_run}", *asked).stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("head=pair_lda", "head.dim=999"), "head.dim=999 must be from 1 to 160"),
        (
            ("trainer.devices=2", "sampler.batch_size=15"),
            "sampler.batch_size=15 counts the couples of all processes and cannot be shared",
        ),
    ],
)
def test_a_mistake_leaves_the_run_folder_free_and_computes_nothing(run_step, tmp_path: Path, words, message):
    small = ("data.num_couples=40", "sampler.batch_size=8", *QUICK)
    done = run_step("train", *small, *words, f"hydra.run.dir={tmp_path / 'run'}", f"features.root={tmp_path}", code=2)
    assert message in done.stderr and "features:" not in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "run" / "config.yaml").exists()


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


@pytest.fixture(scope="module")
def own(run_step, tmp_path_factory) -> tuple[Path, list[str], Done]:
    """A root with `data` and `run`, the words of the run, and what it printed; one photo is none."""
    root = tmp_path_factory.mktemp("own")
    data = own_photos(root / "data", num_couples=20)
    (data / "photos" / "a3.png").write_text("no picture")
    random_checkpoint.make(root / "checkpoint")
    words = ["data=couples", f"data.root={data}", "data.on_bad_image=exclude", f"backbone.path={root / 'checkpoint'}"]
    training = ["sampler.batch_size=8", "trainer.max_epochs=1", *SMALL_HEAD, *QUICK, f"hydra.run.dir={root / 'run'}"]
    return root, words, run_step("train", *words, *training)


def test_photos_of_ones_own_train_through_a_checkpoint_folder(own):
    root, _, done = own
    assert "trained" in metrics(root / "run") and "synthetic" not in done.stdout
    assert "0 of 39 from the store, 39 computed" in done.stderr
    rejected = (root / "run" / "rejected.csv").read_text()
    assert "profile,a3," in rejected and rejected.count("\n") == 3


def test_the_log_has_each_epoch_and_the_messages_of_the_terminal(own):
    root, _, done = own
    log = (root / "run" / "train.log").read_text()
    epoch = r"epoch 1 of 1: train/loss [\d.]+, val/loss [\d.]+, val/mrr [\d.]+, best so far, learning rate 5e-05, "
    assert re.search(epoch, log) and "selected: epoch 1 of 1" in log and "test, trained: MRR " in log
    assert "0 of 39 from the store, 39 computed" in log and log.count("training: 1 epochs") == 1
    assert "epoch 1 of 1" not in done.stderr and done.stderr.count("training: 1 epochs") == 1


def test_features_of_ones_own_photos_are_kept(own, run_fresh):
    _, words, _ = own
    assert "39 of 39 from the store (" in run_fresh("embed", *words).stderr


def test_a_run_does_not_go_on_with_data_that_was_changed(own, run_fresh, tmp_path: Path):
    root, _, _ = own
    with open(root / "data" / "couples.csv", "a") as file:
        file.write("a0,b1\n")
    changed = run_fresh("train", f"run={root / 'run'}", "ckpt_path=last", code=2)
    assert f"{root / 'data'} has changed since the run {root / 'run'} started" in changed.stderr


def test_results_are_logged_at_the_epoch_of_the_selected_checkpoint(couples_run: Path):
    selected = json.loads((couples_run / "provenance.json").read_text())["selected"]["epoch"]
    (row,) = (row for row in logged_rows(couples_run) if row["test/trained/mrr"])
    assert float(row["epoch"]) == selected
