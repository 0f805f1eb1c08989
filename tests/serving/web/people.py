"""A folder of profiles whose ids, columns and texts hold markup."""

import csv
import json
import shutil
from pathlib import Path

EVIL = "<img src=x onerror=alert(1)>"
CAPTION = "</script><script>alert(2)</script> a neat dandy look"
CITIES = ("Seoul", "부산", "<b>O'Neill</b>")


def data_folder(run: Path) -> Path:
    """The dataset folder that a run was trained on."""
    return Path(json.loads((run / "provenance.json").read_text(encoding="utf-8"))["data"]["folder"])


def evil_folder(demo: Path, out: Path) -> Path:
    """The drawn folder with ages and cities, and a first profile of two photos whose id and caption hold markup."""
    out.mkdir()
    shutil.copytree(demo / "images", out / "images")
    first = ""
    with open(demo / "profiles.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    first, second = rows[0]["profile_id"], rows[2]["image"]
    shutil.copy(demo / second, out / "images" / "second.jpg")
    for number, row in enumerate(rows):
        row.update(age=str(20 + number % 30), city=CITIES[number % len(CITIES)])
    rows[0]["profile_id"] = EVIL
    rows.insert(1, {**rows[0], "image": "images/second.jpg"})
    write_csv(out / "profiles.csv", rows)
    with open(demo / "couples.csv", newline="", encoding="utf-8") as file:
        couples = list(csv.DictReader(file))
    write_csv(out / "couples.csv", [{k: EVIL if v == first else v for k, v in row.items()} for row in couples])
    lines = [json.loads(line) for line in (demo / "metadata.jsonl").read_text(encoding="utf-8").splitlines()]
    lines[0]["caption"] = CAPTION
    lines.append({**lines[0], "image": "images/second.jpg"})
    (out / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return out


def write_csv(path: Path, rows: list[dict[str, str]]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
