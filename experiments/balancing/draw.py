"""Draw an unbalanced dataset folder of synthetic figures: `python experiments/balancing/draw.py FOLDER`.

It has 1,475 of 3,000 drawn photos. Training has 600, of which 70 % are of one class (70/10/10/5/5); validation has 75
and test 100 of every class, so that the scored splits are balanced.
"""

import shutil
import sys
from pathlib import Path

import pandas as pd
from hydra import compose, initialize_config_dir

from style_match.cli.targets import conf_dir
from style_match.synthetic.dataset import draw_demo

TRAIN = {"Casual_Basic": 420, "Street_Hip": 60, "Sporty_Athleisure": 60, "Chic_Modern": 30, "Classy_Elegant": 30}
NUM_VAL, NUM_TEST = 75, 100


def write(root: Path) -> None:
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        drawn = draw_demo(compose("train", ["data=demo_styles", "data.num_photos=3000"]).data, show=True)
    profiles = pd.read_csv(drawn / "profiles.csv", dtype=str, keep_default_na=False)
    number = profiles.groupby("fashion_style").cumcount()  # of a photo in its class
    num_train = profiles.fashion_style.map(TRAIN)
    profiles["split"] = "train"
    profiles.loc[number < NUM_VAL + NUM_TEST, "split"] = "test"
    profiles.loc[number < NUM_VAL, "split"] = "val"
    profiles = profiles[number < NUM_VAL + NUM_TEST + num_train]
    (root / "images").mkdir(parents=True)
    for image in profiles.image:
        shutil.copyfile(drawn / image, root / image)
    profiles.to_csv(root / "profiles.csv", index=False)
    print(f"{root}: {len(profiles)} synthetic photos")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    write(Path(sys.argv[1]))
