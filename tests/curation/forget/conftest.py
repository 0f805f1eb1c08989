"""A dataset folder, a cache and runs that hold a person in every place that `forget` cleans."""

import csv
import hashlib
import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
import yaml
from omegaconf import OmegaConf
from PIL import Image
from pyarrow import parquet
from safetensors.torch import save_file

from style_match.backbone.feature_key import owner_of, row_address
from style_match.backbone.feature_store import FeatureStore
from style_match.cli.targets import conf_dir
from style_match.curation.forget import forget
from style_match.data.dataset import read_folder
from style_match.data.fingerprints import Fingerprints
from style_match.data.images import DECODE_POLICY
from style_match.data.photos import check_photos
from style_match.data.prompt import render
from style_match.data.splits import make_split
from style_match.serving.index.folder import open_or_build
from tests.composed import composed

PEOPLE = 12
HER = ("woman-0", "woman-0-later")
CAPTION = "외로운 산책, a lonely walk"
PROMPT: dict[str, Any] = {"system": None, "instruction": "Describe this person.", "template": "{instruction}"}


class World:
    """Paths of the folders, and where the person is found in them."""

    def __init__(self, base: Path, cache: Path):
        self.base, self.root, self.cache, self.runs = base, base / "data", cache, base / "runs"
        self.store = FeatureStore(cache / "features", {"of": "a test"}, shard_rows=5)
        images = [path.relative_to(self.root).as_posix() for path in (self.root / "images").iterdir()]
        self.photos = {image: (self.root / image).read_bytes() for image in sorted(images)}

    def sha256(self, image: str) -> str:
        return hashlib.sha256(self.photos[image]).hexdigest()

    def address(self, image: str) -> str:
        return row_address(self.sha256(image), DECODE_POLICY, render(image=True, metadata=None, leave_out=(), **PROMPT))

    def forget(self, profile: object = "woman-0", **options: object) -> None:
        """Run the command with conf/forget.yaml and these options."""
        cfg = composed("forget")
        for name, value in {"data.root": self.root, "runs": self.runs, "profile": profile, **options}.items():
            OmegaConf.update(cfg, name, str(value) if isinstance(value, Path) else value)
        forget(cfg)

    def state(self) -> dict[str, bytes]:
        files = [path for path in self.base.rglob("*") if path.is_file() and path.name != "fingerprints.sqlite"]
        return {str(path.relative_to(self.base)): path.read_bytes() for path in sorted(files)}

    def where(self, *needles: bytes) -> list[str]:
        """Return files of the dataset folder and the cache whose name or content holds one of the needles."""
        files = [path for top in (self.root, self.cache) for path in top.rglob("*") if path.is_file()]
        return [str(path) for path in files if any(each in str(path).encode() + path.read_bytes() for each in needles)]

    def ids(self) -> set[str]:
        with open(self.root / "profiles.csv", encoding="utf-8", newline="") as file:
            return {row["profile_id"] for row in csv.DictReader(file)}

    def edit(self, name: str, old: str, new: str) -> None:
        path = self.root / name
        path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")


def _write(path: Path, rows: Sequence[Sequence[object]]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def _write_dataset(root: Path) -> None:
    ids = [f"{kind}-{i}" for i in range(PEOPLE) for kind in ("woman", "gent")]
    rows = [
        [each, f"images/{each}.png", f"user of {each}", "d1" if each in ("woman-0", "woman-3") else ""] for each in ids
    ]
    rows.append(["woman-0-later", "images/later.png", "user of woman-0", "d1"])
    (root / "images").mkdir(parents=True)
    for number, (_, image, *_) in enumerate(rows):
        pixels = np.random.default_rng(number).integers(0, 255, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / image)
    _write(root / "profiles.csv", [["profile_id", "image", "user_id", "duplicate_group"], *rows])
    couples = [[f"woman-{i}", f"gent-{i}"] for i in range(PEOPLE)] + [["woman-0-later", "gent-1"]]
    _write(root / "couples.csv", [["female_id", "male_id"], *couples])
    captions = {image: CAPTION if each in HER else f"a photo of number {i}" for i, (each, image, *_) in enumerate(rows)}
    lines = [json.dumps({"image": image, "caption": text}, ensure_ascii=False) for image, text in captions.items()]
    (root / "metadata.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    rejected = ["photo,images/later.png,source,3,blurred", "couple,woman-0 + gent-9,couples.csv,9,x"]
    rejected += ["profile,gent-40,p,7,no woman-00"]
    (root / "rejected.csv").write_text("\n".join(["kind,id,file,row,reason", *rejected, ""]))
    failed = ["images/woman-0.png,refused,no,1", "images/gent-2.png,error,no,2"]
    (root / "failed.csv").write_text("\n".join(["image,status,detail,attempts", *failed, ""]))
    (root / "prepared.html").write_text('<img src="data:image/jpeg;base64,AAAA">', encoding="utf-8")
    (root / "prepared.json").write_text('{"identity": {"source": "/somewhere"}}', encoding="utf-8")
    (root / "backup").mkdir()
    shutil.copy(root / "images/woman-0.png", root / "backup/IMG_1.png")


def _write_features(world: World) -> None:
    """Rows owned by photos, and one row of a prompt without a photo."""
    vector = {"mean": torch.arange(3.0)}
    with world.store.writer() as writer:
        for image in world.photos:
            writer.add(world.address(image), vector, world.sha256(image))
        writer.add("ab" * 32, vector, owner_of("woman-0"))


def _write_run(folder: Path, world: World, ids: list[str]) -> None:
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump({"data": {"root": str(world.root)}}), encoding="utf-8")
    hashes = sorted(world.sha256(f"images/{each}.png") for each in ids)
    (folder / "seen.txt").write_text("".join(f"{each}\n" for each in hashes), encoding="utf-8")
    others = ["woman-0", "gent-7"] if "woman-0" not in ids else ["woman-7", "gent-7"]
    parquet.write_table(pa.table({"query": others, "rank": [1, 2]}), folder / "ranks.parquet")
    save_file({"left": torch.zeros(2, 2)}, folder / "embeddings.safetensors", {"left_ids": json.dumps(others)})
    (folder / "report.html").write_text(f"<td>{others[0]}</td>", encoding="utf-8")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset folder; the cache is made per test because it stores absolute paths."""
    base = tmp_path_factory.mktemp("made")
    _write_dataset(base / "data")
    return base


@pytest.fixture
def world(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    base, cache = tmp_path / "world", tmp_path / "world/cache"
    shutil.copytree(made, base)
    monkeypatch.setenv("STYLE_MATCH_CACHE", str(cache))
    time.sleep(0.06)  # hashes of files changed just now are not remembered
    fingerprints = Fingerprints(cache / "fingerprints.sqlite")
    folder = read_folder(base / "data", task="couple")
    folder = check_photos(folder, fingerprints, max_source_pixels=10**6, on_bad_image="error", num_workers=0)
    fingerprints.close()
    make_split(folder, seed=0, fractions=(0.5, 0.25, 0.25))
    world = World(base, cache)
    _write_features(world)
    index = OmegaConf.merge(OmegaConf.load(conf_dir() / "index/faiss.yaml"), {"kind": "hnsw"})
    vectors = np.eye(len(folder.profile_ids), dtype=np.float32)
    open_or_build(index, world.root, folder.profile_ids, vectors, None, "0" * 64).close()  # type: ignore[arg-type]
    _write_run(world.runs / "one", world, ["woman-0", "gent-0"])
    _write_run(world.runs / "two", world, ["woman-5", "gent-5"])
    return world
