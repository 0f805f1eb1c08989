"""Training on two devices through its command: the same run as on one, however it is ended."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from style_match.training.outputs import logged_rows
from tests.thorough.processes import alive

QUICK = ("evaluation.num_resamples=100", "picture.report.num_queries=0")
DATA = ("data.num_couples=80", "sampler.batch_size=16", *QUICK)
HEAD = ("head.hidden_dim=32", "head.dim=16")
SHORT = ("trainer.max_epochs=3",)
SMALL = (*DATA, *HEAD, *SHORT)
TWO = "trainer.devices=2"
TORCHRUN = ("-m", "torch.distributed.run", "--nproc-per-node", "2")
STYLES = ("data=demo_styles", "data.num_photos=150", "sampler.num_samples=4", "loss=triplet", *QUICK)


@pytest.fixture(scope="module")
def runs(run_command, tmp_path_factory):
    """The same run on one device and on two: folder and what the command printed."""
    folder = tmp_path_factory.mktemp("runs")
    return [
        (
            folder / str(num),
            run_command("train", *SMALL, f"trainer.devices={num}", f"hydra.run.dir={folder / str(num)}"),
        )
        for num in (1, 2)
    ]


def metrics(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text())


def values(folder: Path) -> dict:
    """Every number of metrics.json by its path."""

    def below(tree, path=()):
        for name, value in tree.items():
            if isinstance(value, dict):
                yield from below(value, (*path, name))
            elif isinstance(value, float | int):
                yield (*path, name), value
            elif isinstance(value, list):
                yield from (((*path, name, i), each) for i, each in enumerate(value))

    return dict(below(metrics(folder)))


def curves(folder: Path) -> dict[str, dict[str, float]]:
    """What was logged of each epoch."""
    found: dict[str, dict[str, float]] = {}
    for row in logged_rows(folder):
        if row.get("val/mrr") or row.get("train/loss"):
            found.setdefault(row["epoch"], {}).update({name: float(value) for name, value in row.items() if value})
    return found


def started(folder: Path, cache: Path) -> tuple[subprocess.Popen, int]:
    """A command that trains for long on two devices, past its first checkpoint, and one of its training processes."""
    long = ("trainer.max_epochs=5000", "trainer.early_stopping.patience=5000")
    process = subprocess.Popen(
        [sys.executable, "-m", "style_match.train", *DATA, *HEAD, *long, TWO, f"hydra.run.dir={folder}"],
        env={**os.environ, "STYLE_MATCH_CACHE": str(cache)},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # also where these tests ignore it
    )
    until = time.monotonic() + 120
    while not (folder / "checkpoints" / "last.ckpt").exists():
        assert process.poll() is None and time.monotonic() < until, process.kill() or process.communicate()
        time.sleep(0.01)
    trainers = [pid for pid in alive(process.pid) if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    return process, max(trainers)


def nobody_left(process: subprocess.Popen) -> bool:
    until = time.monotonic() + 30
    while alive(process.pid) and time.monotonic() < until:
        time.sleep(0.05)
    return not alive(process.pid)


def test_two_devices_give_the_run_of_one(runs):
    (one, said), (two, shared) = runs
    assert values(two).keys() == values(one).keys()
    assert values(two) == pytest.approx(values(one), abs=1e-4)
    assert {path.name for path in two.iterdir()} == {path.name for path in one.iterdir()}
    assert list(curves(two)) == ["0", "1", "2"]
    for epoch, row in curves(one).items():
        assert curves(two)[epoch] == pytest.approx(row, abs=1e-4)
    assert [json.loads((each / "provenance.json").read_text())["devices"] for each in (one, two)] == [1, 2]
    assert shared.stdout.replace(str(two), "RUN") == said.stdout.replace(str(one), "RUN")
    assert "training: 3 epochs, 9 steps" in shared.stderr and ", 2 processes" in shared.stderr
    assert shared.stderr.count("training: 3 epochs") == 1  # the other process says nothing


def test_a_run_on_two_devices_repeats_bit_for_bit_and_also_after_a_stop(runs, run_command, tmp_path, cache):
    """Also inside a job of Slurm, whose process Lightning would take for the fourth of four."""
    slurm = {"SLURM_NTASKS": "4", "SLURM_PROCID": "3", "SLURM_LOCALID": "3", "SLURM_JOB_ID": "7", "LOCAL_RANK": "3"}
    _, (two, _) = runs
    run_command("train", *SMALL, TWO, f"hydra.run.dir={tmp_path / 'again'}", **slurm)
    assert list(curves(tmp_path / "again")) == ["0", "1", "2"]
    folder = tmp_path / "killed"
    command = [sys.executable, "-m", "style_match.train", *SMALL, TWO, f"hydra.run.dir={folder}"]
    process = subprocess.Popen(
        command, env={**os.environ, "STYLE_MATCH_CACHE": str(cache)}, stderr=subprocess.DEVNULL, start_new_session=True
    )
    while not (folder / "checkpoints" / "last.ckpt").exists():
        assert process.poll() is None, "ended before its first checkpoint"
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert nobody_left(process)
    refused = run_command("train", f"run={folder}", "ckpt_path=last", "trainer.devices=1", code=2)
    assert "was trained with a different trainer.devices" in refused.stderr
    run_command("train", f"run={folder}", "ckpt_path=last")
    for each in (tmp_path / "again", folder):
        assert metrics(each) == metrics(two)
        one, other = (load_file(run / "embeddings.safetensors") for run in (two, each))
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_torchrun_gives_the_run_of_two_devices_and_resumes_it(runs, run_command, tmp_path):
    _, (two, _) = runs
    folder = tmp_path / "run"
    short = ("trainer.max_epochs=2", "trainer.checkpoint_every_s=0", f"hydra.run.dir={folder}")
    done = run_command("train", *DATA, *HEAD, *short, launcher=TORCHRUN)
    assert ", 2 processes" in done.stderr and done.stderr.count("training: 2 epochs") == 1
    (folder / "metrics.json").unlink()
    run_command("train", f"run={folder}", "ckpt_path=last", *SHORT, launcher=TORCHRUN)
    assert metrics(folder) == metrics(two)
    assert {path.name for path in folder.iterdir()} == {path.name for path in two.iterdir()}
    assert list(curves(folder)) == ["0", "1", "2"]


def test_torchrun_of_a_head_that_takes_no_steps(run_command, tmp_path):
    words = ("head=pair_lda", *DATA, *SHORT)
    run_command("train", *words, f"hydra.run.dir={tmp_path / 'one'}")
    run_command("train", *words, f"hydra.run.dir={tmp_path / 'two'}", launcher=TORCHRUN)
    assert metrics(tmp_path / "two") == metrics(tmp_path / "one")


@pytest.mark.parametrize(("name", "code"), [("SIGKILL", -9), ("SIGTERM", -15), ("SIGINT", 130)])
def test_no_process_outlives_the_command(runs, tmp_path, cache, name, code):
    process, _ = started(tmp_path / "run", cache)
    if name == "SIGKILL":
        process.kill()
    else:
        os.killpg(process.pid, getattr(signal, name))  # as a terminal does, and Slurm
    _, said = process.communicate(timeout=60)
    assert process.returncode == code, said
    assert nobody_left(process)
    assert "Traceback" not in said and ("Stopped by Ctrl-C." in said) == (name == "SIGINT")


def test_a_killed_process_ends_the_command_with_one_message(runs, tmp_path, cache):
    process, trainer = started(tmp_path / "run", cache)
    os.kill(trainer, signal.SIGKILL)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 2 and "Traceback" not in said
    assert said.splitlines()[-1] == (
        "A training process was killed (SIGKILL), as happens if memory runs out. "
        f"Resume with run={tmp_path / 'run'} ckpt_path=last."
    )
    assert nobody_left(process)


def test_a_mistake_that_shows_in_every_process_is_said_once(runs, run_command, tmp_path):
    done = run_command("train", *SMALL, TWO, "optimizer.lr=1e9", f"hydra.run.dir={tmp_path / 'run'}", code=2)
    assert done.stderr.count("lower optimizer.lr, which is 1e+09") == 1 and "Traceback" not in done.stderr


def test_gpus_that_are_not_there_are_named(run_command, tmp_path):
    if torch.cuda.device_count() > 1:
        pytest.skip("this machine has several GPUs")
    words = (*SMALL, TWO, "trainer.accelerator=cuda", f"hydra.run.dir={tmp_path / 'run'}")
    done = run_command("train", *words, code=2)
    assert "Change trainer.devices or trainer.accelerator" in done.stderr and "Traceback" not in done.stderr


def test_a_sweep_trains_its_cells_one_after_the_other_or_side_by_side(runs, run_command, tmp_path):
    _, (two, _) = runs
    words = ("-m", "seed=0,1", *SMALL, f"hydra.sweep.dir={tmp_path / 'sweep'}")
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="the extra launchers is not installed")
    side_by_side = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2", f"hydra.sweep.dir={tmp_path / 'other'}")
    run_command("train", *words[:-1], TWO, *side_by_side)
    assert metrics(tmp_path / "other" / "seed=0") == metrics(two)
    run_command("train", *words, TWO)
    assert metrics(tmp_path / "sweep" / "seed=0") == metrics(two)
    assert metrics(tmp_path / "sweep" / "seed=1") != metrics(two)
    assert run_command("train", *words, TWO).stderr.count("is already finished") == 2
    assert "contains a run with a different trainer.devices" in run_command("train", *words, code=2).stderr


@pytest.mark.parametrize(
    ("words", "heads"),
    [
        (("encode=online", "loss.text_weight=1", *SMALL), ["mlp"]),
        ((*STYLES, *HEAD, *SHORT, "balance.views=2", "balance.augment=all"), ["mlp"]),
        ((*DATA, *SHORT), ["ensemble", "lda_mlp", "pair_lda", "identity"]),
    ],
    ids=["online", "styles", "heads"],
)
def test_whatever_is_trained_ends_as_on_one_device(run_command, tmp_path, words, heads):
    said = run_command(
        "train", "-m", f"head={','.join(heads)}", "trainer.devices=1,2", *words, f"hydra.sweep.dir={tmp_path}"
    )
    alone = {"pair_lda", "identity"} & {*heads}
    assert said.stderr.count(f"{TWO} has no effect: this head is not trained by gradient steps") == len(alone)
    assert said.stderr.count(", 2 processes") == len(heads) - len(alone)
    for head in heads:
        swept = f"head={head}," if len(heads) > 1 else ""  # what a cell is called after
        one, two = (tmp_path / f"{swept}trainer.devices={num}" for num in (1, 2))
        assert values(two) == pytest.approx(values(one), abs=1e-4), head
