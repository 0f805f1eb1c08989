"""The step as a user calls it, against a server on this machine that speaks the API over drawn figures."""

import asyncio
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from style_match.synthetic.dataset import write_styles
from style_match.synthetic.world import WorldParams
from tests.labeling.api.figures import Figures
from tests.labeling.api.server import Faults, Server
from tests.labeling.conftest import Labelled

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
def serve(known: Figures) -> Iterator[Callable[..., Server]]:
    """`serve(**how it misbehaves)` starts a server."""
    servers = []

    def start(*, key: str | None = KEY, hang_s: float = 0.5, retry_after_s: float = 0.05, batch_s: float = 0.0, **how):
        options = dict(hang_s=hang_s, retry_after_s=retry_after_s, batch_s=batch_s)
        servers.append(server := Server(known, Faults(**how), key=key, **options))
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def command(
    command: Callable[..., Labelled], photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Labelled]:
    """`command(server, *words)` runs the step and does not check its exit code."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)

    def run(server: Server | None, *words: str, labeler: str = "openai", typed: bool = False) -> Labelled:
        address = [f"labeler.base_url={server.url}"] if server else []
        line = [f"images={photos}", f"out={tmp_path / 'out'}", f"labeler={labeler}", *address, *QUICK, *words]
        return command(*line, code=None, typed=typed)

    return run
