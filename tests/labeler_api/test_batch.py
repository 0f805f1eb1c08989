"""Batches: cut, submitted once, waited for, collected with their errors, cleaned up, whatever happens between."""

import asyncio
import json
import shutil

import pytest

from style_match.labeler.shard import Shards
from tests.labeler_api.conftest import KEY, NUM_PHOTOS

pytestmark = pytest.mark.slow  # many commands
BATCH = "labeler.mode=batch"


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
    assert not (done.folder / "batches.json").exists() and not list(done.folder.glob(".style_match_*"))


def test_files_are_cut_by_count_and_by_the_queue(serve, command):
    server = serve()
    done = command(server, BATCH, "labeler.batch.max_requests=2")
    assert done.code == 0 and len(server.jobs.batches) == 3
    server = serve()
    done = command(server, BATCH, "labeler.batch.max_queued_tokens=1", "labeler.effort=low")
    assert done.code == 0 and len(server.jobs.batches) == NUM_PHOTOS, done.err


@pytest.mark.parametrize("outcome", ["expired", "cancelled"])
def test_what_a_batch_did_not_work_on_is_sent_again(outcome, serve, command):
    server = serve(batches=[outcome])
    done = command(server, BATCH)
    assert done.code == 0 and len(done.lines) == NUM_PHOTOS
    assert sum(server.asked.values()) == NUM_PHOTOS and len(server.jobs.batches) == 2
    assert not server.jobs.files


def test_a_batch_that_never_gets_done_ends_as_errors(serve, command):
    server = serve(batches=["expired"] * 20)
    done = command(server, BATCH, "labeler.batch.max_rounds=2")
    assert {row["status"] for row in done.failed.values()} == {"error"} and done.failed
    assert len(server.jobs.batches) == 2


@pytest.mark.parametrize(("outcome", "said"), [("failed", "refuses the batch"), ("token_limit", "max_queued_tokens")])
def test_a_refused_batch_ends_the_run(outcome, said, serve, command):
    server = serve(batches=[outcome])
    done = command(server, BATCH)
    assert done.code == 2 and said in done.err and not server.jobs.files
    assert command(server, BATCH).code == 0


def test_lines_are_told_apart(serve, command):
    of_image = {f"images/s000{n}.jpg": [word] for n, word in enumerate(["refusal", "truncated", "violation", "500"], 1)}
    done = command(serve(of_image=of_image), BATCH)
    kinds = {image: row["status"] for image, row in done.failed.items()}
    assert kinds == {"s0001.jpg": "refused", "s0002.jpg": "truncated", "s0003.jpg": "invalid"}
    assert len(done.lines) == NUM_PHOTOS - 3  # the one with 500 was sent again


@pytest.mark.parametrize("when", ["waiting", "uploaded", "created"])
def test_a_run_that_ended_is_taken_up_without_sending_twice(when, serve, command, monkeypatch, tmp_path):
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    server, out = serve(batch_s=0.3), tmp_path / "out"
    if when == "waiting":
        monkeypatch.setattr(asyncio, "sleep", stop)
    else:
        keep, calls = Shards.keep, []

        def killed(self: Shards) -> None:
            """Ends instead of noting the file's id, or the batch's."""
            calls.append(1)
            if len(calls) == (2 if when == "uploaded" else 3):
                stop()
            keep(self)

        monkeypatch.setattr(Shards, "keep", killed)
    assert command(server, BATCH).code == 130
    monkeypatch.undo()
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    noted = json.loads((out / "batches.json").read_text())
    assert len(noted) == 1
    done = command(server, BATCH)
    assert done.code == 0 and len(done.lines) == NUM_PHOTOS, done.err
    assert len(server.jobs.batches) == 1 and sum(server.asked.values()) == NUM_PHOTOS and not server.jobs.files
