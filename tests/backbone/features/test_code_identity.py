"""The feature key follows the code that computes a vector, and not what is written about it."""

import importlib
import shutil
import sys
from pathlib import Path

import pytest

from style_match.backbone import feature_key as identity_module
from style_match.backbone.feature_key import COMPUTATION, computation, source_of

PACKAGE = Path(identity_module.__file__).parents[1]


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
        ("backbone/qwen3_vl.py", "layers[:layer]", "layers[: layer + 1]"),
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
        ("backbone/pooling.py", '"""The mean over all attended tokens, summed in float32."""', '"""Another text."""'),
        ("backbone/pooling.py", '"""From the hidden states', '"""Of the hidden states'),
        ("backbone/pooling.py", "    # Masked, not multiplied", "\n\n    # Masked"),
        ("backbone/qwen3_vl.py", '"""Turns photos and prompts', '"""Makes of photos and prompts'),
        ("data/images.py", "# Only these are tried", "# These are tried"),
    ],
)
def test_changed_texts_do_not(package, file, old, new):
    before = computation()
    change(package / file, old, new)
    assert computation() == before


def test_every_module_of_the_backbone_counts():
    files = {path.stem for path in (PACKAGE / "backbone").glob("*.py")}
    assert {f"backbone.{name}" for name in files - {"__init__", "feature_key", "feature_store", "inputs"}} <= set(
        COMPUTATION
    )


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
