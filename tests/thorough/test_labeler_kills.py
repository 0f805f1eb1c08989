"""A labeler killed at real, unplanned moments: nothing that is stored is asked for again, and nothing is lost."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from style_match.labeling.ledger import Ledger, read_values
from style_match.synthetic.dataset import write_styles
from style_match.synthetic.world import WorldParams
from tests.labeling.api.figures import Figures
from tests.labeling.api.server import Faults, Server
from tests.labeling.makers import picture
from tests.labeling.test_custom_labeler import write_labeler

ROOT = Path(__file__).parents[2]
NUM_PHOTOS = 40
ANSWER_S = 0.3


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


@pytest.fixture
def server(tmp_path):
    """A server that answers in `ANSWER_S` seconds and knows the figures of `tmp_path / "drawn"`."""
    world = {"rho": 0.0, "scene_follow": 0.2, "temperature": 0.0, "noise": 0.1, "background_follow": 0.0}
    write_styles(
        tmp_path / "drawn",
        world_seed=3,
        num_photos=NUM_PHOTOS,
        size_px=96,
        params=WorldParams(**world, accessory_gain=1.5),
        num_workers=1,
        progress=lambda *_: None,
    )
    server = Server(Figures([tmp_path / "drawn"]), Faults(always="slow"), hang_s=ANSWER_S)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_killed_at_random_moments_no_stored_answer_is_requested_again_or_lost(server, tmp_path):
    photos, out = tmp_path / "drawn" / "images", tmp_path / "out"
    name_of = {hashlib.sha256(path.read_bytes()).hexdigest(): f"images/{path.name}" for path in photos.glob("*.jpg")}
    command = [sys.executable, "-m", "style_match.label", f"images={photos}", f"out={out}", "labeler=openai"]
    command += [f"labeler.base_url={server.url}", "labeler.concurrency=2", "progress=false"]
    environment = {**os.environ, "OPENAI_API_KEY": "sk-synthetic"}

    def stored() -> dict[str, dict]:
        ledger = out / "labels.sqlite"
        return {name_of[photo]: values for photo, values in read_values(ledger).items()} if ledger.exists() else {}

    def run_and_check(*, killed: bool) -> None:
        """Run the command, kill it at a random moment after its first request, and compare what is stored."""
        kept, asked = stored(), dict(server.asked)
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        if killed:
            while dict(server.asked) == asked and process.poll() is None:
                time.sleep(0.002)
            time.sleep(random.random() * 3 * ANSWER_S)
            process.kill()
        _, err = process.communicate(timeout=120)
        assert process.returncode == (-9 if killed else 0), err
        time.sleep(2 * ANSWER_S)  # requests that the server still works on
        assert all(server.asked[image] == asked[image] for image in kept), "a stored answer was requested again"
        assert kept.items() <= stored().items(), "a stored answer was lost"

    for _ in range(4):
        run_and_check(killed=True)
    assert 0 < len(stored()) < NUM_PHOTOS
    run_and_check(killed=False)
    lines = (out / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(stored()) == len(lines) == NUM_PHOTOS
