"""Batches: cut, sent once, collected with their errors, and cleaned up, whatever happens in between."""

import asyncio
import json
import shutil

import pytest

from style_match.labeling import batch
from style_match.labeling.sent_batches import SentBatches
from tests.labeling.api.conftest import KEY, NUM_PHOTOS

BATCH = "labeler.mode=batch"


def stop(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.fixture
def interrupted(serve, command):
    """A server with a batch that a command has sent and not waited for."""
    server = serve(batch_s=0.3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio, "sleep", stop)
        assert command(server, BATCH).code == 130
    return server


def cost(printed: str) -> float:
    return float(printed.rpartition("this command: ")[2].partition("$")[2].split()[0])


@pytest.mark.parametrize("api", ["responses", "chat"])
def test_a_batch_gives_the_same_labels_at_half_the_price(api, serve, command):
    one = command(serve(), f"labeler.api={api}")
    lines, paid = one.lines, cost(one.err)
    shutil.rmtree(one.folder)
    server = serve()
    done = command(server, f"labeler.api={api}", BATCH)
    assert done.code == 0 and done.lines == lines, done.err
    assert cost(done.err) == pytest.approx(paid / 2, abs=1e-4)
    assert len(server.jobs.batches) == 1 and not server.jobs.files
    assert not (done.folder / "batches.json").exists()


def test_files_are_cut_by_count_by_size_and_by_the_queue(serve, command, monkeypatch):
    for name, value, number in (("MAX_REQUESTS", 2, 3), ("MAX_FILE_BYTES", 1, NUM_PHOTOS)):
        server = serve()
        with monkeypatch.context() as patch:
            patch.setattr(batch, name, value)
            done = command(server, BATCH, f"labeler.temperature={number}")
        assert done.code == 0 and len(server.jobs.batches) == number
    server = serve()
    done = command(server, BATCH, "labeler.batch.max_queued_tokens=1")
    assert done.code == 0 and len(server.jobs.batches) == NUM_PHOTOS, done.err


@pytest.mark.parametrize("outcome", ["expired", "cancelled"])
def test_unanswered_requests_are_sent_again(outcome, serve, command):
    server = serve(batches=[outcome])
    done = command(server, BATCH)
    assert done.code == 0 and len(done.lines) == NUM_PHOTOS
    assert sum(server.asked.values()) == NUM_PHOTOS and len(server.jobs.batches) == 2
    assert not server.jobs.files


def test_requests_without_an_answer_in_several_batches_are_errors(serve, command):
    server = serve(batches=["expired"] * 20)
    done = command(server, BATCH)
    assert {row["status"] for row in done.failed.values()} == {"error"} and done.failed
    assert len(server.jobs.batches) == batch.MAX_ROUNDS


@pytest.mark.parametrize(
    ("outcome", "said"),
    [("failed", "rejects the batch"), ("token_limit", "max_queued_tokens"), ("no key", "does not accept the key")],
)
def test_a_refused_batch_ends_the_run_and_is_not_noted(outcome, said, serve, command):
    server = serve(key="another") if outcome == "no key" else serve(batches=[outcome])
    done = command(server, BATCH)
    assert done.code == 2 and said in done.err and not server.jobs.files
    assert not (done.folder / "batches.json").exists()
    server.key = KEY
    assert command(server, BATCH).code == 0 and len(done.lines) == NUM_PHOTOS


def test_each_line_of_a_batch_has_its_own_status(serve, command):
    of_image = {f"images/s000{n}.jpg": [word] for n, word in enumerate(["refusal", "truncated", "violation", "500"], 1)}
    done = command(serve(of_image=of_image), BATCH)
    kinds = {image: row["status"] for image, row in done.failed.items()}
    assert kinds == {"s0001.jpg": "refused", "s0002.jpg": "truncated", "s0003.jpg": "invalid"}
    assert len(done.lines) == NUM_PHOTOS - 3  # the one with 500 was sent again


@pytest.mark.parametrize("when", ["uploaded", "created"])
def test_a_killed_run_is_resumed_without_sending_twice(when, serve, command, tmp_path):
    server, save, calls = serve(batch_s=0.3), SentBatches.save, []

    def killed(self: SentBatches) -> None:
        """Stop after the note is written, before the batch is created, or before its id is noted."""
        calls.append(1)
        if when == "uploaded" or len(calls) < 3:
            save(self)
        if len(calls) == (2 if when == "uploaded" else 3):  # the first is at the start of the run
            stop()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SentBatches, "save", killed)
        assert command(server, BATCH).code == 130
    (noted,) = json.loads((tmp_path / "out" / "batches.json").read_text())
    assert noted["batch_id"] is None
    done = command(server, BATCH)
    assert done.code == 0 and len(done.lines) == NUM_PHOTOS, done.err
    assert len(server.jobs.batches) == 1 and sum(server.asked.values()) == NUM_PHOTOS
    assert len(server.jobs.files) == (when == "uploaded")  # a file without a batch expires


def test_a_resumed_batch_is_not_sent_again_and_does_not_count_towards_the_limit(interrupted, command):
    done = command(interrupted, BATCH, "labeler.max_cost_usd=0.0000001")
    assert done.code == 0 and len(done.lines) == NUM_PHOTOS, done.err
    words = f"to send: nothing else; {NUM_PHOTOS} requests are in batches of an earlier run: collected, not sent again"
    assert words in done.err and "0 requests sent" in done.err
    assert "of it for requests of an earlier run" in done.err
    assert len(interrupted.jobs.batches) == 1 and sum(interrupted.asked.values()) == NUM_PHOTOS


def test_answers_removed_by_the_provider_are_asked_again(interrupted, command, monkeypatch):
    end = interrupted.jobs._end

    def ended(batch, outcome):
        end(batch, outcome)
        monkeypatch.setattr(interrupted.jobs, "_end", end)  # the first batch alone
        del interrupted.jobs.files[batch["output_file_id"]]

    monkeypatch.setattr(interrupted.jobs, "_end", ended)
    done = command(interrupted, BATCH)
    assert done.code == 0 and len(done.lines) == NUM_PHOTOS, done.err
    assert "has expired; requests without an answer are sent again" in done.err
    assert len(interrupted.jobs.batches) == 2 and not (done.folder / "batches.json").exists()


def test_requests_in_a_batch_are_not_sent_one_by_one(interrupted, command):
    done = command(interrupted)
    assert done.code == 2 and f"batches.json: {NUM_PHOTOS} of these requests are in batches" in done.err
    assert "labeler.mode=batch, or remove the file" in done.err and not sum(interrupted.asked.values())
    other = command(interrupted, f"out={done.folder.parent / 'other'}")
    assert other.code == 0, other.err  # of another folder
    (done.folder / "batches.json").write_text("[{")
    assert "batches.json is damaged" in command(interrupted, BATCH).err
    (done.folder / "batches.json").unlink()
    assert command(interrupted).code == 0


def test_exhausted_quota_ends_the_run_after_collecting(serve, command):
    server = serve(of_image={f"images/s000{n}.jpg": ["quota"] for n in (2, 4)})
    done = command(server, BATCH)
    assert done.code == 2 and "the account's quota is exhausted (insufficient_quota)" in done.err, done.err
    assert len(done.lines) == NUM_PHOTOS - 2 and len(server.jobs.batches) == 1 and not server.jobs.files
    assert {row["status"] for row in done.failed.values()} == {"unanswered"}
    again = command(server, BATCH)
    assert again.code == 0 and len(again.lines) == NUM_PHOTOS
