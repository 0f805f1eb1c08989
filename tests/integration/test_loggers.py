"""What W&B and TensorBoard get of a run, read back from the files that they write offline."""

import json
import re
import shutil
import socket
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.csv
import pyarrow.parquet
import pytest
import wandb
from PIL import Image, ImageOps

from tests.commands import SMALL_COUPLES
from tests.training.wandb_files import records

KEY = "0123456789abcdef" * 3
MARK = "Schoenhauser Allee 7"  # what a camera may leave in a photo
SIDE_PX, EDGE_PX = 64, 2


def read_back(folder: Path) -> SimpleNamespace:
    """A wandb run folder: its run record, config, history, summary, exit codes, kinds of records, media."""
    found = SimpleNamespace(folder=folder, config={}, history=[], summary={}, exits=[], kinds=set())
    for record in records(next(folder.glob("*.wandb"))):
        kind = record.WhichOneof("record_type")
        found.kinds.add(kind)
        if kind == "run":
            found.run = record.run
        if kind in ("run", "config"):
            update = record.run.config.update if kind == "run" else record.config.update
            found.config |= {item.key: json.loads(item.value_json) for item in update}
        elif kind == "history":
            found.history.append(
                {"/".join(i.nested_key) or i.key: json.loads(i.value_json) for i in record.history.item}
            )
        elif kind == "summary":
            found.summary |= {"/".join(i.nested_key) or i.key: json.loads(i.value_json) for i in record.summary.update}
        elif kind == "exit":
            found.exits.append(record.exit.exit_code)
    files = folder / "files"
    found.tables = {path.name.split("_")[0]: json.loads(path.read_text()) for path in files.rglob("*.table.json")}
    found.images = sorted((files / "media" / "images").rglob("*.*"))
    return found


def offline_runs(folder: Path) -> list[SimpleNamespace]:
    return [read_back(path) for path in sorted((folder / "wandb").glob("offline-run-*"))]


@pytest.fixture(scope="session")
def sweep(once, run_step) -> SimpleNamespace:
    """Two cells; the first fails in training. A key is at hand, and nobody to answer a question."""

    def make(home: Path) -> None:
        wandb.teardown()  # so that this worker's W&B reads the environment again
        words = (*SMALL_COUPLES, "optimizer.lr=1e9,1e-3", "logger=[csv,wandb]", f"hydra.sweep.dir={home / 'lr'}")
        environment = {"WANDB_API_KEY": KEY, "WANDB_MODE": "offline", "HOME": str(home / "home")}
        done = run_step("train", "-m", *words, code=2, **environment)
        wandb.teardown()
        (home / "printed.json").write_text(json.dumps([done.stdout, done.stderr]))

    home = once("wandb_sweep", make)
    folder = home / "lr"
    out, err = json.loads((home / "printed.json").read_text())
    runs = [run for path in folder.glob("*/wandb") for run in offline_runs(path.parent)]
    failed, finished = sorted(runs, key=lambda run: -run.config["optimizer"]["lr"])
    cell = finished.folder.parents[1]
    return SimpleNamespace(folder=folder, failed=failed, finished=finished, cell=cell, out=out, err=err)


def test_the_cells_of_a_sweep_are_runs_of_one_group_and_each_is_finished(sweep):
    assert "lower optimizer.lr, which is 1e+09" in sweep.err
    assert (sweep.failed.exits, sweep.finished.exits) == ([1], [0])
    assert {sweep.failed.run.run_group, sweep.finished.run.run_group} == {"lr"}
    assert sweep.failed.run.run_id != sweep.finished.run.run_id
    assert sweep.finished.run.display_name == f"lr/{sweep.cell.name}" and sweep.finished.run.job_type == "train"
    assert set(sweep.finished.run.tags) == {"demo_couples", "synthetic"}
    assert (sweep.failed.config["optimizer"]["lr"], sweep.finished.config["optimizer"]["lr"]) == (1e9, 1e-3)


def test_config_curves_summary_and_tables_are_those_of_the_run(sweep):
    run, folder = sweep.finished, sweep.cell
    assert run.config["head"]["dim"] == 16 and "${" not in json.dumps(run.config)
    assert set(run.config) >= {"data", "backbone", "loss", "sampler", "seed", "split", "trainer"}
    with open(next(folder.glob("csv/*/metrics.csv"))) as file:
        assert "train/loss" in file.readline()
    curves = [row for row in run.history if "val/mrr" in row]
    assert len([row["train/loss"] for row in run.history if "train/loss" in row]) == len(curves) == 2
    metrics = json.loads((folder / "metrics.json").read_text())
    for model in ("chance", "frozen", "trained"):
        cell = metrics[model]["mrr"]
        assert run.summary[f"test/{model}/mrr"] == pytest.approx(cell["value"])
        assert [model, "mrr", cell["value"], *cell["ci95"]] in run.tables["metrics"]["data"]
    assert run.summary["selected/val/mrr"] == pytest.approx(metrics["val"]["mrr"]["value"])
    ranks = pyarrow.parquet.read_table(folder / "ranks.parquet").to_pylist()
    columns = run.tables["ranks"]["columns"]
    assert [dict(zip(columns, row, strict=True))["rank"] for row in run.tables["ranks"]["data"]] == [
        row["rank"] for row in ranks
    ]


def test_the_picture_is_there_and_no_photo(sweep):
    (picture,) = sweep.finished.images
    assert np.array_equal(Image.open(picture), Image.open(sweep.cell / "tsne.png"))
    for file in (sweep.cell / "wandb").rglob("*"):
        if file.is_file() and file.suffix != ".png":
            content = file.read_bytes()
            assert b"\xff\xd8\xff" not in content and b"\x89PNG" not in content, file


def test_nothing_else_is_written_for_sending(sweep):
    """No command line, console, hardware, package list, host, id of a profile; and the key nowhere at all."""
    assert not sweep.finished.kinds & {"environment", "output", "output_raw", "stats"}
    assert sweep.finished.run.host == ""
    sent = [path for path in sweep.finished.folder.rglob("*") if path.is_file() and "logs" not in path.parts]
    assert {path.suffix for path in sent} == {".wandb", ".json", ".png"}
    ids = pyarrow.parquet.read_table(sweep.cell / "ranks.parquet")["query"].to_pylist()
    content = b"".join(path.read_bytes() for path in sent)
    assert not any(f'"{profile_id}"'.encode() in content for profile_id in ids)
    assert socket.gethostname().encode() not in content or len(socket.gethostname()) < 4
    for path in sweep.folder.parent.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path
    assert KEY not in sweep.out + sweep.err


def test_what_is_printed_is_how_to_send_it(sweep):
    lines = [line for line in sweep.err.splitlines() if line.startswith(("wandb", "W&B"))]
    # wandb's hint about the openai package, which another test of this process has imported
    lines = [line for line in lines if not re.search("openai|weave", line, re.IGNORECASE)]
    assert len(lines) == 2 and all("wandb sync" in line for line in lines)
    assert str(sweep.failed.folder) in lines[0] and str(sweep.finished.folder) in lines[1]
    assert "wandb:" not in sweep.out


@pytest.fixture(scope="session")
def continued(once, run_step, couples_run) -> SimpleNamespace:
    """A run with photos, and the same run continued. The photos carry a place in their EXIF block."""
    home = once("logged_photos", lambda home: train_twice(run_step, couples_run, home))
    return SimpleNamespace(folder=home / "run", data=home / "data", runs=offline_runs(home / "run"))


def train_twice(run_step, couples_run: Path, home: Path) -> None:
    provenance = json.loads((couples_run / "provenance.json").read_text())
    shutil.copytree(provenance["data"]["folder"], home / "data")
    for path in (home / "data").rglob("*.jpg"):
        image = Image.open(path)
        exif = image.getexif()
        exif[0x010E] = MARK
        image.save(path, quality=90, exif=exif)
    assert any(MARK.encode() in path.read_bytes() for path in (home / "data").rglob("*.jpg"))
    kinds = ["wandb", *(["tensorboard"] if find_spec("tensorboard") else [])]
    words = [f"logger=[{','.join(kinds)}]", "logger.log_images=true", "logger.images.num_queries=5"]
    words += [f"logger.images.side_px={SIDE_PX}", "data=couples", f"data.root={home / 'data'}"]
    run_step("train", *SMALL_COUPLES[1:], *words, f"hydra.run.dir={home / 'run'}")
    run_step("train", f"run={home / 'run'}", "ckpt_path=last", "trainer.max_epochs=3")


def test_a_run_that_goes_on_is_the_same_run(continued):
    first, second = continued.runs
    assert first.run.run_id == second.run.run_id and second.run.resume
    assert set(first.run.tags) == {"couples", "synthetic"}
    epochs = [[row["epoch"] for row in run.history if "val/mrr" in row] for run in continued.runs]
    assert epochs == [[0, 1], [2]]


def test_photos_are_logged_small_and_bare_where_they_are_asked_for(continued):
    ranks = pyarrow.parquet.read_table(continued.folder / "ranks.parquet").to_pylist()
    ranks = [row for row in ranks if row["model"] == "trained"]
    profiles = pyarrow.csv.read_csv(continued.data / "profiles.csv").to_pylist()
    image_of = {str(row["profile_id"]): continued.data / row["image"] for row in profiles}
    run = continued.runs[-1]
    (logged,) = [row for row in run.history if "test/neighbours/captions" in row]
    names = logged["test/neighbours/filenames"]
    assert len(names) == 5 and len([path for path in run.images if path.suffix == ".jpg"]) == 5
    width = SIDE_PX + 4 * EDGE_PX
    for name, caption in zip(names, logged["test/neighbours/captions"], strict=True):
        strip = Image.open(run.folder / "files" / name)
        assert not strip.getexif() and strip.size[0] == 7 * width
        row = ranks[int(caption.split(",")[0].removeprefix("query "))]
        assert f"rank {row['rank']} of {row['gallery']}" in caption
        pixels = np.asarray(strip, dtype=float)
        for tile, profile in enumerate((row["query"], row["partner"])):
            photo = ImageOps.contain(Image.open(image_of[profile]).convert("RGB"), (SIDE_PX, SIDE_PX))
            top, left = (width - photo.height) // 2, tile * width + (width - photo.width) // 2
            shown = pixels[top : top + photo.height, left : left + photo.width]
            assert np.abs(shown - np.asarray(photo, dtype=float)).mean() < 12
        framed = [pixels[EDGE_PX + 1 : -40, i * width + EDGE_PX + 1, 0].mean() < 130 for i in range(7)]
        assert framed == [False, True, *(place == row["rank"] for place in range(1, 6))]
    for path in continued.folder.rglob("*"):
        assert not path.is_file() or MARK.encode() not in path.read_bytes(), path


def test_tensorboard_has_curves_results_and_pictures(continued):
    pytest.importorskip("tensorboard", reason="extra style_match[tensorboard]")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    first, second = sorted((continued.folder / "tensorboard").glob("version_*"))
    metrics = json.loads((continued.folder / "metrics.json").read_text())
    for folder, steps in ((first, 2), (second, 1)):
        events = EventAccumulator(str(folder), {"images": 0, "tensors": 0})
        events.Reload()
        tags = events.Tags()
        assert len(events.Scalars("val/mrr")) == len(events.Scalars("train/loss")) == steps
        assert set(tags["images"]) == {"tsne", *(f"test/neighbours/{number:02d}" for number in range(5))}
        assert {"test/frozen/rank", "test/trained/rank"} <= set(tags["histograms"])
        (table,) = events.Tensors("test/metrics/text_summary")
        assert (
            f"| trained | mrr | {metrics['trained']['mrr']['value']:.4f} |"
            in str(table.tensor_proto.string_val[0], "utf-8")
            or folder == first
        )
    trained = metrics["trained"]["mrr"]["value"]
    assert all(each.value == pytest.approx(trained) for each in events.Scalars("test/trained/mrr"))
    assert any(tag.startswith("_hparams_") for tag in events.summary_metadata)
