"""Every way in which the server misbehaves, over real HTTP: retried, recorded for the photo, or the end of the run."""

import math
import socket
from collections.abc import Iterable

import pytest

from style_match.labeling import session
from style_match.labeling.answers import Request
from style_match.labeling.ledger import Ledger
from style_match.utils.errors import UserError
from tests.labeling.api.conftest import NUM_PHOTOS

RETRIED = ("429", "429_after", "429_ms", "429_date", "500", "503", "hang", "cut")
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
    "403": "forbids this",
    "404": "does not have the model gpt-6-luna",
    "bad_schema": "rejects the request",
    "redirect": "redirects to another address",
}
IMAGE = "images/s0003.jpg"
OF_AN_INTERFACE = ("refusal", "filtered", "truncated", "malformed", "violation")  # the others share their code


def in_both(words: Iterable[str]) -> list[tuple[str, str]]:
    """Return (word, interface); words whose code is shared alternate between the interfaces."""
    pairs = [(word, api) for word in words for api in ("responses", "chat")]
    return [pair for number, pair in enumerate(pairs) if pair[0] in OF_AN_INTERFACE or number % 4 in (0, 3)]


@pytest.mark.parametrize(("word", "api"), in_both(RETRIED))
def test_passing_errors_are_retried(word, api, serve, command, waits):
    server = serve(script=["ok", word], retry_after_s=7, hang_s=2)
    done = command(server, f"labeler.api={api}", *(["labeler.timeout_s=0.4"] if word == "hang" else []))
    assert done.code == 0, done.err
    assert len(done.lines) == NUM_PHOTOS and not done.failed
    assert sum(server.asked.values()) == NUM_PHOTOS + 1
    (wait,) = waits
    assert math.isclose(wait, 7, abs_tol=1.5) if "_" in word else wait < 1  # Retry-After is obeyed


@pytest.mark.parametrize(("word", "api"), in_both(OF_THE_PHOTO))
def test_failures_of_a_photo_are_recorded_and_asked_again_by_the_next_run(word, api, serve, command):
    status, times = OF_THE_PHOTO[word]
    server = serve(of_image={IMAGE: [word] * times})
    done = command(server, f"labeler.api={api}", "labeler.max_retries=2")
    assert {image: row["status"] for image, row in done.failed.items()} == {"s0003.jpg": status}, done.err
    assert done.failed["s0003.jpg"]["detail"]
    assert len(done.lines) == NUM_PHOTOS - 1
    assert server.asked[IMAGE] == times
    again = command(server)
    assert not again.failed and len(again.lines) == NUM_PHOTOS
    assert sum(server.asked.values()) == NUM_PHOTOS + times


@pytest.mark.parametrize("word", ENDING)
def test_errors_of_all_requests_end_the_run(word, serve, command):
    server = serve(script=["ok", "ok"], always=word)
    done = command(server, "labeler.concurrency=1")
    assert done.code == 2 and ENDING[word] in done.err
    assert sum(server.asked.values()) == 3  # and no retries
    assert len(done.lines) == 2
    server.faults.always = "ok"
    again = command(server)
    assert again.code == 0 and len(again.lines) == NUM_PHOTOS
    assert sum(server.asked.values()) == 3 + NUM_PHOTOS - 2


def test_an_error_at_the_start_costs_one_request(serve, command):
    server = serve(always="quota")
    assert command(server, "labeler.concurrency=4").code == 2
    assert sum(server.asked.values()) == 1


def test_requests_in_flight_at_the_end_of_a_run_are_answered(serve, command):
    server = serve(script=["ok", "slow", "quota"], hang_s=0.2)
    done = command(server)
    assert done.code == 2 and len(done.lines) == 2


def test_a_server_that_requests_a_long_pause_ends_the_run(serve, command, waits):
    server = serve(script=["ok", "429_after"], retry_after_s=7200)
    done = command(server, "labeler.concurrency=1")
    assert done.code == 2 and "requests a pause of 7200 s" in done.err
    assert sum(server.asked.values()) == 2 and not waits


@pytest.mark.parametrize(("word", "times"), [("500", 2), ("truncated", 1), ("violation", 2), ("refusal", 1)])
def test_failures_in_a_row_end_the_run_but_refusals_do_not(word, times, serve, command, monkeypatch):
    monkeypatch.setattr(session, "MAX_FAILURES_IN_ROW", 2)
    server = serve(script=["ok"], always=word)
    done = command(server, "labeler.max_retries=1", "labeler.concurrency=1")
    assert ("2 photos in a row failed" in done.err) == (word != "refusal"), done.err
    assert sum(server.asked.values()) == (NUM_PHOTOS if word == "refusal" else 1 + 2 * times)


def test_a_full_disk_at_a_missing_photo_ends_the_run(serve, command, monkeypatch):
    def missing(self: Request) -> bytes:
        raise UserError(f"{self.photo}: cannot be read")

    def full(self: Ledger, answers: list) -> None:
        raise UserError("Cannot write labels.sqlite: the disk is full.")

    monkeypatch.setattr(Request, "jpeg", missing)
    assert {row["status"] for row in command(serve()).failed.values()} == {"error"}
    monkeypatch.setattr(Ledger, "answered", full)
    done = command(serve())
    assert done.code == 2 and "the disk is full" in done.err, done.err


def test_a_server_that_is_not_there_is_reported_at_once(command, waits):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    done = command(None, f"labeler.base_url=http://127.0.0.1:{port}/v1")
    assert done.code == 2 and f"Cannot reach http://127.0.0.1:{port}/v1" in done.err and not waits
