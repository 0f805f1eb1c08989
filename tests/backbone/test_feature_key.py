"""The key of features: everything global that changes a vector is in it, and nothing else."""

import hashlib
import importlib
import json
import linecache
import shutil
import struct
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
COMMIT = "0123456789abcdef0123456789abcdef01234567"
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


def write_checkpoint(folder: Path) -> Path:
    """Files that pass for a checkpoint until something is loaded."""
    folder.mkdir(parents=True)
    config = {
        "model_type": "qwen3_vl",
        "text_config": {"hidden_size": 2, "vocab_size": 3},
        "vision_config": {"out_hidden_size": 2},
    }
    header = json.dumps({"embed_tokens.weight": {"dtype": "F32", "shape": [3, 2], "data_offsets": [0, 24]}}).encode()
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(24))
    for name in ("tokenizer.json", "tokenizer_config.json", "preprocessor_config.json"):
        (folder / name).write_text("{}")
    (folder / "chat_template.jinja").write_text("template")
    (folder / "README.md").write_text("about")
    return folder


@pytest.fixture
def checkpoint(tmp_path) -> Checkpoint:
    return Checkpoint(write_checkpoint(tmp_path / "checkpoint"), "somewhere", None)


POOLINGS = {name: source_of(getattr(pooling, name)) for name in ("eos", "mean")}


def of(checkpoint, *, poolings=POOLINGS, device="cpu", **changes):
    return identity(checkpoint, OPTIONS | changes, poolings, device, Hashes())


@pytest.mark.parametrize(
    "changes",
    [
        {"dtype": "bf16"},
        {"attention": "eager"},
        {"fused_patch_embedding": False},
        {"min_pixels": 4096},
        {"max_pixels": 65536},
        {"layer": 2},
        {"poolings": {"eos": POOLINGS["eos"]}},
        {"poolings": {**POOLINGS, "mean": POOLINGS["eos"]}},
        {"device": "mps"},
        {"device": "cuda"},
        {"an_option_of_the_future": 1},
    ],
)
def test_every_option_that_changes_a_vector_changes_the_identity(changes, checkpoint):
    assert of(checkpoint, **changes) != of(checkpoint)


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "other"},
        {"path": "elsewhere"},
        {"revision": "v2"},
        {"token_budget": 1},
        {"num_workers": 0},
        {"poolings": dict(reversed(POOLINGS.items()))},
        {"dtype": "fp32"},
    ],
)
def test_where_and_how_fast_do_not(changes, checkpoint):
    assert of(checkpoint, **changes) == of(checkpoint)


@pytest.mark.parametrize(
    "name",
    [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "preprocessor_config.json",
        "chat_template.jinja",
    ],
)
def test_every_file_that_is_read_changes_the_identity(name, checkpoint):
    before = of(checkpoint)
    path = checkpoint.folder / name
    content = path.read_bytes()
    if name == "model.safetensors":
        path.write_bytes(content[:-1] + b"\x01")
    else:
        path.write_bytes(content.replace(b"}", b" }", 1) if b"}" in content else content + b" ")
    assert of(checkpoint) != before


@pytest.mark.parametrize("name", ["processor_config.json", "merges.txt", "vocab.json", "chat_template.json"])
def test_a_file_that_comes_to_be_read_changes_the_identity(name, checkpoint):
    before = of(checkpoint)
    (checkpoint.folder / name).write_text("{}")
    assert of(checkpoint) != before


def test_shards_and_their_index_are_hashed_one_by_one(checkpoint):
    whole = checkpoint.folder / "model.safetensors"
    whole.rename(checkpoint.folder / "a.safetensors")
    index = {"weight_map": {"embed_tokens.weight": "a.safetensors"}}
    (checkpoint.folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert {"a.safetensors", "model.safetensors.index.json"} <= of(checkpoint)["files"].keys()


def test_other_files_and_the_place_do_not_count(checkpoint, tmp_path):
    (checkpoint.folder / "README.md").write_text("more about")
    moved = Checkpoint(checkpoint.folder.rename(tmp_path / "moved"), "elsewhere", COMMIT)
    other = Checkpoint(write_checkpoint(tmp_path / "other"), "other", None)
    assert of(moved) == of(other)


@pytest.mark.parametrize("library", ["torch", "transformers", "tokenizers", "pillow"])
def test_every_library_version_changes_the_identity(library, checkpoint, monkeypatch):
    before = of(checkpoint)
    versions = {**before["versions"], library: "0.0.1"}
    monkeypatch.setattr(identity_module, "version", versions.__getitem__)
    assert of(checkpoint) != before


def test_torchvision_counts_where_it_is_used(checkpoint, monkeypatch):
    monkeypatch.setattr(identity_module, "version", lambda name: f"{name} 1")
    before = of(checkpoint)
    with_it = of(checkpoint, image_backend="torchvision")
    assert "torchvision" not in before["versions"]
    assert with_it["versions"]["torchvision"] == "torchvision 1"


def test_the_projects_own_computation_counts(checkpoint, monkeypatch):
    before = of(checkpoint)
    monkeypatch.setattr(identity_module, "COMPUTATION", identity_module.COMPUTATION[1:])
    assert of(checkpoint) != before


def test_the_precision_that_auto_stands_for_is_written(checkpoint):
    assert of(checkpoint)["options"]["dtype"] == "fp32"
    assert of(checkpoint, device="cuda")["options"]["dtype"] == "bf16"


def test_it_is_plain_json_and_hashes_come_from_the_memory(checkpoint):
    hashes = Hashes()
    found = identity(checkpoint, OPTIONS, POOLINGS, "cpu", hashes)
    assert json.loads(json.dumps(found)) == found
    assert [path.name for path in hashes.asked] == list(found["files"])
    assert "README.md" not in found["files"]


def test_links_of_the_hubs_cache_are_followed(checkpoint, tmp_path):
    blob = (checkpoint.folder / "model.safetensors").rename(tmp_path / "blob")
    (checkpoint.folder / "model.safetensors").symlink_to(blob)
    hashes = Hashes()
    found = identity(checkpoint, OPTIONS, POOLINGS, "cpu", hashes)
    assert blob in hashes.asked
    assert "model.safetensors" in found["files"]


def test_an_incomplete_checkpoint_has_no_identity(checkpoint):
    (checkpoint.folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match="contains no weights"):
        of(checkpoint)


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


def test_a_pooling_of_ones_own_is_known_by_its_file_and_options(tmp_path, monkeypatch):
    def first(text, **options):
        (tmp_path / "my_poolings.py").write_text(text)
        linecache.clearcache()
        monkeypatch.delitem(sys.modules, "my_poolings", raising=False)
        importlib.invalidate_caches()
        return source_of(importlib.import_module("my_poolings").first, **options)

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    text = "WEIGHT = 1\ndef first(h, attention, image):\n    return WEIGHT * h[:, 0]\n"
    before = first(text)
    assert first(text) == before
    assert first(text.replace("h[:, 0]", "h[:, 1]")) != before
    assert first(text.replace("WEIGHT = 1", "WEIGHT = 2")) != before
    assert first(text, options={"k": 3}) != before
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
        ("backbone/pooling.py", "masked_fill(~mask_BT.unsqueeze(-1), 0.0)", "masked_fill(~mask_BT.unsqueeze(-1), 1.0)"),
        ("backbone/qwen3_vl.py", "layers[:num]", "layers[: num + 1]"),
        ("backbone/processor.py", "image.resize(", "image.reduce("),
        ("data/images.py", '"white"', '"black"'),
        ("data/images.py", "_NEAR = 2", "_NEAR = 3"),
        ("data/augmentation.py", "ImageOps.mirror(image)", "ImageOps.flip(image)"),
    ],
)
def test_changed_code_changes_the_key(package, file, old, new):
    before = computation()
    change(package / file, old, new)
    assert computation() != before


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        (
            "backbone/pooling.py",
            '"""Return the mean over all attended tokens, summed in float32."""',
            '"""Another text."""',
        ),
        ("backbone/pooling.py", '"""Poolings: from the hidden', '"""Poolings, from the hidden'),
        ("backbone/pooling.py", "    # Masked, not multiplied", "\n\n    # Masked"),
        ("backbone/qwen3_vl.py", '"""Frozen Qwen3-VL without', '"""Qwen3-VL, frozen, without'),
        ("data/images.py", "# Only these are tried", "# These are tried"),
    ],
)
def test_changed_texts_do_not(package, file, old, new):
    before = computation()
    change(package / file, old, new)
    assert computation() == before


def test_every_module_of_the_backbone_counts():
    files = {path.stem for path in (PACKAGE / "backbone").glob("*.py")}
    others = {"__init__", "checkpoint", "feature_key", "feature_store", "inputs"}
    assert {f"backbone.{name}" for name in files - others} <= set(COMPUTATION)


def test_a_pooling_of_ones_own_counts_with_the_helpers_beside_it(tmp_path, monkeypatch):
    (tmp_path / "own_parts").mkdir()
    (tmp_path / "own_parts" / "__init__.py").write_text("")
    deep, helper, own = tmp_path / "own_parts" / "deep.py", tmp_path / "own_helper.py", tmp_path / "own_pooling.py"
    deep.write_text("WEIGHT = 2\ndef weight():\n    return WEIGHT\n")
    helper.write_text("import own_parts.deep as deep\ndef first(h):\n    return deep.weight() * h[:, 0]\n")
    own.write_text("import torch\nfrom own_helper import first\ndef mine(h, attention, image):\n    return first(h)\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def source() -> str:
        for name in ("own_pooling", "own_helper", "own_parts", "own_parts.deep"):
            monkeypatch.delitem(sys.modules, name, raising=False)
        importlib.invalidate_caches()
        return source_of(importlib.import_module("own_pooling").mine)["source"]

    before = source()
    change(helper, "def first(h):\n", 'def first(h):\n    """About it."""  # and more\n')
    assert source() == before
    change(deep, "WEIGHT = 2", "WEIGHT = 3")
    changed = source()
    assert changed != before
    change(helper, "h[:, 0]", "h[:, 1]")
    assert source() not in (before, changed)
