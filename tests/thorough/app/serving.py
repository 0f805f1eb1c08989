"""The step in its own process, and a browser that shows its page."""

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


@contextmanager
def serving(matcher: Path, folder: Path, *words: str) -> Iterator[tuple[str, subprocess.Popen]]:
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
        cwd=matcher.parent,
        env=dict(os.environ),
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
            if "press Ctrl-C to stop" in line:
                break
        assert answers(port), "".join(said)
        yield f"http://127.0.0.1:{port}", process
    finally:
        process.kill()
        process.communicate()


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


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
