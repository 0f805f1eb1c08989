"""Demo folders: the tables agree, runs resume, worlds never mix."""

import csv
import json
from pathlib import Path

import pytest
from PIL import Image

from style_match.synthetic.dataset import SOURCES, NotADemoError, write_couples, write_styles
from style_match.synthetic.world import WorldParams

PARAMS = WorldParams(rho=0.95, scene_follow=0.2, temperature=0.05, noise=0.1)
COUPLES = {"world_seed": 7, "num_couples": 10, "size_px": 32, "params": PARAMS}
STYLES = {"world_seed": 7, "num_photos": 10, "size_px": 32, "params": PARAMS}


def silent(done: int, total: int) -> None:
    pass


def draw_couples(root: Path, num_workers: int = 1, progress=silent, **changes) -> int:
    return write_couples(root, **(COUPLES | changes), num_workers=num_workers, progress=progress)


def content(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_couples_folder_is_consistent(tmp_path):
    calls = []
    assert draw_couples(tmp_path, progress=lambda done, total: calls.append((done, total))) == 20
    assert calls[0] == (0, 20) and calls[-1] == (20, 20)
    profiles = {row["profile_id"]: row for row in rows(tmp_path / "profiles.csv")}
    assert len(profiles) == 20
    for couple in rows(tmp_path / "couples.csv"):
        assert profiles[couple["female_id"]]["gender"] == "female"
        assert profiles[couple["male_id"]]["gender"] == "male"
    metadata = [json.loads(line) for line in (tmp_path / "metadata.jsonl").read_text().splitlines()]
    assert [row["image"] for row in metadata] == [row["image"] for row in profiles.values()]
    assert [row["profile_id"] for row in rows(tmp_path / "taste.csv")] == list(profiles)
    assert len({row["user_id"] for row in profiles.values()}) == 20
    for row in profiles.values():
        with Image.open(tmp_path / row["image"]) as image:
            assert image.size == (32, 32) and image.mode == "RGB"
    assert json.loads((tmp_path / "demo.json").read_text())["synthetic"] is True
    assert "synthetic" in (tmp_path / "README.txt").read_text()
    assert not list(tmp_path.rglob(".*")) and not (tmp_path / "demo.partial.json").exists()


def test_styles_folder_is_consistent(tmp_path):
    assert write_styles(tmp_path, **STYLES, num_workers=1, progress=silent) == 10
    profiles = rows(tmp_path / "profiles.csv")
    metadata = [json.loads(line) for line in (tmp_path / "metadata.jsonl").read_text().splitlines()]
    for profile, said in zip(profiles, metadata, strict=True):
        assert profile["image"] == said["image"] and (tmp_path / profile["image"]).exists()
        for label in ("fashion_style", "shot_type", "visual_quality"):
            assert profile[label] == said[label]
    assert not (tmp_path / "couples.csv").exists()


def test_number_of_workers_does_not_matter(tmp_path):
    draw_couples(tmp_path / "one")
    assert draw_couples(tmp_path / "two", num_workers=2) == 20
    assert content(tmp_path / "one") == content(tmp_path / "two")


def test_a_finished_folder_is_left_alone(tmp_path):
    draw_couples(tmp_path)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*")}
    assert draw_couples(tmp_path) == 0
    assert times == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*")}


def test_an_interrupted_run_draws_only_what_is_missing(tmp_path):
    draw_couples(tmp_path)
    before = content(tmp_path)
    (tmp_path / "demo.json").rename(tmp_path / "demo.partial.json")
    for name in ("images/f0002.jpg", "images/m0009.jpg", "couples.csv"):
        (tmp_path / name).unlink()
    assert draw_couples(tmp_path) == 2
    assert content(tmp_path) == before


def test_a_photo_gone_from_a_finished_folder_comes_back(tmp_path):
    draw_couples(tmp_path)
    before = content(tmp_path)
    (tmp_path / "images/m0001.jpg").unlink()
    assert draw_couples(tmp_path) == 1
    assert content(tmp_path) == before


@pytest.mark.parametrize("marker", ["demo.json", "demo.partial.json"])
def test_other_parameters_redraw_everything(tmp_path, marker):
    draw_couples(tmp_path / "mixed", num_couples=12)
    (tmp_path / "mixed" / "demo.json").rename(tmp_path / "mixed" / marker)
    assert draw_couples(tmp_path / "mixed", world_seed=8) == 20
    draw_couples(tmp_path / "fresh", world_seed=8)
    assert content(tmp_path / "mixed") == content(tmp_path / "fresh")


def test_styles_over_couples_leave_no_couples(tmp_path):
    draw_couples(tmp_path)
    write_styles(tmp_path, **STYLES, num_workers=1, progress=silent)
    assert not (tmp_path / "couples.csv").exists()


def test_foreign_files_are_not_removed(tmp_path):
    (tmp_path / "holiday.jpg").write_bytes(b"mine")
    with pytest.raises(NotADemoError, match="no demo dataset"):
        draw_couples(tmp_path)
    assert (tmp_path / "holiday.jpg").exists()


def test_every_source_is_hashed_or_known_not_to_matter():
    folder = Path(write_couples.__code__.co_filename).parent
    assert {path.name for path in folder.glob("*.py")} == {*SOURCES, "__init__.py"}
