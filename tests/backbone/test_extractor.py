"""What `extract` computes, in which batches, and what is stored when something breaks."""

import hashlib
import threading
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from style_match.backbone import pooling
from style_match.backbone.extractor import Row, batch_slices, extract
from style_match.backbone.feature_key import row_address
from style_match.backbone.feature_store import FeatureStore
from style_match.data.images import DECODE_POLICY, decode
from style_match.data.prompt import render
from style_match.utils.errors import UserError

from .fake_backbone import POOLINGS, FakeBackbone, expected

PROMPT = "Describe this person."


def photo(folder: Path, number: int, size: tuple[int, int] = (16, 16), prompt: str = PROMPT) -> Row:
    """A one-coloured photo and its row."""
    path = folder / f"{number}.png"
    if not path.exists():
        Image.new("RGB", size, (number % 256, number // 256, 7)).save(path)
    return row_of(path, prompt, size)


def row_of(path: Path, prompt: str, size: tuple[int, int]) -> Row:
    return Row(row_address(hashlib.sha256(path.read_bytes()).hexdigest(), DECODE_POLICY, prompt), path, prompt, *size)


def text(prompt: str) -> Row:
    return Row(row_address(None, DECODE_POLICY, prompt), None, prompt, 0, 0)


def open_store(root: Path) -> FeatureStore:
    return FeatureStore(root, {"of": "a test"}, shard_rows=4)


def run(rows, store, backbone, **options):
    defaults = {"token_budget": 40, "num_workers": 2, "max_source_pixels": 10**6, "progress": lambda done, total: None}
    load = backbone if backbone is must_not_load else lambda: backbone
    return extract(rows, store, load, options.pop("poolings", POOLINGS), **(defaults | options))


def must_not_load():
    raise AssertionError("the backbone was loaded")


def check(rows, store):
    """The store has what the backbone returns for each photo and prompt."""
    for name, sign in (("eos", 1), ("mean", -1)):
        loaded = store.load([row.address for row in rows], name)
        for row, vector in zip(rows, loaded, strict=True):
            pixels = Image.open(row.path).convert("RGB").tobytes() if row.path else b""
            assert torch.equal(vector, sign * expected(row.prompt, pixels))


@pytest.fixture
def photos(tmp_path) -> list[Row]:
    """Twelve photos of three sizes: 3 + 4, 3 + 16 and 3 + 36 tokens."""
    sizes = [(16, 16), (32, 32), (48, 48)]
    return [photo(tmp_path, number, sizes[number % 3]) for number in range(12)]


@pytest.fixture
def store(tmp_path) -> FeatureStore:
    return open_store(tmp_path / "store")


def test_each_row_is_computed_once_and_then_read(photos, store):
    backbone, calls = FakeBackbone(), []
    extraction = run(photos, store, backbone, progress=lambda *call: calls.append(call))
    assert (extraction.from_store, extraction.computed, extraction.token_budget) == (0, 12, 40)
    assert len(backbone.prompts) == 12
    assert calls[0] == (0, 12) and calls[-1] == (12, 12) and calls == sorted(calls)
    check(photos, store)
    again = run(photos[::-1], open_store(store.folder.parent), must_not_load)
    assert (again.from_store, again.computed) == (12, 0)


def test_only_what_changed_is_computed(tmp_path, photos, store):
    run(photos, store, FakeBackbone())
    photos[3].path.unlink()
    copy = tmp_path / "copy.png"
    copy.write_bytes(photos[4].path.read_bytes())
    changed, reworded = photo(tmp_path, 3, (24, 24)), photo(tmp_path, 5, (48, 48), prompt="Describe the clothes.")
    current = [*photos[:3], changed, photos[4], reworded, row_of(copy, PROMPT, (32, 32)), photo(tmp_path, 99)]
    backbone = FakeBackbone()
    extraction = run(current, store, backbone)
    assert (extraction.from_store, extraction.computed) == (4, 3) and len(backbone.prompts) == 3
    check(current, store)


@given(
    sizes=st.lists(st.sampled_from([(0, 0), (16, 16), (32, 32), (64, 64)]), min_size=1, max_size=25),
    token_budget=st.integers(1, 120),
    num_workers=st.integers(0, 3),
)
def test_batches_keep_to_the_budget_and_few_are_prepared_ahead(tmp_path_factory, sizes, token_budget, num_workers):
    folder = tmp_path_factory.mktemp("photos")
    rows = [photo(folder, i, size) if size[0] else text("word " * (i % 5 + 1) + str(i)) for i, size in enumerate(sizes)]
    backbone, store = FakeBackbone(), open_store(folder / "store")
    run(rows, store, backbone, token_budget=token_budget, num_workers=num_workers)
    for lengths in backbone.batches:
        assert len(lengths) == 1 or max(lengths) * len(lengths) <= token_budget
    in_order = [length for lengths in backbone.batches for length in lengths]
    assert len(in_order) == len(rows) and in_order == sorted(in_order, reverse=True)
    assert backbone.most_waiting <= num_workers + 1
    check(rows, store)


def test_batches_are_as_large_as_the_budget_allows():
    num_tokens = [90, 20, 20, 20, 7, 7]
    assert [(each.start, each.stop) for each in batch_slices(num_tokens, 40)] == [(0, 1), (1, 3), (3, 5), (5, 6)]
    assert [(each.start, each.stop) for each in batch_slices(num_tokens, 200, 4)] == [(4, 6)]


def test_photos_are_prepared_while_the_model_computes(photos, store):
    backbone, ahead = FakeBackbone(), threading.Event()
    pool, collate = backbone.pool, backbone.collate
    backbone.collate = lambda *args: [collate(*args), backbone.prepared >= 2 and ahead.set()][0]
    backbone.pool = lambda *args: [ahead.wait(30) or pytest.fail("one batch at a time"), pool(*args)][1]
    run(photos, store, backbone)


def test_gpu_memory_running_out_halves_the_budget(photos, store):
    backbone = FakeBackbone(memory=50)
    with pytest.warns(UserWarning, match="Out of GPU memory") as warned:
        extraction = run(photos, store, backbone, token_budget=200)
    failed = [lengths for lengths in backbone.batches if max(lengths) * len(lengths) > 50]
    assert len(failed) == len(warned) > 1
    assert str(warned[0].message) == "Out of GPU memory with backbone.token_budget=200; continuing with 97."
    assert extraction.token_budget == max(failed[-1]) * len(failed[-1]) // 2
    padded = [max(lengths) * len(lengths) for lengths in failed]
    assert all(after <= before / 2 for before, after in pairwise(padded))
    assert len(backbone.prompts) == extraction.computed == 12
    check(photos, store)


def test_a_photo_that_does_not_fit_into_gpu_memory_is_named(photos, store):
    with (
        pytest.warns(UserWarning, match="Out of GPU memory"),
        pytest.raises(UserError, match=r"\.png alone \(39 tokens\) does not fit .*backbone\.max_pixels"),
    ):
        run(photos, store, FakeBackbone(memory=30), token_budget=100)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_changed_photos_are_named_together_and_the_rest_is_stored(photos, store, num_workers):
    small, calls = [row for row in photos if row.width == 16], []  # computed last
    small[1].path.write_bytes(small[1].path.read_bytes()[:40])
    Image.new("RGB", (16, 16), "red").save(small[2].path)
    small[3].path.unlink()
    with pytest.raises(UserError) as caught:
        run(photos, store, FakeBackbone(), num_workers=num_workers, progress=lambda *call: calls.append(call))
    message = str(caught.value)
    assert f"{small[1].path} has changed" in message and f"{small[2].path} has changed" in message
    assert f"{small[3].path} cannot be read: No such file" in message and str(small[0].path) not in message
    assert calls[-1] == (8, 12)
    assert store.missing([row.address for row in photos]) == [row.address for row in small]
    check([row for row in photos if row.width > 16], store)


@pytest.mark.parametrize("content", [b"", b"\xff\xd8\xff\xe0" + b"\0" * 99])
def test_a_photo_that_cannot_be_decoded_is_named(tmp_path, photos, store, content):
    path = tmp_path / "broken.jpg"
    path.write_bytes(content)
    with pytest.raises(UserError, match=str(path)):
        run([*photos, row_of(path, PROMPT, (8, 8))], store, FakeBackbone(), token_budget=28)
    check(photos, store)


def test_a_photo_with_too_many_pixels_is_named(photos, store):
    with pytest.raises(UserError, match=r"\.png: 48 x 48 .*max_source_pixels"):
        run(photos, store, FakeBackbone(), max_source_pixels=47 * 48)


def test_features_that_are_not_finite_are_never_stored(store):
    rows = [text(f"prompt number {i}") for i in range(10)]
    with pytest.raises(UserError, match=r"non-finite features for prompt number 3\. Use backbone\.dtype=fp32"):
        run(rows, store, FakeBackbone(nan_for=["prompt number 3"]), token_budget=1000)
    assert store.missing([row.address for row in rows]) == [rows[3].address]


def test_an_unwritable_store_is_reported_before_the_backbone_is_loaded(photos, store, monkeypatch):
    def denied(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", denied)
    with pytest.raises(UserError, match=r"Cannot write the feature store .*Permission denied"):
        run(photos, store, must_not_load)


def test_an_interrupt_keeps_what_was_computed(photos, store):
    def interrupt(done, total):
        if done >= 5:
            raise KeyboardInterrupt

    backbone = FakeBackbone()
    with pytest.raises(KeyboardInterrupt):
        run(photos, store, backbone, progress=interrupt)
    computed = len(backbone.prompts)
    assert 5 <= computed < 12
    assert run(photos, store, FakeBackbone()).from_store == computed


def test_stored_features_of_the_real_backbone_do_not_depend_on_batches(tmp_path, backbone):
    """A random, tiny Qwen3-VL; batched and single photos differ by rounding only, relative to the size of a feature."""
    names = ("eos", "mean", "mean_image", "mean_text")
    poolings, rows = {name: getattr(pooling, name) for name in names}, []
    generator = torch.Generator().manual_seed(0)
    for number, (width, height) in enumerate([(64, 64), (128, 96), (96, 128), (300, 80), (512, 512), (65, 67)]):
        path = tmp_path / f"{number}.png"
        pixels = torch.randint(0, 256, (height, width, 3), generator=generator, dtype=torch.uint8)
        Image.fromarray(pixels.numpy()).save(path)
        options = {"image": True, "system": None, "leave_out": (), "instruction": "Describe this person."}
        prompt = render(metadata={"style": "dandy " * (number + 1)}, template="{metadata}\n{instruction}", **options)
        rows.append(row_of(path, prompt, (width, height)))
    singles = [backbone.pooled([decode(row.path, max_source_pixels=10**7)], [row.prompt], poolings) for row in rows]
    for token_budget in (1, 120, 10**6):
        store = open_store(tmp_path / str(token_budget))
        assert run(rows, store, backbone, token_budget=token_budget, poolings=poolings).computed == 6
        for name in names:
            wanted = torch.cat([single[name] for single in singles])
            loaded = store.load([row.address for row in rows], name)
            assert torch.allclose(loaded, wanted, rtol=0, atol=1e-5 * wanted.abs().max())
