"""A small catalogue of photos on the disk, with embeddings that were drawn instead of computed."""

from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image
from PIL.PngImagePlugin import PngInfo

pytest.importorskip("starlette", reason="the extra app is not installed")

from starlette.testclient import TestClient

from style_match.data.records import Photo
from style_match.serving.profiles import ProfileEmbeddings
from style_match.serving.recommend import Candidates, Query
from style_match.serving.web.catalogue import Catalogue
from style_match.serving.web.live import Live
from style_match.serving.web.server import make_server

EVIL = "<img src=x onerror=alert(1)></script>"
IDENTITY = "ab" * 32


def live_of(catalogue: Catalogue) -> Live:
    """A `Live` whose folder does not change."""
    root = catalogue.inputs.folder.root
    return Live(root, lambda: catalogue, hidden=(root, catalogue.matcher.folder.path))


def jpeg(file: Path, size: tuple[int, int] = (40, 60), **about) -> bytes:
    """A photo with what a camera writes beside the pixels."""
    exif = Image.Exif()
    exif[0x010E] = "secret place"
    Image.new("RGB", size, "teal").save(file, "JPEG", exif=exif, comment=b"secret comment", **about)
    return file.read_bytes()


@pytest.fixture
def catalogue(tmp_path: Path):
    """`catalogue(num=8, sides=True, searches=True, prompt=...)`; the second profile has two photos."""

    def make(num=8, sides=True, searches=True, prompt=None, with_columns=True, unknown_side=None) -> Catalogue:
        root = tmp_path / "people"
        root.mkdir(exist_ok=True)
        ids = tuple([EVIL, *(f"p{row:04d}" for row in range(1, num))])
        files = {one: [root / f"{row}.jpg"] + ([root / "1-b.png"] if row == 1 else []) for row, one in enumerate(ids)}
        jpeg(root / "0.jpg", (900, 600))
        for each in range(1, min(num, 10)):
            jpeg(root / f"{each}.jpg")
        notes = PngInfo()
        notes.add_text("comment", "secret comment")
        Image.new("RGB", (50, 50), "red").save(root / "1-b.png", pnginfo=notes)
        generator = np.random.default_rng(0)

        def vectors() -> ProfileEmbeddings:
            rows = generator.normal(size=(num, 6)).astype(np.float32)
            side = np.arange(num) % 2 if sides else np.full(num, -1)
            if unknown_side is not None:
                side[unknown_side] = -1
            names = ("age", "city", "a b", "vip")
            cells = [(str(20 + row), EVIL if row < 2 else "부산", f"o'x{row % 2}", "True") for row in range(num)]
            return ProfileEmbeddings(
                profile_ids=ids,
                embeddings=rows / np.linalg.norm(rows, axis=1, keepdims=True),
                columns=tuple(dict(zip(names, each, strict=True)) if with_columns else {} for each in cells),
                people=np.arange(num),
                sides=side,
                matcher=IDENTITY,
                photos=tuple(tuple(map(str, files[one])) for one in ids),
                person_of_photo={},
                side_names=("female", "male") if sides else None,
            )

        def photos_of(one: str) -> tuple[Photo, ...]:
            return tuple(Photo(one, file.name, file, 1) for file in files[one])

        metadata = {"0.jpg": {"caption": EVIL, "colours": ["red", "파랑"], "half": "\ud800", "big": 1e999, "no": None}}
        metadata |= {f"{row}.jpg": {"look": "dandy" if row % 2 else "neat"} for row in range(1, num)}
        cfg = {"data": {"max_source_pixels": 10**6}, "prompt": prompt or {"name": "image", "image": 1, "metadata": 0}}
        folder = SimpleNamespace(
            name="demo (abababab)",
            identity=IDENTITY,
            path=tmp_path / "matcher",
            sides=("female", "male") if sides else None,
        )
        trained, frozen = vectors(), vectors()
        made = Catalogue(
            SimpleNamespace(folder=folder, encode=None),
            SimpleNamespace(
                cfg=OmegaConf.create(cfg),
                synthetic=False,
                folder=SimpleNamespace(root=root, metadata=metadata, photos_of=photos_of),
            ),
            trained,
            frozen,
            index=trained.exact_index,
            find_by_text=partial(find_first, trained) if searches else None,
            search_note="Searched: nothing." if searches else "No text search.",
            k=8,
            max_upload_mb=20,
        )
        made._embedded = lambda picture, side: {name: each.embeddings[0] for name, each in made.models.items()}
        return made

    return make


def find_first(profiles: ProfileEmbeddings, text: str, *, k: int, where: str | None) -> list[tuple[str, float]]:
    """The first profiles, whatever the text."""
    Candidates(profiles, where).refuse_too_many(Query(text, np.empty(0)), k)
    return [(one, 0.5) for one in profiles.profile_ids[:k]]


@pytest.fixture
def client(catalogue):
    """`client(password=None, hosts=("127.0.0.1",), max_upload_mb=1, **of the catalogue)`."""

    def make(password=None, hosts=("127.0.0.1",), max_upload_mb=1, **options) -> TestClient:
        live = live_of(catalogue(**options))
        server = make_server(live, hosts=hosts, password=password, max_upload_mb=max_upload_mb)
        return TestClient(server, base_url="http://127.0.0.1:7860", raise_server_exceptions=False)

    return make
