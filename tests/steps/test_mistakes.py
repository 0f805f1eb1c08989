"""Every mistake of experiments/mistakes on the real command line: one message, the right exit code, nothing lost."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

run = pytest.importorskip("experiments.mistakes.run", reason="experiments are not on the path")
NAMED = {case.name: case for case in run.CASES}
MISTAKES = [case.name for case in run.CASES if case.code]
FINE = [case.name for case in run.CASES if not case.code]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory):
    return run.Bench(tmp_path_factory.mktemp("mistakes"))


@pytest.fixture(scope="module")
def answers(bench, request: pytest.FixtureRequest):
    """Name -> the folder of the case and what the process did; two at a time, for the cases that are to be tested."""
    wanted = [
        item.callspec.params["name"]
        for item in request.session.items
        if item.path == Path(__file__) and hasattr(item, "callspec")
    ]
    with ThreadPoolExecutor(2) as pool:
        made = {}
        for name in sorted(wanted, key=lambda name: NAMED[name].has_run):  # a run is trained for these
            folder = bench.build(NAMED[name])
            hidden = {}
            if NAMED[name].code and NAMED[name].early:
                run.world.hide("torch")(folder)  # what is answered nonetheless is answered before it is imported
                hidden = {"PYTHONPATH": str(folder / "hidden")}
            made[name] = (folder, pool.submit(bench.answer, NAMED[name], folder, **hidden))
        yield made


def test_the_table_is_of_these_cases():
    """Cases are not added without a new table: `python -m experiments.mistakes.run --scratch FOLDER`."""
    rows = run.TABLE.read_text(encoding="utf-8").splitlines()[2:]
    assert [row.split(" | ")[0].removeprefix("| ") for row in rows] == list(NAMED)
    assert [row.split(" | ")[-1] for row in rows] == [f"{case.code} |" for case in run.CASES]
    for row, case in zip(rows, run.CASES, strict=True):
        assert all(part.replace("|", "\\|") in row for part in case.says), case.name


@pytest.mark.slow
@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_answered_in_one_message(name: str, answers):
    folder, answer = answers[name]
    done = answer.result()
    said = run.shown(done.stderr, folder)
    assert done.returncode == NAMED[name].code, done.stdout + said
    assert not [part for part in NAMED[name].says if part not in said], said
    for sign in ("Traceback", "Warning", "Error executing job"):
        assert sign not in said
    began = [line for line in said.splitlines() if line.startswith(run.PROGRESS[1:])]
    assert not began or NAMED[name].file_kb, "the answer came after expensive work"
    assert said.count(NAMED[name].says[0]) == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", FINE)
def test_what_is_no_mistake_simply_works(name: str, answers):
    folder, answer = answers[name]
    done = answer.result()
    assert done.returncode == 0, run.shown(done.stderr, folder)
    assert "of 48 from the store" in done.stderr


@pytest.mark.slow
def test_rows_stored_before_the_disk_was_full_stay(bench):
    """The first rows in small shards, the rest in one that is too large for the disk; then there is space again."""
    case = NAMED["full_store"]
    folder = bench.build(case, "store_fills_up")
    couples = folder / "data" / "couples.csv"
    profiles = folder / "data" / "profiles.csv"
    whole = {path: path.read_text() for path in (couples, profiles)}
    couples.write_text("\n".join(whole[couples].splitlines()[:9]) + "\n")
    profiles.write_text("\n".join(whole[profiles].splitlines()[:17]) + "\n")
    few = bench.type("embed", f"{case.words} features.shard_rows=8", folder, file_kb=case.file_kb, **case.environment)
    assert few.returncode == 0, few.stderr
    for path, text in whole.items():
        path.write_text(text)
    stored = shards(folder)
    full = bench.answer(case, folder)
    assert full.returncode == 2 and "The 32 rows computed last are lost" in full.stderr
    assert shards(folder) == stored and len(stored) == 2
    assert "16 of 48 from the store, 32 computed" in bench.type("embed", case.words, folder, **case.environment).stderr


@pytest.mark.slow
def test_a_run_that_filled_the_disk_goes_on_to_the_same_result(bench):
    case = NAMED["full_run"]
    folder = bench.build(case, "run_fills_up")
    done = bench.answer(case, folder)
    assert done.returncode == 2 and not list((folder / "new" / "checkpoints").glob("*"))
    resumed = bench.type("train", "run=FOLDER/new", folder)
    fresh = bench.type("train", case.words.replace("FOLDER/new", "FOLDER/fresh"), folder)
    assert resumed.returncode == fresh.returncode == 0, resumed.stderr + fresh.stderr
    one, other = (json.loads((folder / name / "metrics.json").read_text()) for name in ("new", "fresh"))
    assert one == other


def shards(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "features").rglob("*.safetensors")}
