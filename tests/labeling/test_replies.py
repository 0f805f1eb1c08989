"""What answers of servers mean, in the forms that local servers give them."""

import json

import pytest

from style_match.labeling.answers import Answer, Status, Usage
from style_match.labeling.client import error_status
from style_match.labeling.cost import Price
from style_match.labeling.replies import parse
from tests.labeling.makers import make_schema, style_values

SCHEMA = make_schema()
GOOD = style_values()
TEXT = json.dumps(GOOD)
PRICE = Price(input=1.0, cached=0.5, output=2.0, cache_write=1.0, as_of="now", source="the test")
USAGE = {"prompt_tokens": 100, "completion_tokens": 20}


def read(body) -> Answer:
    return parse(body if isinstance(body, str) else json.dumps(body), SCHEMA, PRICE)


def chat(content, finish="stop", usage=USAGE, **message):
    message = {"role": "assistant", "content": content, **message}
    return {"model": "m", "choices": [{"finish_reason": finish, "message": message}], "usage": usage}


UNDERSTOOD = {
    "plain": chat(TEXT),
    "fence": chat(f"```json\n{TEXT}\n```"),
    "fence without a language": chat(f"```\n{TEXT}\n```"),
    "fence in words": chat(f"Here is the JSON you {{asked}} for:\n```JSON\n{TEXT}```\nI hope that {{helps}}."),
    "words around": chat(f"Answer: {TEXT} Done."),
    "think": chat(f"<think>\nIs it {{}}?\n</think>\n\n{TEXT}"),
    "think without its beginning": chat(f"A draft: {{}}\n</think>\n{TEXT}"),
    "thinking and fence": chat(f"<thinking>...</thinking>```json\n{TEXT}\n```"),
    "draft in the thinking": chat('<think>{"caption": "draft"}</think>' + TEXT),
    "other marks of thinking": chat(f"[THINK]hm[/THINK]{TEXT}"),
    "box": chat(f"<|begin_of_box|>{TEXT}<|end_of_box|>"),
    "byte order mark": chat(f"\ufeff{TEXT}"),
    "reasoning_content": chat(None, reasoning_content=f"hmm {TEXT}"),
    "reasoning": chat("", reasoning=TEXT),
    "draft and answer in reasoning_content": chat(None, reasoning_content=f'{{"caption": "draft"}} no: {TEXT}'),
    "parts": chat([{"type": "text", "text": TEXT}]),
    "parts of a text": chat([{"type": "text", "text": TEXT[:20]}, TEXT[20:]]),
    "parts with thinking": chat([{"type": "thinking", "thinking": ["hm"]}, {"type": "text", "text": TEXT}]),
    "object": chat(GOOD),
    "list of one": chat(f"[{TEXT}]"),
}


@pytest.mark.parametrize("form", UNDERSTOOD)
def test_understood(form):
    answer = read(UNDERSTOOD[form])
    assert (answer.status, answer.values) == (Status.ANSWERED, GOOD), answer.detail
    assert answer.usage == Usage(100, 0, 20) and answer.cost_usd == pytest.approx(140e-6)


@pytest.mark.parametrize("content", [TEXT, f"```json\n{TEXT}\n```", [{"type": "output_text", "text": TEXT}]])
def test_responses(content):
    body = {"status": "completed", "output": [{"type": "reasoning"}, {"type": "message", "content": content}]}
    answer = read(body)
    assert (answer.status, answer.values) == (Status.ANSWERED, GOOD), answer.detail


@pytest.mark.parametrize(
    ("body", "said", "remedy"),
    [
        (chat("The photo shows a person."), '"The photo shows a person."', "ignore the schema (response_format)"),
        (chat("x" * 500), '"' + "x" * 120 + '"...', "ignore the schema (response_format)"),
        (chat("<think>I see a person"), "<think>I see a person", "Turn reasoning off"),
        (chat("<think>I see</think>a person"), "</think>a person", "Turn reasoning off"),
        (chat(None, reasoning_content="I see a person"), "I see a person", "Turn reasoning off"),
        (chat(""), "is empty", "Turn reasoning off"),
        (chat(None), "is empty", "Turn reasoning off"),
        (chat(json.dumps({**GOOD, "sure": 1})), json.dumps(GOOD)[:100], "ignore the schema (response_format)"),
        (chat(TEXT[:40]), TEXT[:40], "ignore the schema (response_format)"),
        ("<html>Welcome to the portal</html>", "<html>Welcome to the portal</html>", "labeler.base_url"),
        ("[1]", '"[1]"', "labeler.base_url"),
        ("[" * 200_000, "[[[[", "labeler.base_url"),
        ({"choices": [], "usage": USAGE}, '{"choices": []', "labeler.base_url"),
        ({"choices": [None]}, '{"choices": [null]}', "labeler.base_url"),
        ({"choices": {"a": 1}}, '{"choices": {"a": 1}}', "labeler.base_url"),
        (chat("{" * 100_000), "{{{{", "ignore the schema (response_format)"),
        (chat('{"a":' * 50_000), '{"a":{"a":', "ignore the schema (response_format)"),
    ],
)
def test_unusable_answers_are_shown_with_a_remedy(body, said, remedy):
    answer = read(body)
    assert answer.status is Status.INVALID and said in answer.detail and remedy in answer.detail, answer.detail
    assert len(answer.detail) < 500


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't assist with that request.",
        "I’m really sorry, but no.",
        "I cannot help with identifying people.",
        "<think>They ask about a person.</think>\n\nSorry, I can't.",
        "죄송합니다. 도와드릴 수 없습니다.",
    ],
)
def test_a_refusal_in_prose(text):
    answer = read(chat(text))
    assert answer.status is Status.REFUSED and answer.detail.startswith('refused in prose: "'), answer.detail
    assert "another labeler.model" in answer.detail


def test_refusals_of_the_api():
    assert read(chat(None, refusal="No.")).detail == "No."
    answer = read(chat([{"type": "refusal", "refusal": "No\x1b[31m!"}]))
    assert (answer.status, answer.detail) == (Status.REFUSED, "No!")
    assert read(chat(TEXT[:30], finish="content_filter")).status is Status.REFUSED
    assert read(chat(TEXT[:30], finish="length")).status is Status.TRUNCATED
    assert read(chat(TEXT, finish={})).status is Status.ANSWERED


@pytest.mark.parametrize("count", [10**30, 10**9, -1, "100", None, True, 1e300, float("nan"), float("inf"), [], {}])
@pytest.mark.parametrize("name", ["prompt_tokens", "completion_tokens"])
def test_a_paid_answer_is_kept_whatever_the_usage_says(name, count):
    answer = read(chat(TEXT, usage={**USAGE, name: count}))
    assert (answer.status, answer.values) == (Status.ANSWERED, GOOD)
    assert answer.usage == Usage() and answer.cost_usd is None


def test_odd_usage():
    for usage in (None, [1], "many"):
        answer = read(chat(TEXT, usage=usage))
        assert answer.status is Status.ANSWERED and answer.usage == Usage() and answer.cost_usd is None
    answer = read(chat(TEXT, usage={**USAGE, "prompt_tokens_details": {"cached_tokens": 10**6}}))
    assert answer.usage == Usage(100, 100, 20) and answer.cost_usd == pytest.approx(90e-6)  # no more than was read
    assert read(chat(TEXT, usage={**USAGE, "prompt_tokens_details": [7]})).usage == Usage(100, 0, 20)
    assert read(chat(TEXT, usage={"prompt_tokens": 100.0, "completion_tokens": 20})).usage == Usage(100, 0, 20)


def test_texts_are_plain_before_they_are_stored():
    odd = (
        "A \x1b[31mred\x1b[0m \x1b]0;title\x07jacket\u202e,\u2066 line one\nline two\t\x00\x9b\u200f\ud83d \U0001f600."
    )
    answer = read(chat(json.dumps({**GOOD, "caption": odd})))
    assert answer.values is not None, answer.detail
    assert answer.values["caption"] == "A red jacket, line one line two  \U0001f600."
    raw = json.dumps({**GOOD, "caption": "one|two"}).replace("|", "\n")  # a line break that JSON does not allow
    assert read(chat(raw)).values == {**GOOD, "caption": "one two"}
    assert "caption: is empty" in read(chat(json.dumps({**GOOD, "caption": "\x1b[0m\u202e"}))).detail
    assert "caption: has 20,000 characters" in read(chat(json.dumps({**GOOD, "caption": "x" * 20_000}))).detail
    family = "\U0001f468\u200d\U0001f469\u200d\U0001f467"  # joined by characters that stay
    assert read(chat(json.dumps({**GOOD, "caption": family}))).values == {**GOOD, "caption": family}


def test_the_model_name_is_plain_and_short():
    assert read({**chat(TEXT), "model": "m\x1b[2J\ud800" + "x" * 999}).model == "m" + "x" * 199
    assert read({**chat(TEXT), "model": None}).model == ""


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"error": {"message": "upstream overloaded", "code": 502}}, 502),
        ({"error": {"message": "upstream overloaded"}}, 502),
        ({"error": {"message": "slow down", "code": "429"}}, 429),
        ({"error": {"message": "slow down", "type": "rate_limit_error"}}, 429),
        ({"error": "model not loaded"}, 502),
        ({"error": {"message": "bad", "type": "invalid_request_error", "code": None}}, 400),
        ({"error": {"message": "who?", "code": "invalid_api_key"}}, 401),
        ({"error": {"message": "x"}, "status": 503}, 503),
        ({"object": "error", "message": "bad", "code": 400}, 400),
        ({"error": {"message": "x", "code": 200}, "choices": []}, 502),
        ({"error": {"code": 10**30}}, 502),
        (chat(TEXT), None),
        ({**chat(TEXT), "error": None}, None),
        ({"status": "failed", "output": [], "error": {"code": "server_error"}}, None),
        ({"error": None, "choices": []}, None),
        (["error"], None),
    ],
)
def test_errors_with_status_200(body, status):
    assert error_status(json.dumps(body).encode()) == status
