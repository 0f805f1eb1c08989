"""A labeler that a user adds by one module and one YAML, stopped at the moments that matter."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from style_match.labeling.ledger import FILE_NAME, Ledger, read_values
from tests.labeling.makers import picture

pytestmark = pytest.mark.integration

LABELER = """
import time
from style_match.labeling.answers import Answer, Status

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
NUM_PHOTOS = 12


class Killed(BaseException):
    """Ends the step at once."""


def write_labeler(home: Path, *, num_photos: int, seconds: float) -> list[str]:
    """Photos and the labeler in a folder; the words that label there."""
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
    return write_labeler(tmp_path, num_photos=NUM_PHOTOS, seconds=0)


@contextmanager
def stopped(method: str, number: int, *, after: bool, out: Path, by: type[BaseException] = Killed) -> Iterator[None]:
    """The step ends after the `number`th call of this method of `Ledger`, or before it.

    A real kill runs no `finally`, in which the step writes what it has. After a kill the folder is therefore put back
    to what it was at that moment, with its write-ahead log.
    """
    call, calls, copy = getattr(Ledger, method), [], out.with_name("killed")

    def counted(self: Ledger, *args: object) -> None:
        calls.append(args)
        if after or len(calls) != number:
            call(self, *args)
        if len(calls) == number:
            shutil.copytree(out, copy)
            raise by

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Ledger, method, counted)
        if by is not Killed:
            yield
            shutil.rmtree(copy)
            return
        with pytest.raises(Killed):
            yield
    shutil.rmtree(out)
    copy.rename(out)


def asked(tmp_path: Path) -> list[str]:
    path = tmp_path / "asked.txt"
    return path.read_text().splitlines() if path.exists() else []


def stored(photos: Path) -> set[str]:
    name_of = {hashlib.sha256(picture(seed)).hexdigest(): f"{seed:02d}.jpg" for seed in range(NUM_PHOTOS)}
    return {name_of[sha256] for sha256 in read_values(photos / FILE_NAME)}


def test_a_kill_loses_no_stored_answer_and_none_is_asked_for_again(words, typed, tmp_path):
    photos, before = tmp_path / "photos", set()
    for method, number, after, num_asked, num_stored, in_flight in (
        ("asked", 3, True, 2, 2, 1),
        ("answered", 3, False, 3, 2, 1),
        ("answered", 2, True, 2, 2, 0),
    ):
        earlier = len(asked(tmp_path))
        with stopped(method, number, after=after, out=photos):
            typed(*words)
        assert len(asked(tmp_path)) - earlier == num_asked
        assert not before & set(asked(tmp_path)[earlier:])
        assert stored(photos) > before and len(stored(photos)) - len(before) == num_stored
        assert not (photos / "metadata.jsonl").exists()
        before = stored(photos)
        with Ledger(photos) as ledger:
            assert ledger.take_in_flight() == in_flight
    earlier = len(asked(tmp_path))
    typed(*words)
    assert f"6 of {NUM_PHOTOS} stored already" in typed.err
    assert sorted([*before, *asked(tmp_path)[earlier:]]) == [f"{seed:02d}.jpg" for seed in range(NUM_PHOTOS)]
    lines = (photos / "metadata.jsonl").read_text().splitlines()
    assert [json.loads(line)["image"] for line in lines] == [f"{seed:02d}.jpg" for seed in range(NUM_PHOTOS)]


def test_ctrl_c_ends_the_command_with_what_it_has(words, typed, tmp_path):
    photos = tmp_path / "photos"
    with stopped("answered", 3, after=False, out=photos, by=KeyboardInterrupt):
        assert "Stopped by Ctrl-C." in typed(*words, code=130)
    assert len(stored(photos)) == len((photos / "metadata.jsonl").read_text().splitlines()) == 2
    typed(*words)
    assert "1 requests were in flight" in typed.err and len(stored(photos)) == NUM_PHOTOS


def test_counts_go_to_stdout_and_information_to_stderr(words, typed):
    printed = typed(*words)
    assert printed.startswith(f"style labels of {NUM_PHOTOS} of {NUM_PHOTOS} photos, labeler=slow\n")
    assert f"to ask: {NUM_PHOTOS} photos" in typed.err and "fashion_style" not in typed.err
