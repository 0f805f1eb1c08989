"""Batches: cut, sent once, collected with their errors, and cleaned up, whatever happens in between."""

import asyncio
import json
import shutil

import pytest

from style_match.labeling import batch
from style_match.labeling.batch import SentBatches
from tests.labeling.api.conftest import KEY, NUM_PHOTOS

BATCH = "labeler.mode=batch"


def stop(*_: object) -> None:
    raise KeyboardInterrupt


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
            done = command(server, BATCH, f"labeler.max_output_tokens={number}", f"labeler.temperature={number}")
        assert done.code == 0 and len(server.jobs.batches) == number
    server = serve()
    done = command(server, BATCH, "labeler.batch.max_queued_tokens=1", "labeler.effort=low")
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


@pytest.mark.parametrize(("outcome", "said"), [("failed", "rejects the batch"), ("token_limit", "max_queued_tokens")])
def test_a_refused_batch_ends_the_run(outcome, said, serve, command):
    server = serve(batches=[outcome])
    done = command(server, BATCH)
    assert done.code == 2 and said in done.err and not server.jobs.files
    assert command(server, BATCH).code == 0


def test_each_line_of_a_batch_has_its_own_status(serve, command):
    of_image = {f"images/s000{n}.jpg": [word] for n, word in enumerate(["refusal", "truncated", "violation", "500"], 1)}
    done = command(serve(of_image=of_image), BATCH)
    kinds = {image: row["status"] for image, row in done.failed.items()}
    assert kinds == {"s0001.jpg": "refused", "s0002.jpg": "truncated", "s0003.jpg": "invalid"}
    assert len(done.lines) == NUM_PHOTOS - 3  # the one with 500 was sent again


@pytest.mark.parametrize("when", ["waiting", "uploaded", "created"])
def test_a_killed_run_is_resumed_without_sending_twice(when, serve, command, monkeypatch, tmp_path):
    server, out = serve(batch_s=0.3), tmp_path / "out"
    if when == "waiting":
        monkeypatch.setattr(asyncio, "sleep", stop)
    else:
        save, calls = SentBatches.save, []

        def killed(self: SentBatches) -> None:
            """Stop after the note is written, before the batch is created, or before its id is noted."""
            calls.append(1)
            if when == "uploaded" or len(calls) == 1:
                save(self)
            if len(calls) == (1 if when == "uploaded" else 2):
                stop()

        monkeypatch.setattr(SentBatches, "save", killed)
    assert command(server, BATCH).code == 130
    monkeypatch.undo()
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    (noted,) = json.loads((out / "batches.json").read_text())
    assert (noted["batch_id"] is None) == (when != "waiting")
    done = command(server, BATCH)
    assert done.code == 0 and len(done.lines) == NUM_PHOTOS, done.err
    assert len(server.jobs.batches) == 1 and sum(server.asked.values()) == NUM_PHOTOS
    assert len(server.jobs.files) == (when == "uploaded")  # a file without a batch expires


def test_answers_removed_by_the_provider_are_asked_again(serve, command, monkeypatch):
    server = serve(batch_s=0.3)
    with monkeypatch.context() as patch:
        patch.setattr(asyncio, "sleep", stop)
        assert command(server, BATCH).code == 130
    end = server.jobs._end

    def ended(batch, outcome):
        end(batch, outcome)
        monkeypatch.setattr(server.jobs, "_end", end)  # the first batch alone
        server.jobs.remove(batch["output_file_id"])

    monkeypatch.setattr(server.jobs, "_end", ended)
    done = command(server, BATCH)
    assert done.code == 0 and len(done.lines) == NUM_PHOTOS, done.err
    assert "has expired; requests without an answer are sent again" in done.err
    assert len(server.jobs.batches) == 2 and not (done.folder / "batches.json").exists()


def test_requests_in_a_batch_are_not_sent_one_by_one(serve, command, monkeypatch):
    server = serve(batch_s=0.3)
    with monkeypatch.context() as patch:
        patch.setattr(asyncio, "sleep", stop)
        assert command(server, BATCH).code == 130
    done = command(server)
    assert done.code == 2 and f"batches.json: {NUM_PHOTOS} of these requests are in batches" in done.err
    assert "labeler.mode=batch, or remove the file" in done.err and not sum(server.asked.values())
    other = command(server, "labeler.effort=low", f"out={done.folder.parent / 'other'}")
    assert other.code == 0, other.err  # of another folder
    (done.folder / "batches.json").unlink()
    assert command(server).code == 0


def test_exhausted_quota_ends_the_run_after_collecting(serve, command):
    of_image = {f"images/s000{n}.jpg": ["quota"] for n in (2, 4)}
    server = serve(of_image=of_image)
    done = command(server, BATCH)
    assert done.code == 2 and "the account's quota is exhausted (insufficient_quota)" in done.err, done.err
    assert len(done.lines) == NUM_PHOTOS - 2 and len(server.jobs.batches) == 1 and not server.jobs.files
    assert {row["status"] for row in done.failed.values()} == {"unanswered"}
    again = command(server, BATCH)
    assert again.code == 0 and len(again.lines) == NUM_PHOTOS


def test_a_resumed_batch_does_not_count_towards_the_limit(serve, command, monkeypatch):
    server = serve(batch_s=0.3)
    with monkeypatch.context() as patch:
        patch.setattr(asyncio, "sleep", stop)
        assert command(server, BATCH).code == 130
    done = command(server, BATCH, "labeler.max_cost_usd=0.0000001")
    assert done.code == 0 and len(done.lines) == NUM_PHOTOS, done.err
    words = f"to send: nothing else; {NUM_PHOTOS} requests are in batches of an earlier run: collected, not sent again"
    assert words in done.err and "0 requests sent" in done.err
    assert "of it for requests of an earlier run" in done.err and len(server.jobs.batches) == 1


@pytest.mark.parametrize("outcome", ["failed", "no key"])
def test_a_rejected_batch_is_not_noted(outcome, serve, command):
    server = serve(key="another") if outcome == "no key" else serve(batches=[outcome])
    failed = command(server, BATCH)
    assert failed.code == 2 and not (failed.folder / "batches.json").exists()
    server.key = KEY
    done = command(server, BATCH)
    assert done.code == 0 and len(done.lines) == NUM_PHOTOS
