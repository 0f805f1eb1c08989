"""The ledger: no stored answer is ever lost, whatever is asked, answered, failed and killed in whatever order."""

import os
import shutil
import sqlite3
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from style_match.labeling.answers import Answer, Status, Usage
from style_match.labeling.ledger import FILE_NAME, Ledger, read_values
from style_match.utils.errors import UserError
from tests.labeling.makers import make_request, make_schema, style_values

STYLE, COUPLE = make_schema(), make_schema("couple")
FAILURES = [status for status in Status if status is not Status.ANSWERED]


def answered(number: int = 0, **changes) -> Answer:
    return Answer(Status.ANSWERED, style_values(number), usage=Usage(10, 2, 3), model="m-1", cost_usd=0.5, **changes)


def killed(ledger: Ledger, place: Path) -> Path:
    """What a killed process leaves: the files as they are, write-ahead log and all, without a farewell."""
    shutil.copytree(ledger.path.parent, place)
    return place


EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.integers(0, 4)),
        st.tuples(st.just("forget"), st.integers(0, 4)),
        st.tuples(st.just("answer"), st.integers(0, 4)),
        st.tuples(st.sampled_from(FAILURES), st.integers(0, 4)),
        st.tuples(st.just("kill"), st.just(0)),
        st.tuples(st.just("close"), st.just(0)),
    ),
    max_size=25,
)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(events=EVENTS)
def test_any_order_of_asking_answering_and_kills_keeps_every_answer(events):
    requests = [make_request(str(number) * 64, STYLE) for number in range(5)]
    kept: dict[str, dict] = {}
    in_flight: set[str] = set()
    with tempfile.TemporaryDirectory() as home:
        ledger = Ledger(Path(home) / "0")
        for step, (event, number) in enumerate(events, start=1):
            request = requests[number]
            if event == "ask":
                ledger.asked(request.key)
                in_flight.add(request.key)
            elif event == "forget":
                ledger.forget_asked(request.key)
                in_flight.discard(request.key)
            elif event == "answer":
                ledger.answered([(request, answered(step))])
                kept.setdefault(request.key, style_values(step))
                in_flight.discard(request.key)
            elif isinstance(event, Status):
                ledger.answered([(request, Answer(event, detail="why"))])
                in_flight.discard(request.key)
            else:
                if event == "kill":
                    place = killed(ledger, Path(home) / str(step))
                    ledger.close()
                else:
                    place = ledger.path.parent
                    ledger.close()
                ledger = Ledger(place)
                assert ledger.take_in_flight() == len(in_flight)
                in_flight = set()
            stored = ledger.stored(one.key for one in requests)
            assert {key: one.answer.values for key, one in stored.items() if one.answer.values} == kept
            assert ledger.values() == {one.sha256: kept[one.key] for one in requests if one.key in kept}
        ledger.close()


def test_failures_are_told_with_attempts_tokens_and_money_of_all_of_them(tmp_path):
    request = make_request("a", STYLE)
    with Ledger(tmp_path) as ledger:
        for status in (Status.REFUSED, Status.TRUNCATED):
            ledger.asked(request.key)
            ledger.answered([(request, Answer(status, detail=str(status), usage=Usage(5, 1, 2), cost_usd=0.25))])
        one = ledger.stored([request.key])[request.key]
        assert (one.answer.status, one.answer.detail, one.attempts) == (Status.TRUNCATED, "truncated", 2)
        assert (one.answer.usage, one.answer.cost_usd) == (Usage(10, 2, 4), 0.5)
        ledger.answered([(request, answered())])
        assert ledger.stored([request.key])[request.key].answer.cost_usd == 1.0
        assert ledger.stored(["unknown"]) == {}


def test_schemas_stand_side_by_side_and_the_last_command_wins(tmp_path):
    style, other = make_request("a", STYLE), make_request("a", STYLE, labeler={"model": "other"})
    couple = make_request("a", COUPLE)
    with Ledger(tmp_path) as ledger:
        ledger.answered([(style, Answer(Status.ANSWERED, {"fashion_style": "Chic_Modern", "caption": "old"}))])
    with Ledger(tmp_path) as ledger:
        ledger.answered([(couple, Answer(Status.ANSWERED, {"style_vibe": "calm", "caption": "new"}))])
        assert ledger.values() == {"a": {"fashion_style": "Chic_Modern", "caption": "new", "style_vibe": "calm"}}
    with Ledger(tmp_path) as ledger:  # another model, which has no shot type: nothing of the former answer is mixed in
        ledger.answered([(other, Answer(Status.ANSWERED, {"caption": "other"}))])
        assert ledger.values() == {"a": {"style_vibe": "calm", "caption": "other"}}
    with Ledger(tmp_path) as ledger:  # the first command again
        ledger.renew([style.key])
        assert ledger.values()["a"]["fashion_style"] == "Chic_Modern"
    assert read_values(tmp_path / FILE_NAME)["a"]["caption"] == "old"


def test_one_process_at_a_time(tmp_path):
    with Ledger(tmp_path), pytest.raises(UserError, match="Another process labels into"):
        Ledger(tmp_path)
    Ledger(tmp_path).close()


@pytest.mark.parametrize("content", [b"no database, but long enough to be read as one " * 40, b"SQLite format 3\0 cut"])
def test_a_broken_ledger_is_one_message(tmp_path, content):
    (tmp_path / FILE_NAME).write_bytes(content)
    with pytest.raises(UserError, match=r"labels\.sqlite is damaged .* move it away"):
        Ledger(tmp_path)
    with pytest.raises(UserError, match="cannot be read"):
        read_values(tmp_path / FILE_NAME)
    assert (tmp_path / FILE_NAME).read_bytes() == content


def test_flipped_bytes_are_one_message(tmp_path):
    with Ledger(tmp_path) as ledger:
        ledger.answered([(make_request(str(number), STYLE), answered(number)) for number in range(60)])
    path = tmp_path / FILE_NAME
    content = bytearray(path.read_bytes())
    content[4096:-4096:50] = bytes(255 - each for each in content[4096:-4096:50])
    path.write_bytes(content)
    with pytest.raises(UserError, match="is damaged"), Ledger(tmp_path) as ledger:
        ledger.values()


def test_another_database_is_not_touched(tmp_path):
    with sqlite3.connect(tmp_path / FILE_NAME) as database:
        database.execute("CREATE TABLE mine (x)")
    with pytest.raises(UserError, match="is no ledger of labels but another database"):
        Ledger(tmp_path)


def test_a_ledger_of_a_newer_version_is_refused(tmp_path):
    Ledger(tmp_path).close()
    with sqlite3.connect(tmp_path / FILE_NAME) as database:
        database.execute("PRAGMA user_version = 99")
    with pytest.raises(UserError, match="newer version"):
        Ledger(tmp_path)


@contextmanager
def full_disk(ledger: Ledger):
    """No page more than the file has now."""
    pages = ledger._database.execute("PRAGMA page_count").fetchone()[0]
    ledger._database.execute(f"PRAGMA max_page_count = {pages}")
    yield
    ledger._database.execute("PRAGMA max_page_count = 1000000")


def test_a_full_disk_keeps_what_was_stored(tmp_path):
    with Ledger(tmp_path) as ledger:
        requests = [make_request(str(number), STYLE) for number in range(300)]
        with full_disk(ledger), pytest.raises(UserError, match="the disk is full"):
            for number, request in enumerate(requests):
                ledger.answered([(request, answered(number))])
        before = len(ledger.values())
        assert before < 300
        ledger.answered([(requests[299], answered())])
        assert len(ledger.values()) == before + 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_cannot_be_written(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="Give another out"):
        Ledger(tmp_path)


def test_a_file_where_the_folder_should_be(tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(UserError, match=r"Cannot make .*out: .*Give another out"):
        Ledger(tmp_path / "out")
