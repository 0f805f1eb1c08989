"""What `extract` computes, in which batches, and what it leaves behind when something breaks."""

import hashlib
import importlib.util
import multiprocessing
import os
import signal
import time
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from style_match.backbone.extractor import Row, extract
from style_match.backbone.feature_key import row_address
from style_match.data.images import DECODE_POLICY
from style_match.utils.errors import UserError

spec = importlib.util.spec_from_file_location("fake_backbone", Path(__file__).with_name("fake_backbone.py"))
fake = importlib.util.module_from_spec(spec)
spec.loader.exec_module(fake)

PROMPT = "Describe this person."


def photo(folder: Path, number: int, size: tuple[int, int] = (16, 16), prompt: str = PROMPT) -> Row:
    """A one-coloured photo and its row."""
    path = folder / f"{number}.png"
    if not path.exists():
        Image.new("RGB", size, (number % 256, number // 256, 7)).save(path)
    return Row(row_address(hashlib.sha256(path.read_bytes()).hexdigest(), DECODE_POLICY, prompt), path, prompt, *size)


def text(prompt: str) -> Row:
    return Row(row_address(None, DECODE_POLICY, prompt), None, prompt, 0, 0)


def must_not_load():
    raise AssertionError("the backbone was loaded")


def run(
    rows, store, backbone, *, token_budget=40, num_workers=2, max_source_pixels=10**6, progress=lambda done, total: None
):
    return extract(
        rows,
        store,
        backbone if callable(backbone) else lambda: backbone,
        fake.POOLINGS,
        token_budget=token_budget,
        num_workers=num_workers,
        max_source_pixels=max_source_pixels,
        progress=progress,
    )


def check(rows, store):
    """The store gives each row what the backbone gives for its photo and prompt."""
    for pooling, sign in (("eos", 1), ("mean", -1)):
        loaded = store.load([row.address for row in rows], pooling)
        for row, vector in zip(rows, loaded, strict=True):
            pixels = Image.open(row.path).convert("RGB").tobytes() if row.path else b""
            assert torch.equal(vector, sign * fake.expected(row.prompt, pixels))


@pytest.fixture
def photos(tmp_path):
    """Twelve photos of three sizes: 3 + 4, 3 + 16 and 3 + 36 tokens."""
    sizes = [(16, 16), (32, 32), (48, 48)]
    return [photo(tmp_path, number, sizes[number % 3]) for number in range(12)]


def test_each_row_is_computed_once_and_then_read(tmp_path, photos, rows):
    store, backbone, told = rows.store(tmp_path / "store"), fake.FakeBackbone(), []
    extraction = run(photos, store, backbone, progress=lambda *call: told.append(call))
    assert (extraction.from_store, extraction.computed, extraction.token_budget) == (0, 12, 40)
    assert extraction.seconds > 0
    assert len(backbone.prompts) == 12
    assert told[0] == (0, 12) and told[-1] == (12, 12) and told == sorted(told)
    check(photos, store)

    for order in (photos, photos[::-1], photos[5:] + photos[:5]):
        again = rows.store(tmp_path / "store")
        extraction = run(order, again, must_not_load)
        assert (extraction.from_store, extraction.computed) == (12, 0)
        check(order, again)


def test_photos_with_the_same_bytes_and_prompt_are_one_row(tmp_path, rows):
    first = photo(tmp_path, 1)
    copy = tmp_path / "copy.png"
    copy.write_bytes(first.path.read_bytes())
    same = Row(first.address, copy, PROMPT, 16, 16)
    other_prompt = photo(tmp_path, 1, prompt="Describe the clothes.")
    store, backbone, told = rows.store(tmp_path / "store"), fake.FakeBackbone(), []
    extraction = run([first, same, other_prompt, same], store, backbone, progress=lambda *call: told.append(call))
    assert (extraction.from_store, extraction.computed) == (0, 2)
    assert sorted(backbone.prompts) == sorted([PROMPT, "Describe the clothes."])
    assert told[-1] == (2, 2)
    check([first, same, other_prompt], store)


def test_only_what_changed_is_computed(tmp_path, photos, rows):
    run(photos, rows.store(tmp_path / "store"), fake.FakeBackbone())
    photos[3].path.unlink()
    changed = photo(tmp_path, 3, (24, 24))
    reworded = photo(tmp_path, 5, (48, 48), prompt="style_vibe: dandy\nDescribe this person.")
    current = [*photos[:3], changed, photos[4], reworded, *photos[6:], photo(tmp_path, 99)]
    backbone, store = fake.FakeBackbone(), rows.store(tmp_path / "store")
    extraction = run(current, store, backbone)
    assert (extraction.from_store, extraction.computed) == (10, 3)
    assert len(backbone.prompts) == 3
    check(current, store)


def test_a_changed_identity_computes_all_rows_anew(tmp_path, photos, rows, component):
    run(photos[:4], rows.store(tmp_path / "store"), fake.FakeBackbone())
    backbone, other = fake.FakeBackbone(), rows.store(tmp_path / "store", identity=rows.mutated(component))
    assert run(photos[:4], other, backbone).computed == len(backbone.prompts) == 4
    assert run(photos[:4], rows.store(tmp_path / "store"), backbone).computed == 0


@given(
    sizes=st.lists(st.sampled_from([(0, 0), (16, 16), (32, 32), (64, 64)]), min_size=1, max_size=25),
    token_budget=st.integers(1, 120),
    num_workers=st.integers(0, 3),
)
def test_batches_keep_to_the_budget(tmp_path_factory, rows, sizes, token_budget, num_workers):
    folder = tmp_path_factory.mktemp("photos")
    wanted = [
        photo(folder, i, size) if size[0] else text("word " * (i % 5 + 1) + str(i)) for i, size in enumerate(sizes)
    ]
    backbone, store = fake.FakeBackbone(), rows.store(folder / "store")
    run(wanted, store, backbone, token_budget=token_budget, num_workers=num_workers)
    for lengths in backbone.batches:
        assert len(lengths) == 1 or max(lengths) * len(lengths) <= token_budget
    assert sum(map(len, backbone.batches)) == len(wanted)
    in_order = [length for lengths in backbone.batches for length in lengths]
    assert in_order == sorted(in_order, reverse=True)
    assert backbone.most_waiting <= num_workers + 1
    check(wanted, store)


def test_gpu_memory_running_out_halves_the_budget(tmp_path, photos, rows):
    backbone, store = fake.FakeBackbone(memory=50), rows.store(tmp_path / "store")
    with pytest.warns(UserWarning, match="GPU memory ran out") as told:
        extraction = run(photos, store, backbone, token_budget=200)
    failed = [lengths for lengths in backbone.batches if max(lengths) * len(lengths) > 50]
    assert len(failed) == len(told) > 1
    assert str(told[0].message) == "GPU memory ran out at backbone.token_budget=200: going on with 97."
    assert extraction.token_budget == max(failed[-1]) * len(failed[-1]) // 2
    padded = [max(lengths) * len(lengths) for lengths in failed]
    assert all(after <= before / 2 for before, after in pairwise(padded))
    assert len(backbone.prompts) == extraction.computed == 12
    check(photos, store)


def test_a_photo_that_alone_is_too_much_for_the_gpu_is_named(tmp_path, photos, rows):
    backbone, store = fake.FakeBackbone(memory=30), rows.store(tmp_path / "store")
    with (
        pytest.warns(UserWarning, match="GPU memory ran out"),
        pytest.raises(
            UserError, match=r"GPU memory does not hold .*\.png by itself \(39 tokens\).*backbone\.max_pixels"
        ),
    ):
        run(photos, store, backbone, token_budget=100)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_photo_changed_after_the_check_is_named_and_the_rest_kept(tmp_path, photos, rows, num_workers):
    store, told = rows.store(tmp_path / "store"), []
    small = [row for row in photos if row.width == 16]  # computed last
    small[1].path.write_bytes(small[1].path.read_bytes()[:40])  # cut short
    Image.new("RGB", (16, 16), "red").save(small[2].path)  # another photo by now
    small[3].path.unlink()
    with pytest.raises(UserError) as caught:
        run(photos, store, fake.FakeBackbone(), num_workers=num_workers, progress=lambda *call: told.append(call))
    message = str(caught.value)
    assert f"{small[1].path} was changed after it was checked" in message
    assert f"{small[2].path} was changed after it was checked" in message
    assert f"{small[3].path} cannot be read: No such file" in message
    assert str(small[0].path) not in message
    assert told[-1] == (8, 12)
    kept = [row for row in photos if row.width > 16]
    again = rows.store(tmp_path / "store")
    assert again.missing([row.address for row in photos]) == [row.address for row in small]
    check(kept, again)


@pytest.mark.parametrize("content", [b"", b"not a photo", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0" + b"\0" * 99])
def test_a_photo_that_cannot_be_decoded_is_named(tmp_path, photos, rows, content):
    """Whatever its address says, when nobody checked it before."""
    path = tmp_path / "broken.jpg"
    path.write_bytes(content)
    broken = Row(row_address(hashlib.sha256(content).hexdigest(), DECODE_POLICY, PROMPT), path, PROMPT, 8, 8)
    store = rows.store(tmp_path / "store")
    with pytest.raises(UserError, match=str(path)):
        run([*photos, broken], store, fake.FakeBackbone(), token_budget=28)
    check(photos, store)


def test_a_photo_with_too_many_pixels_is_named(tmp_path, photos, rows):
    store = rows.store(tmp_path / "store")
    with pytest.raises(UserError, match=r"\.png: 48 x 48 .*max_source_pixels"):
        run(photos, store, fake.FakeBackbone(), max_source_pixels=47 * 48)


def test_features_that_are_not_finite_are_never_stored(tmp_path, rows):
    wanted = [text(f"prompt number {i}") for i in range(10)]
    store, backbone = rows.store(tmp_path / "store"), fake.FakeBackbone(nan_for=["prompt number 3"])
    with pytest.raises(UserError, match=r"not finite for prompt number 3: use backbone\.dtype=fp32"):
        run(wanted, store, backbone, token_budget=1000)
    assert store.missing([row.address for row in wanted]) == [wanted[3].address]


def test_an_unwritable_store_is_told_before_the_backbone_is_loaded(tmp_path, photos, rows, monkeypatch):
    def denied(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", denied)
    with pytest.raises(UserError, match="cannot be written: Permission denied"):
        run(photos, rows.store(tmp_path / "store"), must_not_load)


def test_a_full_disk_in_the_middle_keeps_what_was_written(tmp_path, photos, rows, monkeypatch):
    store = rows.store(tmp_path / "store", shard_rows=4)
    real_write, num_shards = os.write, 0

    def write(descriptor, content):
        nonlocal num_shards
        num_shards += bytes(content[8:9]) == b"{" and b"__metadata__" in bytes(content[:100])
        if num_shards > 1:
            raise OSError(28, "No space left on device")
        return real_write(descriptor, content)

    with monkeypatch.context() as patch, pytest.raises(UserError, match="No space left on device"):
        patch.setattr(os, "write", write)
        run(photos, store, fake.FakeBackbone())
    backbone = fake.FakeBackbone()
    assert run(photos, rows.store(tmp_path / "store"), backbone).computed == len(backbone.prompts) == 8
    check(photos, rows.store(tmp_path / "store"))


def test_an_interrupt_keeps_what_was_computed(tmp_path, photos, rows):
    def interrupt(done, total):
        if done >= 5:
            raise KeyboardInterrupt

    store, backbone = rows.store(tmp_path / "store"), fake.FakeBackbone()
    with pytest.raises(KeyboardInterrupt):
        run(photos, store, backbone, progress=interrupt)
    computed = len(backbone.prompts)
    assert 5 <= computed < 12
    assert run(photos, store, fake.FakeBackbone()).from_store == computed


def test_killed_in_the_middle_and_run_again(tmp_path, photos, rows):
    fork = multiprocessing.get_context("fork")
    reached = fork.Event()

    def hang(done, total):
        if done >= 6:
            reached.set()
            time.sleep(60)

    def job():
        run(photos, rows.store(tmp_path / "store", shard_rows=4), fake.FakeBackbone(), progress=hang)

    process = fork.Process(target=job)
    process.start()
    assert reached.wait(30)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    backbone, store = fake.FakeBackbone(), rows.store(tmp_path / "store")
    extraction = run(photos, store, backbone)
    assert (extraction.from_store, extraction.computed) == (4, 8)
    assert len(backbone.prompts) == 8
    check(photos, store)
