"""How the report estimates in these tests, and a dataset folder beside runs."""

from pathlib import Path

import pytest
from PIL import Image

from style_match.reporting.runs import Options
from tests.reporting.run_folders import write_run


@pytest.fixture
def options() -> Options:
    return Options(
        confidence=0.95,
        alpha=0.05,
        num_resamples=500,
        seed=0,
        min_seeds=3,
        gallery=None,
        leave_out=[],
    )


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Photos with a place in their EXIF, and a column beside."""
    root = tmp_path / "data"
    root.mkdir()
    exif = Image.Exif()
    exif[0x010E] = "at home, 12 Nowhere Street"
    lines = ["profile_id,image,age,region"]
    for place in range(12):
        for side in "fm":
            name = f"{side}{place:03d}"
            Image.new("RGB", (300, 200), (20 * place, 0, 0)).save(root / f"{name}.jpg", exif=exif)
            lines.append(f"{name},{name}.jpg,{20 + place},{'north' if place < 9 else 'south'}")
    (root / "profiles.csv").write_text("\n".join(lines) + "\n")
    (root / "couples.csv").write_text(
        "\n".join(["left_id,right_id", *(f"f{i:03d},m{i:03d}" for i in range(12))]) + "\n"
    )
    for seed in range(3):
        write_run(tmp_path / "sweep" / f"{seed}", seed=seed, root=root)
    return tmp_path / "sweep"
