"""A folder of photos, recorded answers, and the step in this process."""

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from style_match import label
from style_match.cli import main
from style_match.utils.errors import UserError
from tests.composed import running
from tests.labeling.makers import picture, style_values


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Six photos: a.jpg to e.jpg and deep/f.jpg."""
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    for seed, name in enumerate(("a", "b", "c", "d", "e", "deep/f")):
        (folder / f"{name}.jpg").write_bytes(picture(seed))
    return folder


@pytest.fixture
def answers(tmp_path: Path) -> Callable[..., Path]:
    """`answers("a", "b", name="x.jsonl")` writes a metadata.jsonl for a.jpg and b.jpg; one may be (name, values)."""

    def write(*names, name: str = "recorded.jsonl") -> Path:
        lines = []
        for number, one in enumerate(names):
            image, values = one if isinstance(one, tuple) else (one, style_values(number))
            lines.append(json.dumps({"image": f"{image}.jpg", **values}, ensure_ascii=False) + "\n")
        (tmp_path / name).write_text("".join(lines), encoding="utf-8")
        return tmp_path / name

    return write


class Labelled:
    """What a command left: `code`, `out` and `err` as printed, and the files of the out folder."""

    def __init__(self, code: int, out: str, err: str, folder: Path) -> None:
        self.code, self.out, self.err, self.folder = code, out, err, folder

    @property
    def lines(self) -> dict[str, dict[str, Any]]:
        rows = [json.loads(line) for line in (self.folder / "metadata.jsonl").read_bytes().splitlines()]
        return {row.pop("image"): row for row in rows}

    @property
    def failed(self) -> dict[str, dict[str, str]]:
        with open(self.folder / "failed.csv", newline="", encoding="utf-8") as file:
            return {row["image"]: row for row in csv.DictReader(file)}


def _run(words: list[str]) -> None:
    """Run the step without the command line, which would take most of the time; its mistakes end it as there."""
    try:
        with running("label", *words) as config:
            label.run(config)
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path) -> Callable[..., Labelled]:
    """`command(*words)` runs the step in this process; with `typed`, from its command line."""
    monkeypatch.chdir(tmp_path)

    def run(*words: object, code: int | None = 0, typed: bool = False) -> Labelled:
        texts = list(map(str, words))
        options = dict(text.split("=", 1) for text in texts if "=" in text)
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["label", *texts])
        try:
            main.main("label", label.run) if typed else _run(texts)
            ended = 0
        except SystemExit as stop:
            ended = int(stop.code or 0)
        printed = capsys.readouterr()
        assert code in (None, ended), printed.out + printed.err
        assert "Traceback" not in printed.err, printed.err
        return Labelled(ended, *printed, Path(options.get("out") or options.get("images", ".")))

    return run


@pytest.fixture
def replay(command: Callable[..., Labelled], photos: Path) -> Callable[..., Labelled]:
    """`replay(file, *words)` labels the folder of photos with recorded answers."""

    def run(file: Path, *words: object, images: Path = photos, **options: Any) -> Labelled:
        return command(f"images={images}", "labeler=replay", f"labeler.file={file}", *words, **options)

    return run
