"""The step as a process, a folder of profiles that it serves, and a browser that watches."""

import csv
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

EVIL = "<img src=x onerror=alert(1)>"
CAPTION = "</script><script>alert(2)</script> a neat dandy look"
CITIES = ("Seoul", "부산", "<b>O'Neill</b>")

SMALL = ("data.num_couples=80", "trainer.max_epochs=1", "head.hidden_dim=16", "evaluation.num_resamples=100")


def trained(home: Path, cache: Path) -> None:
    """A matcher of 80 drawn couples in `home`/matcher."""
    for name, *words in (("train", *SMALL, "hydra.run.dir=run"), ("export", "run=run", "out=matcher")):
        done = subprocess.run(
            [sys.executable, "-m", f"style_match.{name}", *words],
            cwd=home,
            env={**os.environ, "STYLE_MATCH_CACHE": str(cache)},
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stderr


def evil_folder(demo: Path, out: Path) -> Path:
    """The drawn folder with ages and cities, and a first profile of two photos whose id and caption hold markup."""
    out.mkdir()
    shutil.copytree(demo / "images", out / "images")
    first = ""
    with open(demo / "profiles.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    first, second = rows[0]["profile_id"], rows[2]["image"]
    shutil.copy(demo / second, out / "images" / "second.jpg")
    for number, row in enumerate(rows):
        row.update(age=str(20 + number % 30), city=CITIES[number % len(CITIES)])
    rows[0]["profile_id"] = EVIL
    rows.insert(1, {**rows[0], "image": "images/second.jpg"})
    write_csv(out / "profiles.csv", rows)
    with open(demo / "couples.csv", newline="", encoding="utf-8") as file:
        couples = list(csv.DictReader(file))
    write_csv(out / "couples.csv", [{k: EVIL if v == first else v for k, v in row.items()} for row in couples])
    lines = [json.loads(line) for line in (demo / "metadata.jsonl").read_text(encoding="utf-8").splitlines()]
    lines[0]["caption"] = CAPTION
    lines.append({**lines[0], "image": "images/second.jpg"})
    (out / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return out


def write_csv(path: Path, rows: list[dict[str, str]]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@contextmanager
def serving(matcher: Path, folder: Path, cache: Path, *words: str) -> Iterator[tuple[str, subprocess.Popen]]:
    """(address, process) of the step once it answers; killed at the end where it still runs."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "style_match.app",
            f"model={matcher}",
            f"data.root={folder}",
            f"app.port={port}",
            *words,
        ],
        cwd=cache,
        env={**os.environ, "STYLE_MATCH_CACHE": str(cache)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # a shell's background job hands down that Ctrl-C is ignored
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        said = []
        for line in process.stderr:
            said.append(line)
            if "Ctrl-C ends it" in line:
                break
        assert process.poll() is None, "".join(said)
        yield f"http://127.0.0.1:{port}", process
    finally:
        process.kill()
        process.communicate()


@contextmanager
def chromium():
    """Chromium or Chrome of this machine, else Playwright's own; the test is skipped where there is none."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        known = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
        own = playwright.chromium.executable_path
        file = next(filter(None, map(shutil.which, known)), own)
        if not (file and Path(file).is_file()):
            pytest.skip("no Chromium: neither in PATH nor Playwright's own (playwright install chromium)")
        browser = playwright.chromium.launch(executable_path=file, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@dataclass
class Seen:
    """What the page did besides; `refused` is how many questions the server may have answered with an error."""

    console: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)
    posts: int = 0
    refused: int = 0

    def watch(self, page) -> None:
        page.on("console", lambda message: self.console.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.console.append(f"pageerror: {error}"))
        page.on("dialog", lambda dialog: (self.console.append("a dialog"), dialog.dismiss()))
        page.on("request", self.note)

    def note(self, request) -> None:
        self.posts += request.method == "POST"
        if not request.url.startswith(("data:", "blob:")):
            self.hosts.add(request.url.split("/")[2])

    def check(self, address: str) -> None:
        refused = [each for each in self.console if "the server responded with a status of 4" in each]
        assert len(refused) == len(self.console) == self.refused, self.console
        assert self.hosts == {address.removeprefix("http://")}


def wait_for(page, expression: str) -> None:
    """Until it is true; Playwright's own `wait_for_function` evaluates texts, which the page's policy forbids."""
    ends = time.monotonic() + 60
    while not page.evaluate(expression):
        assert time.monotonic() < ends, expression
        page.wait_for_timeout(50)


def names(page, where: str) -> list[str]:
    return page.locator(f"{where} .name").all_text_contents()
