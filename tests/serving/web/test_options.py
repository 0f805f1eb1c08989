"""Rules for the options of `style_match.app`."""

import pytest

from style_match.cli import schema


@pytest.mark.parametrize(
    ("option", "right", "wrong"),
    [
        ("app.host", ("127.0.0.1", "::1"), (None, [])),
        ("app.port", (1, 65535), (0, 65536, 80.5, "http")),
        ("app.k", (1, 50), (0, -1, 1.5)),
        ("app.max_upload_mb", (0.5, 20), (0, -1, "20MB", float("inf"))),
        ("app.num_shown", (1,), (0,)),
        ("app.max_values", (2,), (1, None)),
        ("app.map.max_points", (2,), (1,)),
        ("app.map.perplexity", (30.0, 5), (0,)),
        ("app.map.seed", (0,), (-1,)),
    ],
)
def test_options(option, right, wrong):
    assert all(schema.RULES[option].holds(value) for value in right)
    assert not any(schema.RULES[option].holds(value) for value in wrong)
