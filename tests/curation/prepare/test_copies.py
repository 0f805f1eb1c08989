"""Copies and near copies are found, grouped, and never separated by a split."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from style_match.data.fingerprints import near_pairs
from style_match.data.images import decode
from style_match.utils.errors import UserError

from .sources import CLASSES, HEADER, add_profiles, jpeg, left_out, photo, read_rows, write, write_table

LARGE = (192, 256)
EDITS: dict[str, Callable[[Image.Image], bytes]] = {
    "another quality": lambda image: jpeg(image, 40),
    "half the size": lambda image: jpeg(image.resize((96, 128), Image.Resampling.LANCZOS)),
    "cropped by 2 %": lambda image: jpeg(image.crop((2, 3, 190, 253))),
    "brighter": lambda image: jpeg(ImageEnhance.Brightness(image).enhance(1.15)),
}


def groups_of(out: Path) -> dict[str, str]:
    return {row["profile_id"]: row["duplicate_group"] for row in read_rows(out) if row["duplicate_group"]}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_an_edited_copy_is_found_and_others_are_not(edit, source, run):
    original = photo(100, LARGE)
    add_profiles(source, ("original", jpeg(original), "Chic"), ("edited", edit(original), "Street"))
    assert groups_of(run(source).folder.root) == {"original": "d1", "edited": "d1"}


def test_copies_are_always_in_one_split(source, run):
    for number in range(6):
        content = jpeg(photo(number), 35)
        add_profiles(source, (f"again{number}", content, CLASSES[number % 2]))
    for seed in range(5):
        prepared = run(source, f"split.seed={seed}", out=f"out{seed}")
        for number in range(6):
            assert prepared.split.name_of[f"p{number}"] == prepared.split.name_of[f"again{number}"]
        assert prepared.record["counts"]["copies"] == {"groups": 6, "profiles": 12}


def test_the_same_file_twice_in_one_profile_is_left_out_once(source, run):
    rows = [list(row.values()) for row in read_rows(source)]
    for number in (4, 5):  # equal files that are no images connect nobody
        write(source / f"photos/p{number}.jpg", b"<html>not found</html>")
    write(source / "photos/more.jpg", (source / "photos/p0.jpg").read_bytes())
    write_table(source / "profiles.csv", HEADER, [*rows, ["p0", "photos/more.jpg", "Chic", ""]])
    rows = read_rows(run(source, "on_bad_image=exclude").folder.root)
    assert [row["left_out"] for row in rows if row["profile_id"] == "p0"] == [
        "",
        "the same bytes as photos/p0.jpg of the same profile",
    ]
    assert rows[-1]["image"] == "photos/p0+2.jpg" and not any(row["duplicate_group"] for row in rows)


def test_copies_in_two_of_the_sources_own_splits_are_refused_or_kept_in_test(source, run):
    add_profiles(source, ("again", jpeg(photo(0), 35), "Chic"))
    words = ["train"] * 6 + ["val"] * 2 + ["test"] * 5
    rows = [(*row.values(), word) for row, word in zip(read_rows(source), words, strict=True)]
    write_table(source / "profiles.csv", (*HEADER, "split"), rows)
    with pytest.raises(UserError, match=r"p0 \(train\) and again \(test\)"):
        run(source)
    prepared = run(source, "duplicates.across_splits=leave_out", out="other")
    assert left_out(prepared.folder.root) == {"p0": "a copy or near copy of again, which is in test"}


@given(st.integers(0, 2**32 - 1), st.integers(1, 9))
def test_near_pairs_are_those_that_a_double_loop_finds(seed, block):
    rng = np.random.default_rng(seed)
    bits = rng.integers(0, 2, (4, 2, 64))[rng.integers(0, 4, 23)] ^ (rng.random((23, 2, 64)) < 0.06)
    first, second = ([f"{int(''.join(map(str, row)), 2):016x}" for row in bits[:, side]] for side in (0, 1))
    distance = (bits[:, None] != bits[None]).sum(-1)
    wanted = [(i, j) for i in range(23) for j in range(i + 1, 23) if distance[i, j, 0] <= 7 and distance[i, j, 1] <= 9]
    assert near_pairs(first, second, max_phash=7, max_dhash=9, block=block) == wanted


def test_bounds_that_make_any_two_photos_copies_are_refused(source, run):
    with pytest.raises(UserError, match=r"duplicates.max_phash_bits=128 is too large: any two photos differ"):
        run(source, "duplicates.max_phash_bits=128")


@pytest.mark.parametrize("num_photos", [60, pytest.param(1500, marks=pytest.mark.thorough)])
def test_drawn_figures_are_no_copies_of_each_other_but_their_edits_are(num_photos: int, tmp_path: Path, run):
    """Synthetic figures of one layout, and every tenth one again, saved at another quality."""
    from style_match.synthetic.dataset import write_styles
    from style_match.synthetic.world import WorldParams

    root = tmp_path / "styles"
    params = WorldParams(
        rho=0.95, scene_follow=0.2, temperature=0.05, noise=0.1, background_follow=0.0, accessory_gain=1.5
    )
    write_styles(
        root, world_seed=0, num_photos=num_photos, size_px=128, params=params, num_workers=1, progress=lambda *_: None
    )
    rows = [list(row.values()) for row in read_rows(root)]
    for row in rows[::10]:
        image = decode(root / row[1], max_source_pixels=10**6)
        write(root / f"images/again_{row[0]}.jpg", jpeg(image, 50))
        rows.append([f"again_{row[0]}", f"images/again_{row[0]}.jpg", *row[2:]])
    write_table(root / "profiles.csv", tuple(read_rows(root)[0]), rows)
    groups = groups_of(run(root, "leave_out.visual_quality=[]").folder.root)
    pairs = [(f"again_{row[0]}", row[0]) for row in rows[:num_photos:10]]
    assert all(groups.get(one) and groups.get(one) == groups.get(other) for one, other in pairs)
    assert len(groups) == 2 * len(pairs)
