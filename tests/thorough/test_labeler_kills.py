"""A labeler killed at real, unplanned moments: nothing that is stored is asked for again, and nothing is lost."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from style_match.labeling.ledger import Ledger
from tests.labeling.makers import picture
from tests.labeling.test_custom_labeler import write_labeler

ROOT = Path(__file__).parents[2]
NUM_PHOTOS = 40


WORKER = """
import sys
from pathlib import Path
from style_match.labeling.answers import Answer, Status
from style_match.labeling.ledger import Ledger
from tests.labeling.makers import make_request, make_schema
ledger, schema = Ledger(Path(sys.argv[1])), make_schema()
for number in range(100000):
    request = make_request(str(number), schema)
    ledger.answered([(request, Answer(Status.ANSWERED, {"caption": str(number)}))])
    print(number, flush=True)
"""


def test_stored_answers_survive_a_kill(tmp_path):
    for after in (1, 7, 40):
        worker = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(tmp_path / str(after))],
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": "."},
        )
        assert worker.stdout is not None
        told = [int(worker.stdout.readline()) for _ in range(after)]
        worker.send_signal(signal.SIGKILL)
        told += [int(line) for line in worker.stdout.read().split(b"\n")[:-1]]
        worker.wait()
        with Ledger(tmp_path / str(after)) as ledger:
            assert {str(number) for number in told} <= set(ledger.values())


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    return [sys.executable, "-m", "style_match.label", *write_labeler(tmp_path, num_photos=NUM_PHOTOS, seconds=0.02)]


def asked(tmp_path: Path) -> list[str]:
    path = tmp_path / "asked.txt"
    return path.read_text().splitlines() if path.exists() else []


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGINT])
def test_no_stored_answer_is_asked_for_again(command, tmp_path, stop):
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
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
    assert f"{len(stored)} of {NUM_PHOTOS} are stored" in done.stderr
    assert len(asked(tmp_path)) == NUM_PHOTOS + lost
    lines = (tmp_path / "photos" / "metadata.jsonl").read_text().splitlines()
    assert [json.loads(line)["image"] for line in lines] == [f"{seed:02d}.jpg" for seed in range(NUM_PHOTOS)]


def test_killed_while_it_asks_a_server_and_started_again(tmp_path):
    command = [sys.executable, "experiments/labeling/kills.py", "--kills", "2", "--photos", "24", "--scratch", tmp_path]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 kills: stored answers asked again: 0, lost: 0" in done.stdout
    assert "24 answers stored, 24 lines in metadata.jsonl" in done.stdout
