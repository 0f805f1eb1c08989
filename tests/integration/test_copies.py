"""Copies of photos with other bytes: equal pixels are one photo, near copies across splits are reported."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

WORDS = ("data=couples", "sampler.batch_size=8", "trainer.max_epochs=1", "head.hidden_dim=16", "head.dim=8")


def picture(number: int) -> Image.Image:
    """A picture of random shapes that no other number gives."""
    rng = np.random.default_rng(number)
    small = Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8))
    return small.resize((96, 96), Image.Resampling.BICUBIC)


def write_folder(root: Path, *, num_couples: int, num_pictures: int, save) -> Path:
    """Couples (a0, b0), ...; the pictures repeat after `num_pictures` couples; `save(image, path stem, number)`."""
    (root / "photos").mkdir(parents=True)
    profiles, couples = ["profile_id,image"], ["left_id,right_id"]
    for number in range(num_couples):
        for side in "ab":
            image = picture(2 * (number % num_pictures) + (side == "b"))
            file = save(image, root / "photos" / f"{side}{number}", number)
            profiles.append(f"{side}{number},photos/{file.name}")
        couples.append(f"a{number},b{number}")
    (root / "profiles.csv").write_text("\n".join(profiles) + "\n")
    (root / "couples.csv").write_text("\n".join(couples) + "\n")
    return root


def with_other_metadata(image: Image.Image, stem: Path, number: int) -> Path:
    """A PNG, or a BMP of the same pixels, whose metadata no other file has."""
    from PIL.PngImagePlugin import PngInfo

    if number % 2:
        image.save(stem.with_suffix(".bmp"))
        return stem.with_suffix(".bmp")
    info = PngInfo()
    info.add_text("comment", f"number {number}")
    image.save(stem.with_suffix(".png"), pnginfo=info)
    return stem.with_suffix(".png")


def with_other_quality(image: Image.Image, stem: Path, number: int) -> Path:
    image.save(stem.with_suffix(".jpg"), quality=70 + number % 28)
    return stem.with_suffix(".jpg")


def splits_of(root: Path) -> dict[str, str]:
    (file,) = (root / "splits").glob("*.csv")
    with open(file, newline="") as lines:
        return {row["left_id"]: row["split"] for row in csv.DictReader(lines)}


def test_files_of_equal_pixels_are_one_photo_and_stay_in_one_split(run_step, tmp_path):
    data = write_folder(tmp_path / "data", num_couples=40, num_pictures=20, save=with_other_metadata)
    done = run_step("train", *WORDS, f"data.root={data}", f"hydra.run.dir={tmp_path / 'run'}")
    split = splits_of(data)
    assert all(split[f"a{number}"] == split[f"a{number + 20}"] for number in range(20))
    assert "look like copies" not in done.stderr and not (tmp_path / "run" / "near_copies.csv").exists()
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["trained"]["queries"] == 2 * list(split.values()).count("test")


def test_equal_pixels_across_a_given_split_are_refused(run_step, tmp_path):
    data = write_folder(tmp_path / "data", num_couples=40, num_pictures=20, save=with_other_metadata)
    lines = (data / "couples.csv").read_text().splitlines()
    names = ["train"] * 28 + ["val"] * 6 + ["test"] * 6
    given = [f"{line},{name}" for line, name in zip(lines[1:], names, strict=True)]
    (data / "couples.csv").write_text("\n".join([f"{lines[0]},split", *given]) + "\n")
    done = run_step("train", *WORDS, f"data.root={data}", code=2)
    assert "the same photo (photos/a10.png, photos/a30.png)" in done.stderr


@pytest.fixture
def re_encoded(tmp_path) -> Path:
    return write_folder(tmp_path / "data", num_couples=60, num_pictures=20, save=with_other_quality)


@pytest.mark.slow
def test_near_copies_across_splits_are_counted_and_named_and_the_remedy_groups_them(run_step, tmp_path, re_encoded):
    run = tmp_path / "run"
    done = run_step("train", *WORDS, f"data.root={re_encoded}", f"hydra.run.dir={run}")
    with open(run / "near_copies.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    split = splits_of(re_encoded)
    number_of = {f"photos/{side}{number}.jpg": (side, number) for number in range(60) for side in "ab"}
    across = [one for one in range(60) if len({split[f"a{other}"] for other in range(one % 20, 60, 20)}) > 1]
    assert sorted(row["image"] for row in rows) == sorted(f"photos/{side}{one}.jpg" for one in across for side in "ab")
    assert rows
    for row in rows:
        (side, one), (other_side, other) = number_of[row["image"]], number_of[row["copy"]]
        assert side == other_side and one % 20 == other % 20
        assert (row["split"], row["split_of_copy"]) == (split[f"a{one}"], split[f"a{other}"])
        assert row["split"] != row["split_of_copy"]
    assert f"{len(rows)} of 120 photos look like copies of photos in another split" in done.stderr
    provenance = json.loads((run / "provenance.json").read_text())
    assert provenance["data"]["near_copies_across_splits"] == len(rows)
    remedy = next(line for line in done.stderr.splitlines() if "style_match.prepare" in line)
    words = remedy.partition("style_match.prepare ")[2].partition(",")[0].replace("NEW_FOLDER", str(tmp_path / "new"))
    run_step("prepare", *words.split())
    done = run_step("train", *WORDS, f"data.root={tmp_path / 'new'}", f"hydra.run.dir={tmp_path / 'grouped'}")
    assert "look like copies" not in done.stderr and not (tmp_path / "grouped" / "near_copies.csv").exists()
