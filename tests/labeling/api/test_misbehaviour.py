"""Every way in which the server misbehaves, over real HTTP: repeated, noted for the photo, or the end of the run."""

import shutil
import socket
from collections.abc import Iterable
from typing import Any

import pytest

from style_match.labeling.answers import Request, Status
from style_match.labeling.ledger import FILE_NAME, Ledger, read_values
from style_match.utils.errors import UserError
from tests.labeling.api.conftest import NUM_PHOTOS

PASSING = ("429", "429_after", "429_ms", "429_date", "500", "503", "hang", "cut")
OF_THE_PHOTO = {
    "refusal": ("refused", 1),
    "filtered": ("refused", 1),
    "flagged": ("refused", 1),
    "truncated": ("truncated", 1),
    "malformed": ("invalid", 2),
    "violation": ("invalid", 2),
    "not_json": ("invalid", 2),
    "bad_image": ("error", 1),
    "500": ("error", 3),
    "cut": ("error", 3),
}
ENDING = {
    "quota": "quota is exhausted",
    "401": "does not accept the key in OPENAI_API_KEY",
    "403": "does not allow this",
    "404": "has no model gpt-6-luna",
    "bad_schema": "does not take the request",
    "redirect": "sends us elsewhere",
}
IMAGE = "images/s0003.jpg"
# What differs between the interfaces is how an answer is read; the connection and HTTP's errors they share.
OF_AN_INTERFACE = ("refusal", "filtered", "truncated", "malformed", "violation")


def in_both(words: Iterable[str]) -> list[Any]:
    """(word, interface); where both share the code, `make test` takes one of them, by turns."""
    pairs = []
    for number, word in enumerate(words):
        for other, api in enumerate(("responses", "chat")):
            again = word not in OF_AN_INTERFACE and other != number % 2
            pairs.append(pytest.param(word, api, marks=[pytest.mark.thorough] if again else []))
    return pairs


@pytest.mark.parametrize(("word", "api"), in_both(PASSING))
def test_what_passes_is_repeated(word, api, serve, command):
    server = serve(script=["ok", word], retry_after_s=0.01, hang_s=2)
    done = command(server, f"labeler.api={api}", *(["labeler.timeout_s=0.4"] if word == "hang" else []))
    assert done.code == 0, done.err
    assert len(done.lines) == NUM_PHOTOS and not done.failed
    assert sum(server.asked.values()) == NUM_PHOTOS + 1


@pytest.mark.parametrize(("word", "api"), in_both(OF_THE_PHOTO))
def test_what_concerns_a_photo_is_noted_and_asked_again_by_the_next_run(word, api, serve, command):
    status, times = OF_THE_PHOTO[word]
    server = serve(of_image={IMAGE: [word] * times})
    done = command(server, f"labeler.api={api}", "labeler.retry.max_attempts=3")
    assert {image: row["status"] for image, row in done.failed.items()} == {"s0003.jpg": status}, done.err
    assert done.failed["s0003.jpg"]["detail"]
    assert len(done.lines) == NUM_PHOTOS - 1
    assert server.asked[IMAGE] == times
    again = command(server)
    assert not again.failed and len(again.lines) == NUM_PHOTOS
    assert sum(server.asked.values()) == NUM_PHOTOS + times


@pytest.mark.parametrize("word", ENDING)
def test_what_concerns_all_ends_the_run(word, serve, command):
    server = serve(script=["ok", "ok"], always=word)
    done = command(server, "labeler.concurrency=1")
    assert done.code == 2 and ENDING[word] in done.err and "Traceback" not in done.err
    assert sum(server.asked.values()) == 3  # and no more
    assert len(done.lines) == 2
    server.faults.always = "ok"
    again = command(server)
    assert again.code == 0 and len(again.lines) == NUM_PHOTOS
    assert "in flight when an earlier run ended" not in again.err
    assert sum(server.asked.values()) == 3 + NUM_PHOTOS - 2


def test_what_is_wrong_from_the_start_costs_one_request(serve, command):
    server = serve(always="quota")
    assert command(server, "labeler.concurrency=4").code == 2
    assert sum(server.asked.values()) == 1


def test_requests_in_flight_at_the_end_of_a_run_are_answered(serve, command):
    server = serve(script=["ok", "slow", "quota"], hang_s=0.2)
    done = command(server)
    assert done.code == 2 and len(done.lines) == 2


def test_a_server_that_asks_to_wait_too_long_ends_the_run(serve, command):
    server = serve(script=["ok", "429_after"], retry_after_s=7200)
    done = command(server, "labeler.concurrency=1")
    assert done.code == 2 and "asks to wait 7200 s" in done.err
    assert sum(server.asked.values()) == 2


def test_failures_in_a_row_end_the_run(serve, command):
    server = serve(script=["ok"], always="500")
    done = command(server, "labeler.max_failures_in_row=2", "labeler.retry.max_attempts=2", "labeler.concurrency=1")
    assert done.code == 2 and "2 photos in a row" in done.err
    assert sum(server.asked.values()) == 1 + 2 * 2


@pytest.mark.parametrize("word", ["truncated", "violation", "refusal"])
def test_answers_without_use_in_a_row_end_the_run_and_refusals_do_not(word, serve, command):
    server = serve(script=["ok"], always=word)
    done = command(server, "labeler.max_failures_in_row=2", "labeler.invalid_attempts=1", "labeler.concurrency=1")
    assert ("2 photos in a row" in done.err) == (word != "refusal"), done.err
    assert sum(server.asked.values()) == (NUM_PHOTOS if word == "refusal" else 3)


def test_a_full_disk_at_a_photo_that_is_gone_ends_the_run(serve, command, monkeypatch):
    read, store = Request.jpeg, Ledger.answered

    def gone(self: Request) -> bytes:
        if self.image == "s0001.jpg":
            return read(self)
        raise UserError(f"{self.photo}: cannot be read")

    def full(self: Ledger, answers: list) -> None:
        if any(answer.status is Status.ERROR for _, answer in answers):
            raise UserError("Cannot write labels.sqlite: the disk is full.")
        store(self, answers)

    monkeypatch.setattr(Request, "jpeg", gone)
    monkeypatch.setattr(Ledger, "answered", full)
    done = command(serve())
    assert done.code == 2 and "the disk is full" in done.err and "Traceback" not in done.err, done.err


def test_no_network(command):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    done = command(None, f"labeler.base_url=http://127.0.0.1:{port}/v1")
    assert done.code == 2 and f"Cannot reach http://127.0.0.1:{port}/v1" in done.err
    assert "0 requests sent" in done.err


def test_no_key(serve, command, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    done = command(server := serve())
    assert done.code == 2 and "set the environment variable OPENAI_API_KEY" in done.err and not server.requests


def test_photos_are_not_sent_unencrypted_to_others(command):
    done = command(None, "labeler.base_url=http://example.com/v1")
    assert done.code == 2 and "labeler.allow_http=true" in done.err


@pytest.mark.integration
def test_ctrl_c_leaves_the_request_in_flight_counted(serve, command, monkeypatch):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    server = serve(script=["ok"])
    monkeypatch.setattr("style_match.labeling.client.Pace.note", interrupt)  # while an answer is under way
    stopped = command(server, typed=True)
    assert stopped.code == 130 and "Stopped by Ctrl-C." in stopped.err
    monkeypatch.undo()
    monkeypatch.setenv("OPENAI_API_KEY", "sk-this-is-the-secret-of-the-tests")
    again = command(server)
    assert again.code == 0 and "1 requests were in flight" in again.err and len(again.lines) == NUM_PHOTOS


def test_invalid_answers_are_paid_too(serve, command):
    valid, twice = serve(), serve(of_image={IMAGE: ["violation"]})
    one = command(valid).err
    other = command(twice, "labeler.effort=low").err
    assert int(other.split(" tokens in")[-2].split()[-1]) > int(one.split(" tokens in")[-2].split()[-1])


class Killed(BaseException):
    """Ends the step at once."""


@pytest.mark.parametrize("after", [False, True], ids=["before an answer is stored", "after it"])
def test_a_kill_loses_no_stored_answer_and_none_is_asked_for_again(after, serve, command, tmp_path):
    """A real kill runs no `finally`, so the folder is put back to what it was at that moment."""
    server, out, copy, store, calls = serve(), tmp_path / "out", tmp_path / "killed", Ledger.answered, []

    def kill(self: Ledger, answers: list) -> None:
        calls.append(answers)
        if after or len(calls) != 3:
            store(self, answers)
        if len(calls) == 3:
            shutil.copytree(out, copy)
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Ledger, "answered", kill)
        with pytest.raises(BaseException) as caught:
            command(server)
    assert isinstance(caught.value, Killed) or caught.group_contains(Killed)
    shutil.rmtree(out)
    copy.rename(out)
    asked, stored = dict(server.asked), read_values(out / FILE_NAME)
    assert len(stored) == (3 if after else 2)
    done = command(server)
    assert done.code == 0 and len(done.lines) == NUM_PHOTOS
    assert sum(server.asked.values()) == sum(asked.values()) + NUM_PHOTOS - len(stored)
    assert all(read_values(out / FILE_NAME)[photo] == values for photo, values in stored.items())
