"""The step as a user calls it, against a server on this machine that speaks the API over drawn figures."""

import asyncio
import csv
import json
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from style_match.synthetic.dataset import write_styles
from style_match.synthetic.world import WorldParams
from tests.labeling.api.figures import Figures
from tests.labeling.api.server import Faults, Server
from tests.labeling.conftest import run_label, type_label

KEY = "sk-this-is-the-secret-of-the-tests"
NUM_PHOTOS = 5
WORLD = WorldParams(rho=0.0, scene_follow=0.2, temperature=0.0, noise=0.1, background_follow=0.0, accessory_gain=1.5)
QUICK = (
    "labeler.concurrency=2",
    "labeler.batch.poll_s=0.05",
    "labeler.model=gpt-6-luna",
    "max_failed_share=1",
    "progress=false",
)


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that the OpenAI client waits before its retries, which take no time here."""
    seconds: list[float] = []

    async def sleep(delay: float) -> None:
        seconds.append(delay)
        await asyncio.sleep(0)

    monkeypatch.setattr("anyio.sleep", sleep)
    return seconds


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A demo folder of a few figures; one photo has a camera's words and a place in it."""
    root = tmp_path_factory.mktemp("drawn")
    write_styles(
        root, world_seed=3, num_photos=NUM_PHOTOS, size_px=96, params=WORLD, num_workers=1, progress=lambda *_: None
    )
    path = root / "images" / "s0001.jpg"
    with Image.open(path) as image:
        exif = image.getexif()
        exif[0x010F] = "SecretCamera"
        exif.get_ifd(0x8825)[1] = "N"
        image.save(path, quality=95, exif=exif)
    return root


@pytest.fixture(scope="session")
def known(drawn: Path) -> Figures:
    return Figures([drawn])


@pytest.fixture
def photos(drawn: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(drawn / "images", tmp_path / "photos"))


@pytest.fixture
def serve(known: Figures) -> Iterator[Callable[..., Any]]:
    """`serve(**how it misbehaves)` starts a server."""
    servers = []

    def start(*, key: str | None = KEY, **options: Any) -> Any:
        names = {"script", "of_image", "always", "batches"}
        how = {name: options.pop(name) for name in names & set(options)}
        options = {"hang_s": 0.5, "retry_after_s": 0.05, "batch_s": 0.0, **options}
        server = Server(known, Faults(**how), key=key, **options)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


class Labelled:
    """What a command left: `code`, `out` and `err` as printed, and the files of the out folder."""

    def __init__(self, code: int, out: str, err: str, folder: Path) -> None:
        self.code, self.out, self.err, self.folder = code, out, err, folder

    @property
    def lines(self) -> dict[str, dict[str, Any]]:
        path = self.folder / "metadata.jsonl"
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
        return {row.pop("image"): row for row in rows}

    @property
    def failed(self) -> dict[str, dict[str, str]]:
        with open(self.folder / "failed.csv", newline="", encoding="utf-8") as file:
            return {row["image"]: row for row in csv.DictReader(file)}


@pytest.fixture
def command(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> Callable[..., Labelled]:
    """`command(server, *words)` runs the step in this process; with `typed`, from its command line."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [])
    monkeypatch.setenv("OPENAI_API_KEY", KEY)

    def run(server: Any, *words: str, labeler: str = "openai", typed: bool = False) -> Labelled:
        address = [f"labeler.base_url={server.url}"] if server else []
        out = tmp_path / "out"
        line = [f"images={photos}", f"out={out}", f"labeler={labeler}", *address, *QUICK, *words]
        capsys.readouterr()
        try:
            (type_label if typed else run_label)(line)
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        printed = capsys.readouterr()
        return Labelled(code, printed.out, printed.err, out)

    return run
