"""Cost of reading a dataset folder by its size: `python experiments/scale/folder.py --scratch FOLDER [N ...]`.

Draws N tiny photos and half as many couples, then reads the folder as every command does: in a new process, first with
every photo new, then with all of them known. Writes folder.csv beside this file.
"""

import argparse
import csv
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent


def draw(root: Path, num: int) -> None:
    """Draw a folder of `num` profiles whose photos differ in one pixel, coupled two by two."""
    from PIL import Image

    (root / "images").mkdir(parents=True)
    rows = [f"{'fm'[i % 2]}{i},images/{i}.png,{'fm'[i % 2]}" for i in range(num)]
    (root / "profiles.csv").write_text("profile_id,image,gender\n" + "\n".join(rows) + "\n")
    couples = [f"f{i},m{i + 1}" for i in range(0, num, 2)]
    (root / "couples.csv").write_text("female_id,male_id\n" + "\n".join(couples) + "\n")
    photo = Image.new("RGB", (32, 32))
    for i in range(num):
        photo.putpixel((0, 0), (i % 256, i // 256 % 256, i // 65536))
        photo.save(root / "images" / f"{i}.png")


def read(root: Path, cache: Path) -> None:
    """Print the seconds of each part and the peak memory, as JSON."""
    from style_match.data.dataset import read_folder
    from style_match.data.fingerprints import Fingerprints
    from style_match.data.photos import check_photos
    from style_match.data.splits import make_split

    seconds = {}
    began = time.perf_counter()
    folder = read_folder(root, task="couple", image_root=None, label_column=None)
    seconds["tables_s"] = time.perf_counter() - began
    began = time.perf_counter()
    options = {"max_source_pixels": 10**6, "on_bad_image": "error", "num_workers": 2}
    prints = Fingerprints(cache / "fingerprints.sqlite")
    folder = check_photos(folder, prints, progress=lambda done, total: None, **options)
    seconds["photos_s"] = time.perf_counter() - began
    began = time.perf_counter()
    make_split(folder, seed=0, fractions=(0.7, 0.15, 0.15), store=None)
    seconds["split_s"] = time.perf_counter() - began
    print(json.dumps(seconds | {"peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3}))


def main() -> None:
    # imports nothing heavy: the peak memory of a new process is at least that of the process that started it
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=HERE / "folder.csv")
    parser.add_argument("sizes", type=int, nargs="*", default=[1_000, 10_000, 30_000])
    given = parser.parse_args()
    given.scratch.mkdir(parents=True, exist_ok=True)
    lines = []
    for num in given.sizes:
        place = Path(tempfile.mkdtemp(prefix="folder-", dir=given.scratch))
        try:
            draw(place / "data", num)
            for state in ("every photo new", "every photo known"):
                words = [sys.executable, __file__, "--read", str(place / "data"), str(place)]
                found = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
                lines.append({"profiles": num, "state": state} | {name: round(v, 3) for name, v in found.items()})
                print(lines[-1], flush=True)
        finally:
            shutil.rmtree(place)
    with open(given.out, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, lines[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--read"]:
        read(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        main()
