"""The command as a process that is killed, with a labeler that a user adds by one module and one YAML."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from style_match.labeler.ledger import Ledger
from tests.labeler.makers import picture

pytestmark = pytest.mark.slow

LABELER = """
import os, time
from style_match.labeler.answer import Answer, Status

class Slow:
    '''Notes each photo that it is asked about in a file, and takes its time.'''

    def __init__(self, *, log, seconds, task):
        self.log, self.seconds, self.task = log, seconds, task

    def at_work(self, requests):
        return frozenset()

    def identity(self):
        return {"labeler": "slow"}

    def estimate(self, requests):
        return None

    def label(self, requests, record, progress):
        for done, request in enumerate(requests, start=1):
            record.asked(request)
            with open(self.log, "a") as file:
                file.write(request.image + "\\n")
            time.sleep(self.seconds)
            values = {name: self.task.schema.class_names(name)[0] for name in self.task.schema.nominal}
            texts = {"physical_features": "a hat", "caption": "a green coat"}
            record.answered(request, Answer(Status.ANSWERED, {**values, **texts}))
            progress(done, len(requests))
"""
NUM_PHOTOS = 40


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    (tmp_path / "photos").mkdir()
    for seed in range(NUM_PHOTOS):
        (tmp_path / "photos" / f"{seed:02d}.jpg").write_bytes(picture(seed))
    (tmp_path / "slow_labeler.py").write_text(LABELER)
    (tmp_path / "mine" / "labeler").mkdir(parents=True)
    (tmp_path / "mine" / "labeler" / "slow.yaml").write_text(
        f"_target_: slow_labeler.Slow\n_partial_: true\nlog: {tmp_path / 'asked.txt'}\nseconds: 0.02\n"
    )
    words = ["images=photos", "labeler=slow", "--config-dir", "mine"]
    return [sys.executable, "-m", "style_match.label", *words]


def asked(tmp_path: Path) -> list[str]:
    path = tmp_path / "asked.txt"
    return path.read_text().splitlines() if path.exists() else []


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGINT])
def test_no_stored_answer_is_asked_for_again(command, tmp_path, stop):
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    name_of = {hashlib.sha256(picture(seed)).hexdigest(): f"{seed:02d}.jpg" for seed in range(NUM_PHOTOS)}
    stored: set[str] = set()
    lost = 0
    for until in (4, 11, 25):
        before = asked(tmp_path)
        process = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
        while len(asked(tmp_path)) < until and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(stop)
        _, err = process.communicate(timeout=60)
        assert process.returncode == (-9 if stop == signal.SIGKILL else 130), err
        assert not stored & set(asked(tmp_path)[len(before) :])
        with Ledger(tmp_path / "photos") as ledger:
            photos = {name_of[sha256] for sha256 in ledger.values()}
        assert photos >= stored
        lost += len(asked(tmp_path)) - len(before) - (len(photos) - len(stored))
        stored = photos
        assert lost <= 3  # at most the one in flight, each time
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"{len(stored)} of {NUM_PHOTOS} stored already" in done.stderr
    assert len(asked(tmp_path)) == NUM_PHOTOS + lost
    lines = (tmp_path / "photos" / "metadata.jsonl").read_text().splitlines()
    assert [json.loads(line)["image"] for line in lines] == [f"{seed:02d}.jpg" for seed in range(NUM_PHOTOS)]


def test_the_command_from_outside(command, tmp_path):
    """What is printed where: counts to stdout, information to stderr."""
    done = subprocess.run(
        [*command, "progress=false"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"style labels of {NUM_PHOTOS} of {NUM_PHOTOS} photos, labeler=slow\n")
    assert "to ask: 40 photos" in done.stderr and "fashion_style" not in done.stderr
