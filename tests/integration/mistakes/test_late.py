"""Mistakes that are answered after torch is imported, full disks, and what looks like a mistake but works."""

import gc
from pathlib import Path

import pytest

from tests.integration.mistakes import bench
from tests.integration.mistakes.case import Case

FINE = [case for case in bench.CASES if not case.code]


@pytest.mark.parametrize("name", bench.LATE_COMMANDS)
def test_a_mistake_is_answered_in_one_message(name: str, good: Path, tmp_path: Path):
    bench.check_late(bench.NAMED[name], good, tmp_path / name)


@pytest.mark.parametrize("case", FINE, ids=lambda case: case.name)
def test_no_mistake_works(case: Case, good: Path, tmp_path: Path):
    folder = bench.build(case, good, tmp_path / case.name)
    done = bench.answer(case, folder)
    assert done.returncode == 0, bench.shown(done.stderr, folder)
    assert "of 48 from the store" in done.stderr


def test_rows_stored_before_the_disk_was_full_stay(good: Path, tmp_path: Path):
    """The first rows are in small shards, the rest in one that is larger than the disk; then there is space again."""
    case = bench.NAMED["full_store"]
    folder = bench.build(case, good, tmp_path / "world")
    couples = folder / "data" / "couples.csv"
    profiles = folder / "data" / "profiles.csv"
    complete = {path: path.read_text() for path in (couples, profiles)}
    couples.write_text("\n".join(complete[couples].splitlines()[:9]) + "\n")
    profiles.write_text("\n".join(complete[profiles].splitlines()[:17]) + "\n")
    words = f"{case.words} features.shard_rows=8"
    few = bench.type_words("embed", words, folder, file_kb=case.file_kb, **case.environment)
    assert few.returncode == 0, few.stderr
    for path, text in complete.items():
        path.write_text(text)
    stored = shards(folder)
    full = bench.answer(case, folder)
    text = bench.shown(full.stderr, folder)
    assert full.returncode == 2 and not [part for part in case.says if part not in text], text
    assert "The 32 rows computed last are lost" in text
    assert shards(folder) == stored and len(stored) == 2
    again = bench.type_words("embed", case.words, folder, **case.environment)
    assert "16 of 48 from the store, 32 computed" in again.stderr


@pytest.mark.slow
def test_a_run_that_filled_the_disk_goes_on(good: Path, tmp_path: Path):
    """That it ends with the same result is shown by `tests/thorough/test_mistakes.py`."""
    case = bench.NAMED["full_run"]
    folder = bench.build(case, good, tmp_path / "world")
    bench.check_answer(case, bench.answer(case, folder), folder)
    assert not list((folder / "new" / "checkpoints").glob("*"))
    gc.collect()  # the traceback of the mistake holds the run folder's lock, which a process that ends releases
    resumed = bench.type_words("train", "run=FOLDER/new", folder, **case.environment)
    assert resumed.returncode == 0 and (folder / "new" / "metrics.json").is_file(), resumed.stderr


def shards(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "features").rglob("*.safetensors")}
