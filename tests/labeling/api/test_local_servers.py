"""Servers that answer otherwise than the API: oddly, endlessly, slowly."""

import gzip
import json
import resource
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.labeling.api.conftest import NUM_PHOTOS
from tests.labeling.api.server import Handler
from tests.labeling.makers import style_values

pytestmark = [pytest.mark.integration, pytest.mark.slow]

USAGE = {"prompt_tokens": 100, "completion_tokens": 20}


def chat(content: Any, **more: Any) -> bytes:
    choice = {"finish_reason": "stop", "message": {"role": "assistant", "content": content}}
    return json.dumps({"model": "m", "choices": [choice], "usage": USAGE, **more}).encode()


GOOD = chat(json.dumps(style_values()))
ODD = {"x_ratelimit_remaining_requests": "\xb2", "x_ratelimit_reset_requests": "1s", "Retry_After": "nan"}


@pytest.fixture
def ask(serve, command):
    """`ask(answer, *words)` labels with a server where `answer(number of the request, handler)` answers."""

    def run(answer: Callable[[int, Handler], object], *words: str, labeler: str = "compatible"):
        server = serve(key=None, answer=answer)
        done = command(server, "labeler.max_retries=2", "labeler.concurrency=1", *words, labeler=labeler)
        return server, done

    return run


@pytest.mark.parametrize(
    "answer",
    [lambda _, to: to.give(gzip.compress(GOOD), Content_Encoding="gzip"), lambda _, to: to.give(GOOD, **ODD)],
    ids=["gzip", "odd headers"],
)
def test_an_answer_in_gzip_or_with_odd_headers_is_read(ask, answer):
    _, done = ask(answer)
    assert done.code == 0 and len(done.lines) == NUM_PHOTOS, done.err


def test_an_error_with_status_200_is_repeated_and_one_that_stays_is_shown_with_a_remedy(ask):
    overloaded = json.dumps({"error": {"message": "upstream \x1b[31moverloaded", "code": 502, "param": {}}}).encode()
    server, done = ask(lambda number, to: to.give(GOOD if number % 2 == 0 else overloaded))
    assert done.code == 0 and len(done.lines) == NUM_PHOTOS, done.err
    assert len(server.requests) == 2 * NUM_PHOTOS
    server, done = ask(lambda number, to: to.give(GOOD if number == 1 else overloaded), "labeler.model=other")
    assert len(done.failed) == NUM_PHOTOS - 1 and len(server.requests) == 1 + 3 * (NUM_PHOTOS - 1)
    for row in done.failed.values():
        assert row["status"] == "error" and "upstream overloaded. The server is overloaded or broken" in row["detail"]


def test_texts_of_the_server_are_shown_without_the_key(ask):
    def echo(number: int, to: Handler) -> None:
        to.give(GOOD if number == 1 else chat(f"Hello {to.headers['Authorization']}"))

    _, done = ask(echo, "labeler.key_env=OPENAI_API_KEY")
    for row in done.failed.values():
        assert 'the server sent: "Hello Bearer (key)". The server seems to ignore' in row["detail"]
    assert len(done.failed) == NUM_PHOTOS - 1


def bomb(number: int, to: Handler, status: int = 200) -> None:
    to.give(BOMB, status=status, Content_Encoding="gzip") if number == 2 else to.give(GOOD)


def bomb_in_an_error(number: int, to: Handler) -> None:
    bomb(number, to, status=500)


def endless(number: int, to: Handler) -> None:
    if number != 2:
        return to.give(GOOD)
    to.start(Transfer_Encoding="chunked")
    while True:
        to.chunk(b" " * 2**20)


BOMB = gzip.compress(bytes(2**30 // 2), compresslevel=1)


@pytest.mark.parametrize("answer", [bomb, bomb_in_an_error, endless])
def test_an_endless_answer_is_an_error_of_its_photo(answer, ask):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    server, done = ask(answer)
    assert len(done.lines) == NUM_PHOTOS - 1 and len(server.requests) == NUM_PHOTOS, done.err
    ((_, row),) = done.failed.items()
    assert row["status"] == "error" and "more than 16,777,216 bytes" in row["detail"], row
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 2**28


def test_the_time_limit_covers_the_complete_answer(ask):
    def drip(number: int, to: Handler) -> None:
        if number not in (2, 3):
            return to.give(GOOD)
        to.start(Transfer_Encoding="chunked")
        for place in range(len(GOOD)):
            to.chunk(GOOD[place : place + 1])
            time.sleep(0.1)

    began = time.monotonic()
    server, done = ask(drip, "labeler.timeout_s=0.5", "labeler.max_retries=1")
    assert time.monotonic() - began < 15
    ((_, row),) = done.failed.items()
    assert row["status"] == "error" and "no complete answer within labeler.timeout_s" in row["detail"], row
    assert len(done.lines) == NUM_PHOTOS - 1 and len(server.requests) == NUM_PHOTOS + 1


def test_a_paid_answer_with_an_impossible_usage_is_kept(ask):
    usages = ({"prompt_tokens": 10**30, "completion_tokens": 1}, USAGE)
    _, done = ask(
        lambda number, to: to.give(chat(json.dumps(style_values()), usage=usages[number > 2])),
        "labeler.api=chat",
        "labeler.max_cost_usd=1",
        labeler="openai",
    )
    assert done.code == 0 and len(done.lines) == NUM_PHOTOS, done.err
    assert "300 input tokens (0 cached), 60 output tokens" in done.err
    assert "without 2 answers whose tokens the server did not count" in done.err
