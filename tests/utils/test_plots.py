"""Characters that no installed font has."""

import warnings

from style_match.utils import plots


def drawn(text: str) -> None:
    drawing = plots.figure(width=2, height=1)
    drawing.text(0.1, 0.5, text)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plots.png(drawing, dpi=50)


def test_a_missing_font_is_named_once_without_raw_warnings(capsys, monkeypatch):
    monkeypatch.setattr(plots, "_EAST_ASIAN", ())
    plots._say_no_font.cache_clear()
    drawn("김민지")
    drawn("부산")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and "Install one that has them, such as Noto Sans CJK" in lines[0]


def test_nothing_is_said_of_text_that_has_a_font(capsys):
    plots._say_no_font.cache_clear()
    drawn("Chic, café")
    assert capsys.readouterr().err == ""
