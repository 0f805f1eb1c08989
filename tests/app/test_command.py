"""`python -m style_match.app`: mistakes that are answered before anything is loaded."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from style_match import rules

# the step, and whether torch was imported by its end; modules named first cannot be imported
SCRIPT = """
import runpy, sys
sys.modules.update(dict.fromkeys(filter(None, sys.argv.pop(1).split(","))))
try:
    runpy.run_module("style_match.app", run_name="__main__", alter_sys=True)
finally:
    print("torch" in sys.modules)
"""


def refused(tmp_path: Path, *words: str, without: str = "", **environment: str) -> str:
    """What the step says as it ends with code 2, in about a second and without torch."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, without, *words],
        cwd=tmp_path,
        env={**{key: value for key, value in os.environ.items() if "PASSWORD" not in key}, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout.split()) == (2, ["False"]), done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.slow
def test_other_machines_only_with_a_password(tmp_path):
    for host in ("0.0.0.0", "::", "192.168.0.7"):
        told = refused(tmp_path, "model=nowhere", f'app.host="{host}"')
        assert "STYLE_MATCH_APP_PASSWORD" in told
    told = refused(tmp_path, "model=nowhere", "app.host=0.0.0.0", "app.port=7861", STYLE_MATCH_APP_PASSWORD="x")
    assert "model=nowhere: there is no such folder" in told


@pytest.mark.slow
def test_a_port_in_use(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        told = refused(tmp_path, "model=nowhere", f"app.port={port}")
    assert f"app.port={port} cannot be used" in told and "Give another app.port" in told


@pytest.mark.slow
@pytest.mark.parametrize("name", ["starlette", "uvicorn"])
def test_a_missing_extra(tmp_path, name):
    assert f"{name} is not installed: pip install 'style_match[app]'" in refused(
        tmp_path, "model=nowhere", without=name
    )


@pytest.mark.slow
def test_a_damaged_matcher(tmp_path):
    folder = tmp_path / "matcher"
    folder.mkdir()
    free = f"app.port={free_port()}"
    assert "has no matcher.json" in refused(tmp_path, "model=matcher", free)
    (folder / "matcher.json").write_text('{"format": 1}')
    assert "changed or damaged" in refused(tmp_path, "model=matcher", free)
    (folder / "matcher.json").write_text('{"format": 9}')
    assert "Install a newer style_match" in refused(tmp_path, "model=matcher", free)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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
    assert all(rules.RULES[option].holds(value) for value in right)
    assert not any(rules.RULES[option].holds(value) for value in wrong)
