"""The cost of a run is estimated, limited, and counted from the usage that the server reports."""

import re

from style_match.labeling import openai
from tests.labeling.api.conftest import NUM_PHOTOS


def test_the_estimate_is_near_what_is_used(serve, command):
    done = command(serve())
    said = re.search(r"about (\d+) input tokens", done.err)
    used = re.search(r"; (\d+) input tokens", done.err)
    assert said and used and 0.7 < int(said[1]) / int(used[1]) < 1.5
    assert "prices of 2026-" in done.err


def test_an_estimate_above_the_money_allowed_sends_nothing(serve, command):
    done = command(server := serve(), "labeler.max_cost_usd=0.00001")
    assert done.code == 2 and "labeler.max_cost_usd" in done.err and not server.requests


def test_a_model_without_a_price_is_used_but_not_with_a_bound(serve, command):
    assert "price unknown" in command(serve(), "labeler.model=new-model").err
    done = command(server := serve(), "labeler.model=newer-model", "labeler.max_cost_usd=1")
    assert done.code == 2 and "labeler.price" in done.err and not server.requests
    given = ["labeler.price.input=1", "labeler.price.cached=0.1", "labeler.price.output=4"]
    done = command(serve(), "labeler.model=newer-model", "labeler.max_cost_usd=1", *given)
    assert done.code == 0 and len(done.lines) == NUM_PHOTOS


def test_sending_stops_at_the_limit_whatever_was_estimated(serve, command, monkeypatch):
    price = ["labeler.price.input=0", "labeler.price.cached=0", "labeler.price.output=10000"]
    monkeypatch.setattr(openai, "OUTPUT_TOKENS", 1)
    limit = "labeler.max_cost_usd=1.5"  # an answer costs about $0.7 and is estimated as $0.01
    done = command(server := serve(), *price, limit, "labeler.concurrency=4")
    assert done.code == 2 and "labeler.max_cost_usd=1.5 is reached" in done.err, done.err
    assert 0.3 < float(re.findall(r"\$([0-9.]+)", done.err.partition("this command: ")[2])[0]) <= 1.5
    assert 1 <= sum(server.asked.values()) == len(done.lines) < NUM_PHOTOS
    again = command(server, *price)
    assert again.code == 0 and len(again.lines) == NUM_PHOTOS


def test_both_attempts_of_an_invalid_answer_are_counted(serve, command):
    valid, invalid = serve(), serve(of_image={"images/s0003.jpg": ["violation"]})
    errors = [command(valid).err, command(invalid, "labeler.effort=low").err]
    once, twice = (int(err.rpartition(" input tokens (")[0].split()[-1]) for err in errors)
    assert twice > once
