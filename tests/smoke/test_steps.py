"""Every step once in a process of its own, as a user types it, and what only a process can show."""

import csv
import filecmp
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from style_match.__main__ import STEPS
from style_match.cli.targets import conf_dir
from style_match.training.outputs import logged_rows
from tests.commands import QUICK, SMALL_COUPLES

PHOTOS = "data.num_couples=40"


def metrics(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text())


def values(tree: dict, path: tuple = ()) -> dict:
    """Every number of metrics.json by its path."""
    found = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            found |= values(value, (*path, name))
        elif isinstance(value, list):
            found |= {(*path, name, i): each for i, each in enumerate(value)}
        elif isinstance(value, float | int):
            found[*path, name] = value
    return found


def curves(folder: Path) -> dict[str, dict[str, float]]:
    """What was logged of each epoch."""
    found: dict[str, dict[str, float]] = {}
    for row in logged_rows(folder):
        if row.get("val/mrr") or row.get("train/loss"):
            found.setdefault(row["epoch"], {}).update({name: float(value) for name, value in row.items() if value})
    return found


def photos_of(run: Path) -> Path:
    """The dataset folder of a run."""
    return Path(json.loads((run / "provenance.json").read_text())["data"]["folder"])


def start(name: str, *words: object, cwd: Path) -> subprocess.Popen[str]:
    """A step that goes on while the test does; Ctrl-C ends it also where these tests run in the background."""
    return subprocess.Popen(
        [sys.executable, "-m", f"style_match.{name}", *map(str, words)],
        cwd=cwd,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def test_the_console_door_lists_every_step():
    done = subprocess.run([sys.executable, "-m", "style_match"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stderr == ""
    assert all(re.search(rf"^  {step} +\S", done.stdout, re.M) for step in STEPS)


@pytest.fixture(scope="module")
def sweep(cache, tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A sweep on two devices, begun at the console door, and what it printed; one of its two jobs fails."""
    folder = tmp_path_factory.mktemp("sweep")
    words = [word for word in SMALL_COUPLES if not word.startswith("sampler.batch_size=")]
    words += ["sampler.batch_size=8,1000", "trainer.devices=2", f"hydra.sweep.dir={folder}"]
    command = [sys.executable, "-m", "style_match", "train", "-m", *words]
    return folder, subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=folder)


@pytest.mark.slow
def test_a_sweep_names_the_job_that_failed_and_finishes_the_other(sweep):
    folder, done = sweep
    assert done.returncode == 2, done.stderr
    assert "1 job of the sweep failed" in done.stderr and "sampler.batch_size=1000" in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.parent.name for path in folder.glob("*/metrics.json")] == ["sampler.batch_size=8"]


def test_two_devices_give_the_run_of_one(sweep, couples_run: Path):
    folder, done = sweep
    two = folder / "sampler.batch_size=8"
    one_value = values(metrics(couples_run))
    assert values(metrics(two)) == pytest.approx(one_value, abs=1e-4) and len(one_value) > 50
    one, other = ({path.name for path in each.iterdir()} for each in (couples_run, two))
    assert one == other
    assert list(curves(two)) == ["0", "1"]
    for epoch, row in curves(couples_run).items():
        assert curves(two)[epoch] == pytest.approx(row, abs=1e-4)
    assert [json.loads((each / "provenance.json").read_text())["devices"] for each in (couples_run, two)] == [1, 2]
    assert done.stderr.count("training: 2 epochs, 6 steps") == 1  # the follower prints nothing
    assert done.stderr.count(", 2 processes") == 1
    log = (two / "train.log").read_text()
    assert [log.count(f"epoch {epoch} of 2: train/loss") for epoch in (1, 2)] == [1, 1], "from the process of rank 0"


@pytest.mark.slow
def test_a_killed_training_goes_on_to_the_same_result(couples_run: Path, run_step, tmp_path: Path):
    process = start("train", *SMALL_COUPLES, f"hydra.run.dir={tmp_path / 'run'}", cwd=tmp_path)
    while not (tmp_path / "run" / "checkpoints" / "last.ckpt").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "run" / "metrics.json").exists()
    run_step("train", f"run={tmp_path / 'run'}", "ckpt_path=last")
    assert metrics(tmp_path / "run") == metrics(couples_run)


@pytest.mark.slow
def test_evaluate(couples_run: Path, run_command, tmp_path: Path):
    run_command("evaluate", PHOTOS, *QUICK, f"hydra.run.dir={tmp_path}")
    assert set(metrics(tmp_path)) == {"chance", "frozen", "val"}
    assert metrics(tmp_path)["frozen"] == metrics(couples_run)["frozen"]


@pytest.mark.slow
def test_embed(couples_run: Path, run_command):
    assert "features: 80 of 80 from the store (" in run_command("embed", PHOTOS).stderr


@pytest.mark.slow
def test_export(couples_run: Path, matcher_folder: Path, run_command, tmp_path: Path):
    run_command("export", f"run={couples_run}", f"out={tmp_path / 'matcher'}")
    names = {path.name for path in matcher_folder.iterdir()}
    assert names == {path.name for path in (tmp_path / "matcher").iterdir()}
    # features of texts that two processes compute at once differ in their last bits, and so do the digests
    names -= {"text.safetensors", "matcher.json"}
    same, *others = filecmp.cmpfiles(matcher_folder, tmp_path / "matcher", names, shallow=False)
    assert same and others == [[], []]
    one, other = (load_file(folder / "text.safetensors") for folder in (matcher_folder, tmp_path / "matcher"))
    assert one.keys() == other.keys()
    assert all(one[name] == pytest.approx(other[name], abs=1e-4) for name in one)


@pytest.mark.slow
def test_recommend(matcher_folder: Path, run_command, tmp_path: Path):
    done = run_command("recommend", f"model={matcher_folder}", "query=f0001", "k=3", f"out={tmp_path}")
    assert len(re.findall(r"^ +[123]  m\d{4} ", done.stdout, re.M)) == 3
    assert (tmp_path / "recommendations.html").stat().st_size > 1000


@pytest.mark.slow
def test_search(matcher_folder: Path, run_command, tmp_path: Path):
    done = run_command("search", f"model={matcher_folder}", "query=a neat dandy look", "k=3", f"out={tmp_path}")
    assert len(re.findall(r"^ +[123]  [fm]\d{4} ", done.stdout, re.M)) == 3
    assert (tmp_path / "recommendations.html").stat().st_size > 1000


def test_report(couples_run: Path, run_command, tmp_path: Path):
    """Of one run, by a table of one's own."""
    (tmp_path / "table").mkdir()
    table = (conf_dir() / "table" / "table1.yaml").read_text()
    changed = table.replace("head.dim: 512", "head.dim: 16").replace(", recall@10, recall@20, recall@30, recall@50", "")
    (tmp_path / "table" / "small.yaml").write_text(changed)
    words = ("--config-dir", tmp_path, "table=small", f"sweep={couples_run}", f"out={tmp_path}", "report.min_seeds=1")
    done = run_command("report", *words)
    assert "Ours" in done.stdout and "synthetic data" in done.stdout
    assert (tmp_path / "report.html").stat().st_size > 1000
    mrr = metrics(couples_run)["trained"]["mrr"]["value"]
    assert f"{100 * mrr:.1f}" in (tmp_path / "table1.md").read_text()


def test_label_prepare_and_forget(couples_run: Path, run_command, tmp_path: Path):
    """The steps before the features, each on what the one before it left."""
    photos, labels, data = photos_of(couples_run), tmp_path / "labels", tmp_path / "data"
    done = run_command("label", f"images={photos / 'images'}", f"out={labels}")
    assert "0 requests sent, 80 answered" in done.stderr
    lines = [json.loads(line) for line in (labels / "metadata.jsonl").read_text().splitlines()]
    assert len(lines) == 80 and all(line["caption"] for line in lines)

    words = (f"metadata={photos / 'metadata.jsonl'}", "couples=" + str(photos / "couples.csv"))
    done = run_command("prepare", f"source={photos}", *words, f"out={data}")
    assert f"python -m style_match.train data=couples data.root={data}" in done.stdout
    assert len(profiles(data)) == 80

    done = run_command("forget", f"data.root={data}", "profile=f0001", f"runs={tmp_path}")
    assert f"written: {data / 'forgotten.json'}" in done.stdout
    assert len(profiles(data)) == 79 and "f0001" not in profiles(data)
    assert not list((data / "images").glob("*f0001*"))


def profiles(data: Path) -> list[str]:
    with open(data / "profiles.csv", newline="") as file:
        return [row["profile_id"] for row in csv.DictReader(file)]


@pytest.mark.slow
def test_app_serves_its_page_until_ctrl_c(matcher_folder: Path, tmp_path: Path):
    pytest.importorskip("uvicorn", reason="the extra app is not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = start("app", f"model={matcher_folder}", f"app.port={port}", cwd=tmp_path)
    try:
        printed = next((line for line in process.stderr if "press Ctrl-C to stop" in line), "")
        assert f"http://127.0.0.1:{port}" in printed
        with urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=30) as answer:
            assert answer.status == 200 and b"<html" in answer.read()
        process.send_signal(signal.SIGINT)
        _, rest = process.communicate(timeout=60)
        assert process.returncode == 0 and "Traceback" not in rest  # to end so is what a server is for
    finally:
        process.kill()
        process.communicate()
    assert os.listdir(tmp_path) == []


def test_ctrl_c_ends_a_step_with_130(couples_run: Path, tmp_path: Path):
    """While it waits for a file of answers, which is a pipe that nobody writes into."""
    os.mkfifo(tmp_path / "answers.jsonl")
    words = (f"images={photos_of(couples_run) / 'images'}", f"labeler.file={tmp_path / 'answers.jsonl'}")
    process = start("label", *words, "labeler=replay", f"out={tmp_path / 'labels'}", cwd=tmp_path)
    try:
        while process.poll() is None:
            try:
                writer = os.open(tmp_path / "answers.jsonl", os.O_WRONLY | os.O_NONBLOCK)
                break
            except OSError:  # nobody reads it yet
                time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        os.close(writer)  # a step that was about to read, and did not notice, notices now
        _, printed = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 130 and "Stopped by Ctrl-C." in printed and "Traceback" not in printed
