"""A labeler that a user adds by one module and one YAML, also when it is interrupted or killed."""

import shutil
from pathlib import Path

import pytest

from style_match.labeling.ledger import FILE_NAME, Ledger, read_values
from tests.labeling.makers import picture

pytestmark = pytest.mark.integration

LABELER = """
import time
from style_match.labeling.answers import Answer, Status

class Slow:
    '''Logs each photo that it is asked about, and takes some time.'''

    def __init__(self, *, log, seconds, task):
        self.log, self.seconds, self.task = log, seconds, task

    def identity(self):
        return {"labeler": "slow"}

    def estimate(self, requests):
        return None

    def label(self, requests, recorder, progress):
        for done, request in enumerate(requests, start=1):
            recorder.before_sending(request)
            with open(self.log, "a") as file:
                file.write(request.image + "\\n")
            time.sleep(self.seconds)
            values = {name: self.task.schema.class_names(name)[0] for name in self.task.schema.nominal}
            texts = {"physical_features": "a hat", "caption": "a green coat"}
            recorder.store([(request, Answer(Status.ANSWERED, {**values, **texts}))])
            progress(done, len(requests))
"""
NAMES = [f"{seed:02d}.jpg" for seed in range(6)]


class Killed(BaseException):
    """Ends the step at once."""


def write_labeler(home: Path, *, num_photos: int, seconds: float) -> list[str]:
    """Write photos and the labeler into a folder; returns the words that label there."""
    (home / "photos").mkdir()
    for seed in range(num_photos):
        (home / "photos" / f"{seed:02d}.jpg").write_bytes(picture(seed))
    (home / "slow_labeler.py").write_text(LABELER)
    (home / "mine" / "labeler").mkdir(parents=True)
    (home / "mine" / "labeler" / "slow.yaml").write_text(
        f"_target_: slow_labeler.Slow\n_partial_: true\nlog: {home / 'asked.txt'}\nseconds: {seconds}\n"
    )
    return ["images=photos", "labeler=slow", "--config-dir", "mine", "progress=false"]


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.syspath_prepend(tmp_path)
    return write_labeler(tmp_path, num_photos=len(NAMES), seconds=0)


def asked(tmp_path: Path) -> list[str]:
    return (tmp_path / "asked.txt").read_text().splitlines()


@pytest.mark.parametrize("after", [False, True], ids=["before an answer is stored", "after it"])
def test_a_kill_loses_no_stored_answer_and_none_is_asked_for_again(words, command, tmp_path, after):
    """A real kill runs no `finally`, so the folder is put back to its state at that moment."""
    out, store, calls = tmp_path / "photos", Ledger.answered, []

    def kill(self: Ledger, answers: list) -> None:
        calls.append(answers)
        if after or len(calls) != 3:
            store(self, answers)
        if len(calls) == 3:
            shutil.copytree(out, tmp_path / "killed")
            raise Killed

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Ledger, "answered", kill)
        command(*words, typed=True)
    shutil.rmtree(out)
    (tmp_path / "killed").rename(out)
    assert len(read_values(out / FILE_NAME)) == 2 + after
    done = command(*words, typed=True)
    assert f"{2 + after} of {len(NAMES)} are stored" in done.err
    assert asked(tmp_path) == [*NAMES[:3], *NAMES[2 + after :]]
    assert list(done.lines) == NAMES
    assert done.out.startswith(f"style labels of {len(NAMES)} of {len(NAMES)} photos, labeler=slow\n")
    assert "fashion_style" not in done.err  # counts go to stdout, information to stderr


def test_ctrl_c_keeps_the_answers(words, command, tmp_path, monkeypatch):
    store = Ledger.answered

    def interrupt(self: Ledger, answers: list) -> None:
        if asked(tmp_path) == NAMES[:3]:
            raise KeyboardInterrupt
        store(self, answers)

    monkeypatch.setattr(Ledger, "answered", interrupt)
    stopped = command(*words, code=130, typed=True)
    assert "Stopped by Ctrl-C." in stopped.err and len(stopped.lines) == 2
    assert [row["status"] for row in stopped.failed.values()] == ["unanswered"] * 4
    monkeypatch.setattr(Ledger, "answered", store)
    assert len(command(*words, typed=True).lines) == len(NAMES)
