"""An unbalanced dataset folder of synthetic figures: `python experiments/balancing/draw.py FOLDER`.

1,475 of 3,000 drawn photos. Training has 600, of which 70 % are of one class (70/10/10/5/5); validation has 75 and test
100 of every class, so that what is scored is balanced.
"""

import csv
import shutil
import sys
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir

from style_match.cli import main
from style_match.synthetic.dataset import draw_demo

SHARES = {"Casual_Basic": 420, "Street_Hip": 60, "Sporty_Athleisure": 60, "Chic_Modern": 30, "Classy_Elegant": 30}
HELD_OUT = {"val": 75, "test": 100}


def split_of(label: str, number: int) -> str | None:
    """Which split the photo of this number in its class is in; None where it is left away."""
    for split, num in HELD_OUT.items():
        if number < num:
            return split
        number -= num
    return "train" if number < SHARES[label] else None


def write(root: Path) -> None:
    with initialize_config_dir(str(main.conf_dir()), version_base=main.VERSION_BASE):
        data = compose("train", ["data=demo_styles", "data.num_photos=3000"]).data
    drawn = draw_demo(data, show=True)
    (root / "images").mkdir(parents=True)
    seen = dict.fromkeys(SHARES, -1)
    chosen: list[dict[str, Any]] = []
    with open(drawn / "profiles.csv", newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            label = row["fashion_style"]
            seen[label] += 1
            if split := split_of(label, seen[label]):
                chosen.append({**row, "split": split})
    for row in chosen:
        shutil.copyfile(drawn / row["image"], root / row["image"])
    with open(root / "profiles.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(chosen[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(chosen)
    print(f"{root}: {len(chosen)} synthetic photos")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    write(Path(sys.argv[1]))
