"""The key of features: everything global that changes a vector is in it, and nothing else."""

import hashlib
import importlib
import json
import linecache
import shutil
import sys
from functools import partial
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hypothesis import given
from hypothesis import strategies as st

from style_match.backbone import feature_key as identity_module
from style_match.backbone import pooling
from style_match.backbone.checkpoint import Checkpoint
from style_match.backbone.feature_key import COMPUTATION, computation, identity, row_address, source_of
from style_match.utils.errors import UserError

CONF = Path(__file__).resolve().parents[2] / "conf"
PACKAGE = Path(identity_module.__file__).parents[1]
OPTIONS = {
    "name": "tiny",
    "path": "somewhere",
    "revision": "main",
    "dtype": "auto",
    "attention": "sdpa",
    "fused_patch_embedding": True,
    "image_backend": "pil",
    "min_pixels": None,
    "max_pixels": 200704,
    "device": "auto",
    "layer": None,
    "token_budget": 8192,
    "num_workers": 4,
}


class Hashes:
    """Hashes every file it is asked for, and remembers which."""

    def __init__(self):
        self.asked: list[Path] = []

    def sha256(self, path: Path) -> str:
        self.asked.append(path)
        return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def checkpoint(copied) -> Checkpoint:
    return Checkpoint(copied, "somewhere", None)


POOLINGS = {name: source_of(getattr(pooling, name)) for name in ("eos", "mean")}


def of(checkpoint, *, poolings=POOLINGS, device="cpu", **changes):
    return identity(checkpoint, OPTIONS | changes, poolings, device, Hashes())


def test_options_that_change_a_vector_change_the_identity(checkpoint):
    before = of(checkpoint)
    options = [{"dtype": "bf16"}, {"attention": "eager"}, {"fused_patch_embedding": False}, {"layer": 2}]
    options += [{"min_pixels": 4096}, {"max_pixels": 65536}, {"an_option_of_the_future": 1}]
    options += [{"poolings": {"eos": POOLINGS["eos"]}}, {"poolings": {**POOLINGS, "mean": POOLINGS["eos"]}}]
    for changes in [*options, {"device": "mps"}, {"device": "cuda"}]:
        assert of(checkpoint, **changes) != before, changes
    places = [{"name": "other"}, {"path": "elsewhere"}, {"revision": "v2"}, {"token_budget": 1}, {"num_workers": 0}]
    for changes in [*places, {"poolings": dict(reversed(POOLINGS.items()))}, {"dtype": "fp32"}]:
        assert of(checkpoint, **changes) == before, changes


def test_every_file_that_is_read_changes_the_identity(checkpoint):
    found = [of(checkpoint)]
    for name in ("config", "tokenizer", "tokenizer_config", "preprocessor_config", "chat_template"):
        path = checkpoint.folder / f"{name}.json"
        path.write_text(path.read_text() + " ")
        found.append(of(checkpoint))
    for name in ("processor_config.json", "added_tokens.json", "special_tokens_map.json", "vocab.json", "merges.txt"):
        (checkpoint.folder / name).write_text("{}")
        found.append(of(checkpoint))
    (checkpoint.folder / "chat_template.jinja").write_text("{}")
    assert len({json.dumps(each) for each in [*found, of(checkpoint)]}) == 12


def test_weights_shards_and_their_index_are_hashed(checkpoint):
    before, whole = of(checkpoint), checkpoint.folder / "model.safetensors"
    whole.write_bytes(whole.read_bytes()[:-1] + b"\x01")
    assert of(checkpoint) != before
    whole.rename(checkpoint.folder / "a.safetensors")
    index = {"weight_map": {"embed_tokens.weight": "a.safetensors"}}
    (checkpoint.folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert {"a.safetensors", "model.safetensors.index.json"} <= of(checkpoint)["files"].keys()


def test_other_files_and_the_place_do_not_count(checkpoint, tmp_path):
    before = of(checkpoint)
    (checkpoint.folder / "README.md").write_text("more about")
    assert of(Checkpoint(checkpoint.folder.rename(tmp_path / "moved"), "elsewhere", "0123abcd")) == before


def test_versions_of_libraries_and_the_precision_count(checkpoint, monkeypatch):
    before = of(checkpoint)
    assert {*before["versions"]} == {"torch", "transformers", "tokenizers", "pillow"}
    monkeypatch.setattr(identity_module, "version", lambda name: f"{name} 1")
    assert of(checkpoint) != before
    assert of(checkpoint, image_backend="torchvision")["versions"]["torchvision"] == "torchvision 1"
    assert [of(checkpoint, device=device)["options"]["dtype"] for device in ("cpu", "cuda")] == ["fp32", "bf16"]


def test_it_is_plain_json_and_hashes_come_from_the_cache(checkpoint, tmp_path):
    blob = (checkpoint.folder / "model.safetensors").rename(tmp_path / "blob")  # as in the hub's cache
    (checkpoint.folder / "model.safetensors").symlink_to(blob)
    hashes = Hashes()
    found = identity(checkpoint, OPTIONS, POOLINGS, "cpu", hashes)
    assert json.loads(json.dumps(found)) == found
    assert len(hashes.asked) == len(found["files"]) and blob in hashes.asked and "model.safetensors" in found["files"]


@pytest.mark.parametrize("name", ["tiny", "qwen3_vl_2b", "qwen3_vl_4b", "qwen3_vl_8b", "qwen3_vl_embedding_2b"])
def test_every_yaml_names_itself_and_gives_all_options(name, checkpoint):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose(overrides=[f"+backbone={name}"]).backbone
    assert cfg.name == name
    assert set(cfg) == set(OPTIONS)
    assert identity(checkpoint, cfg, POOLINGS, "cpu", Hashes())["options"]["dtype"] == "fp32"
    assert cfg.path == "package:backbone/tiny" or cfg.path.startswith("Qwen/Qwen3-VL-")


# Row addresses

ADDRESSED = st.tuples(st.none() | st.text("0123456789abcdef", min_size=64, max_size=64), st.text(), st.text())


@given(ADDRESSED, ADDRESSED)
def test_rows_share_an_address_only_if_they_share_all_that_counts(one, other):
    def counts(row):
        return (row[0], row[1] if row[0] is not None else None, row[2])

    assert (row_address(*one) == row_address(*other)) == (counts(one) == counts(other))


def test_an_address_stays_the_same_from_run_to_run():
    assert row_address("ab" * 32, "v1", "깔끔한 <|im_end|>") == (
        hashlib.sha256(json.dumps(["ab" * 32, "v1", "깔끔한 <|im_end|>"]).encode()).hexdigest()
    )


def test_a_users_pooling_is_known_by_its_file_its_helpers_and_its_options(tmp_path, monkeypatch):
    (tmp_path / "own_parts").mkdir()
    (tmp_path / "own_parts" / "__init__.py").write_text("")
    deep, helper, own = tmp_path / "own_parts" / "deep.py", tmp_path / "own_helper.py", tmp_path / "own_pooling.py"
    deep.write_text("WEIGHT = 2\ndef weight():\n    return WEIGHT\n")
    helper.write_text("import own_parts.deep as deep\ndef first(h):\n    return deep.weight() * h[:, 0]\n")
    own.write_text("import torch\nfrom own_helper import first\ndef mine(h, attention, image):\n    return first(h)\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def source(**options) -> str:
        for name in ("own_pooling", "own_helper", "own_parts", "own_parts.deep"):
            monkeypatch.delitem(sys.modules, name, raising=False)
        linecache.clearcache()
        importlib.invalidate_caches()
        return json.dumps(source_of(importlib.import_module("own_pooling").mine, **options))

    before = source()
    change(helper, "def first(h):\n", 'def first(h):\n    """About it."""  # and more\n')
    assert source() == before
    found = [before, source(options={"k": 3})]
    for file, old, new in ((deep, "= 2", "= 3"), (helper, "h[:, 0]", "h[:, 1]"), (own, "first(h)\n", "first(-h)\n")):
        change(file, old, new)
        found.append(source())
    assert len({*found}) == 5
    with pytest.raises(UserError, match="must be a function defined in a Python file"):
        source_of(partial(max))


# Code


@pytest.fixture
def package(tmp_path, monkeypatch) -> Path:
    """A copy of the modules that decide a vector, in the place of this package's."""
    for name in COMPUTATION:
        file = Path(*name.split(".")).with_suffix(".py")
        (tmp_path / file.parent).mkdir(parents=True, exist_ok=True)
        shutil.copy(PACKAGE / file, tmp_path / file)
    monkeypatch.setattr(identity_module, "__file__", str(tmp_path / "backbone" / "feature_key.py"))
    return tmp_path


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="utf-8")


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("backbone/pooling.py", "return total_BD / mask_BT.sum(1, keepdim=True)", "return total_BD"),
        ("backbone/qwen3_vl.py", "layers[:num]", "layers[: num + 1]"),
        ("backbone/processor.py", "image.resize(", "image.reduce("),
        ("data/images.py", '"white"', '"black"'),
        ("data/augmentation.py", "ImageOps.mirror(image)", "ImageOps.flip(image)"),
    ],
)
def test_changed_code_changes_the_key(package, file, old, new):
    before = computation()
    change(package / file, old, new)
    assert computation() != before


def test_changed_comments_and_docstrings_do_not(package):
    before = computation()
    for old, new in (
        ('"""Return the mean over all attended tokens, summed in float32."""', '"""Another text."""'),
        ('"""Poolings: from the hidden', '"""Poolings, from the hidden'),
        ("    # Masked, not multiplied", "\n\n    # Masked"),
    ):
        change(package / "backbone" / "pooling.py", old, new)
    assert computation() == before


def test_every_module_of_the_backbone_counts():
    files = {path.stem for path in (PACKAGE / "backbone").glob("*.py")}
    others = {"__init__", "checkpoint", "feature_key", "feature_store", "inputs"}
    assert {f"backbone.{name}" for name in files - others} <= set(COMPUTATION)
