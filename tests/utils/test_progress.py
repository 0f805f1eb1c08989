import pytest

from style_match.utils import progress


def test_a_log_gets_lines_with_rate_and_time_left(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    clock = iter([0.0, 0.0, 20.0, 21.0, 40.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with progress.bar("embedding", "photos") as advance:
        for done in (0, 40, 42, 80):
            advance(done, 80)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "embedding: 40 of 80 photos, 2 photos/s, 20 s left",
        "embedding: 80 of 80 photos, 2 photos/s in 40.0 s",
    ]


def test_what_was_there_before_is_not_counted_in_the_rate(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    clock = iter([0.0, 0.0, 20.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with progress.bar("drawing", "photos") as advance:
        advance(60, 100)
        advance(80, 100)
    assert capsys.readouterr().err == "drawing: 80 of 100 photos, 1 photos/s, 20 s left\n"


def test_silent_where_asked(capsys: pytest.CaptureFixture[str]):
    with progress.bar("drawing", "photos", show=False) as advance:
        advance(0, 1)
        advance(1, 1)
    assert capsys.readouterr().err == ""
