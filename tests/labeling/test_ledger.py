"""The ledger: no stored answer is ever lost, in whatever order answers, failures and kills come."""

import shutil
import sqlite3
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from style_match.labeling.answers import Answer, Status, Usage
from style_match.labeling.ledger import FILE_NAME, Ledger, read_values
from style_match.utils.errors import UserError
from tests.labeling.makers import make_request, make_schema, style_values

STYLE, COUPLE = make_schema(), make_schema("couple")
FAILURES = [status for status in Status if status is not Status.ANSWERED]


def answered(number: int = 0) -> Answer:
    return Answer(Status.ANSWERED, style_values(number), usage=Usage(10, 2, 3), model="m-1", cost_usd=0.5)


@settings(max_examples=10)
@given(events=st.lists(st.tuples(st.sampled_from(["answer", "kill", *FAILURES]), st.integers(0, 3)), max_size=15))
def test_every_answer_is_kept_in_any_order_of_answers_failures_and_kills(events):
    requests = [make_request(str(number) * 64, STYLE) for number in range(4)]
    expected: dict[str, dict] = {}
    with tempfile.TemporaryDirectory() as home:
        ledger = Ledger(Path(home) / "0")
        for step, (event, number) in enumerate(events, start=1):
            request = requests[number]
            if event == "answer":
                ledger.answered([(request, answered(step))])
                expected.setdefault(request.key, style_values(step))
            elif event == "kill":  # the files as they are, with the write-ahead log
                place = shutil.copytree(ledger.path.parent, Path(home) / str(step))
                ledger.close()
                ledger = Ledger(Path(place))
            else:
                ledger.answered([(request, Answer(event, detail="why"))])
            stored = ledger.stored(each.key for each in requests)
            assert {key: answer.values for key, (answer, _) in stored.items() if answer.values} == expected
            assert ledger.values() == {each.sha256: expected[each.key] for each in requests if each.key in expected}
        ledger.close()


def test_the_last_failure_is_kept_with_the_number_of_attempts(tmp_path):
    request = make_request("a", STYLE)
    with Ledger(tmp_path) as ledger:
        for status in (Status.REFUSED, Status.TRUNCATED):
            ledger.answered([(request, Answer(status, detail=str(status), usage=Usage(5, 1, 2), cost_usd=0.25))])
        stored = ledger.stored([request.key, "unknown"])
    assert stored == {request.key: (Answer(Status.TRUNCATED, None, "truncated", Usage(5, 1, 2), "", 0.25), 2)}


def test_schemas_are_merged_and_the_last_command_wins(tmp_path):
    style, other = make_request("a", STYLE), make_request("a", STYLE, labeler={"model": "other"})
    couple = make_request("a", COUPLE)
    with Ledger(tmp_path) as ledger:
        ledger.answered([(style, Answer(Status.ANSWERED, {"fashion_style": "Chic_Modern", "caption": "old"}))])
    with Ledger(tmp_path) as ledger:
        ledger.answered([(couple, Answer(Status.ANSWERED, {"style_vibe": "calm", "caption": "new"}))])
        assert ledger.values() == {"a": {"fashion_style": "Chic_Modern", "caption": "new", "style_vibe": "calm"}}
    with Ledger(tmp_path) as ledger:  # another model: nothing of the former answer is mixed in
        ledger.answered([(other, Answer(Status.ANSWERED, {"caption": "other"}))])
        assert ledger.values() == {"a": {"style_vibe": "calm", "caption": "other"}}
    with Ledger(tmp_path) as ledger:  # the first command again
        ledger.renew([style.key])
        assert ledger.values()["a"]["fashion_style"] == "Chic_Modern"
    assert read_values(tmp_path / FILE_NAME)["a"]["caption"] == "old"


def test_the_turn_decides_which_answer_is_last_not_the_clock(tmp_path, monkeypatch):
    request, again = make_request("a", STYLE), make_request("a", STYLE, labeler={"model": "other"})
    for each, time_s, caption in ((request, 2e9, "first"), (again, 1e9, "second")):
        monkeypatch.setattr("time.time", lambda time_s=time_s: time_s)
        with Ledger(tmp_path) as ledger:
            ledger.answered([(each, Answer(Status.ANSWERED, {"caption": caption}))])
    assert read_values(tmp_path / FILE_NAME) == {"a": {"caption": "second"}}


def test_one_process_at_a_time(tmp_path):
    with Ledger(tmp_path), pytest.raises(UserError, match="Another process labels into"):
        Ledger(tmp_path)
    Ledger(tmp_path).close()


@pytest.mark.parametrize("content", [b"no database, but long enough to be read as one " * 40, b"SQLite format 3\0 cut"])
def test_a_broken_ledger_is_one_message(tmp_path, content):
    (tmp_path / FILE_NAME).write_bytes(content)
    with pytest.raises(UserError, match=r"labels\.sqlite is damaged .* move the file away"):
        Ledger(tmp_path)
    with pytest.raises(UserError, match="cannot read the answers"):
        read_values(tmp_path / FILE_NAME)
    assert (tmp_path / FILE_NAME).read_bytes() == content


@pytest.mark.parametrize(
    ("statement", "message"), [("CREATE TABLE mine (x)", "another database"), ("PRAGMA user_version = 99", "newer")]
)
def test_databases_of_others_are_refused(tmp_path, statement, message):
    if "PRAGMA" in statement:
        Ledger(tmp_path).close()
    with sqlite3.connect(tmp_path / FILE_NAME) as database:
        database.execute(statement)
    before = (tmp_path / FILE_NAME).read_bytes()
    with pytest.raises(UserError, match=message):
        Ledger(tmp_path)
    assert (tmp_path / FILE_NAME).read_bytes() == before


def test_a_full_disk_keeps_stored_answers(tmp_path):
    requests = [make_request(str(number), STYLE) for number in range(300)]
    with Ledger(tmp_path) as ledger:
        (pages,) = ledger._database.execute("PRAGMA page_count").fetchone()
        ledger._database.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(UserError, match="the disk is full"):
            for number, request in enumerate(requests):
                ledger.answered([(request, answered(number))])
        num_stored = len(ledger.values())
        ledger._database.execute("PRAGMA max_page_count = 1000000")
        ledger.answered([(requests[299], answered())])
        assert 0 < num_stored + 1 == len(ledger.values()) < 300
