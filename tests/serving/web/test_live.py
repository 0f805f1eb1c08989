"""A running app and a dataset folder that is changed: nobody who was removed is shown; what uploads may cost."""

import gc
import importlib
import io
import json
import weakref
from pathlib import Path

import pytest
from PIL import Image

pytest.importorskip("starlette", reason="the extra app is not installed")

from starlette.testclient import TestClient

from style_match.data.records import JOURNAL
from style_match.serving.web import catalogue as catalogues
from style_match.serving.web.live import Live
from style_match.serving.web.running import APPS, registered, running_apps
from style_match.serving.web.server import make_server
from style_match.utils.errors import UserError
from tests.commands import unimportable

pytestmark = pytest.mark.integration

UPLOAD = {"X-Upload": "photo"}
ASKED = (("/api/about", {}), ("/api/profiles", {}), ("/api/match", {"number": 0, "k": 2}), ("/api/map", {}))


class World:
    """A folder whose table says how many profiles the catalogue has, and the app that shows it."""

    def __init__(self, root: Path, catalogue):
        root.mkdir()
        self.root, self.made, self.closed, self.wrong = root, [], [], None
        self.write(8)
        self.live = Live(root, lambda: self.make(catalogue), hidden=(root,))
        server = make_server(self.live, hosts=None, password=None, max_upload_mb=1)
        self.client = TestClient(server, base_url="http://127.0.0.1", raise_server_exceptions=False)

    def write(self, num: int) -> None:
        (self.root / "profiles.csv").write_text("x" * num)

    def make(self, catalogue):
        if self.wrong:
            raise self.wrong
        made = catalogue(num=len((self.root / "profiles.csv").read_text()))
        made.indexes["trained"].close = lambda: self.closed.append(True)
        self.made.append(weakref.ref(made))
        return made


@pytest.fixture
def world(tmp_path, catalogue) -> World:
    return World(tmp_path / "data", catalogue)


def test_every_answer_is_of_the_folder_as_it_is(world):
    assert world.client.get("/api/profiles").json()["total"] == 8
    assert world.client.get("/photo/7.jpg").status_code == 200
    for _ in range(3):
        world.client.get("/api/about")
    assert len(world.made) == 1
    world.write(6)
    assert world.client.get("/photo/7.jpg").status_code == 404
    assert world.client.get("/api/profiles").json()["total"] == 6
    assert len(world.made) == 2 and world.closed
    gc.collect()
    assert world.made[0]() is None, "the first catalogue is kept"


@pytest.mark.parametrize("name", ["metadata.jsonl", "couples.csv", "profiles.parquet", "forgotten.json"])
def test_every_file_of_the_folder_counts(world, name):
    world.client.get("/api/about")
    (world.root / name).write_text("new")
    world.client.get("/api/about")
    (world.root / name).unlink()
    world.client.get("/api/about")
    assert len(world.made) == 3


def test_nobody_is_shown_while_somebody_is_removed(world):
    world.client.get("/api/about")
    (world.root / JOURNAL).write_text("{}")
    for path, asked in ASKED:
        answer = world.client.get(path, params=asked)
        assert answer.status_code == 400 and "is being removed from this folder" in answer.json()["error"]
    assert world.client.get("/photo/0.jpg").status_code == 404
    assert len(world.made) == 1
    world.write(7)
    (world.root / JOURNAL).unlink()
    assert world.client.get("/api/profiles").json()["total"] == 7


def test_a_fault_of_the_folder_is_an_answer_without_its_path(world):
    world.client.get("/api/about")
    world.wrong = UserError(f"{world.root}/profiles.csv: no column")
    world.write(5)
    answer = world.client.get("/api/profiles")
    assert (answer.status_code, answer.json()["error"]) == (400, "data/profiles.csv: no column")
    world.wrong = None
    assert world.client.get("/api/profiles").json()["total"] == 5


def test_a_change_while_the_folder_is_read_is_seen(world):
    make, world.live.make = world.live.make, None

    def changing():
        made = make()
        if len(world.made) == 1:
            world.write(4)
        return made

    world.live.make = changing
    assert world.client.get("/api/profiles").json()["total"] == 4


def test_numbers_are_of_one_version(world):
    version = world.client.get("/api/about").json()["version"]
    assert world.client.get("/photo/1.jpg", params={"of": version}).status_code == 200
    world.write(6)
    assert world.client.get("/photo/1.jpg", params={"of": version}).status_code == 404
    answer = world.client.get("/api/match", params={"number": 0, "k": 1, "of": version})
    assert answer.status_code == 400 and "Load it again" in answer.json()["error"]
    assert world.client.get("/api/about").json()["version"] != version


def test_running_apps_are_listed_and_ended_ones_are_not(tmp_path, monkeypatch):
    monkeypatch.setenv("STYLE_MATCH_CACHE", str(tmp_path / "cache"))
    assert running_apps(tmp_path / "data") == []
    folder = tmp_path / "cache" / APPS
    with registered("http://127.0.0.1:7860", tmp_path / "data"):
        (app,) = running_apps(tmp_path / "other" / ".." / "data")
        assert app.startswith("http://127.0.0.1:7860 (process ")
        assert running_apps(tmp_path / "other") == []
        (folder / "1.json").write_text(json.dumps({"address": "x", "data_root": str(tmp_path / "data")}))
        assert len(running_apps(tmp_path / "data")) == 1
    assert list(folder.iterdir()) == []


def test_forget_needs_no_extra():
    with unimportable("starlette", "uvicorn", "faiss", "qdrant_client"):
        importlib.import_module("style_match.serving.web.running")
        importlib.import_module("style_match.serving.index.folder")


# What uploads may cost


def test_an_upload_of_too_many_pixels_is_refused_by_its_header(client, monkeypatch):
    asking, content = client(), io.BytesIO()
    Image.new("RGB", (1100, 1000)).save(content, "PNG")
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("decoded"))
    options = {"params": {"k": "2", "side": "female"}, "headers": UPLOAD}
    answer = asking.post("/api/match", content=content.getvalue(), **options)
    assert answer.status_code == 400
    assert "1100 x 1000 = 1100000 pixels, more than data.max_source_pixels=1000000" in answer.json()["error"]


def test_photos_are_decoded_one_at_a_time(catalogue, monkeypatch, tmp_path):
    made, locked = catalogue(), []
    for name in ("decode_stream", "thumbnail"):
        real = getattr(catalogues, name)

        def watched(*args, real=real, **options):
            locked.append(made._decoding.locked())
            return real(*args, **options)

        monkeypatch.setattr(catalogues, name, watched)
    made.match_photo((tmp_path / "people" / "1.jpg").read_bytes(), "female", k=1, where=None)
    made.thumbnail(1, 0, 64)
    assert locked == [True, True]
