"""Which values of metadata a prompt shows."""

import pytest

from style_match.data.prompt import metadata_text


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (0.0, "0.0"),
        (False, "no"),
        (True, "yes"),
        (12, "12"),
        ("  a \n b ", "a b"),
        ([0, None, "", "x"], "0, x"),
        (None, None),
        ("", None),
        (" ", None),
        ([], None),
        ({}, None),
        ([None, {"inner": ""}], None),
    ],
)
def test_zero_and_false_are_values_and_only_what_is_empty_is_left_out(value, shown):
    lines = metadata_text({"hats": value, "hair": "short"}, leave_out=()).splitlines()
    assert lines == ([f"hats: {shown}"] if shown is not None else []) + ["hair: short"]
