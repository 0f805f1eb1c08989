"""A W&B run that continues offline: its rows are numbered on, and the printed command sends all of its parts."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from style_match.cli import main
from style_match.training import loggers
from tests.commands import SMALL_COUPLES
from tests.training.wandb_files import records

pytestmark = [pytest.mark.integration, pytest.mark.slow]


def histories(folder: Path) -> list[list[dict[str, Any]]]:
    """The rows of each part of a run, by the names of the parts."""
    return [
        [
            {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
            for record in records(file)
            if record.WhichOneof("record_type") == "history"
        ]
        for file in sorted((folder / "wandb").glob("offline-run-*/*.wandb"))
    ]


def parts_sent(printed: str) -> list[str]:
    (line,) = [line for line in printed.splitlines() if "wandb sync" in line]
    wandb, sync, *parts = shlex.split(line[line.index("wandb sync") :])
    assert (wandb, sync) == ("wandb", "sync")
    return parts


def test_a_run_that_continues_offline_keeps_its_history(run_step, tmp_path):
    folder = tmp_path / "a run"
    run_step("train", *SMALL_COUPLES, "logger=wandb", f"hydra.run.dir={folder}", WANDB_MODE="offline")
    continued = run_step("train", f"run={folder}", "ckpt_path=last", "trainer.max_epochs=4", WANDB_MODE="offline")
    parts = sorted(map(str, (folder / "wandb").glob("offline-run-*")))
    assert len(parts) == 2 and parts_sent(continued.stderr) == parts
    first, second = histories(folder)
    assert [row["epoch"] for row in first if "val/mrr" in row] == [0, 1]
    assert [row["epoch"] for row in second if "val/mrr" in row] == [2, 3]
    steps = [row["_step"] for row in (*first, *second)]
    assert steps == list(range(len(steps)))
    trained = [row["trainer/global_step"] for row in (*first, *second) if "val/mrr" in row]
    assert trained == sorted(set(trained))


def test_each_of_many_parts_is_numbered_on_and_sent(tmp_path, capsys, monkeypatch):
    with initialize_config_dir(str(main.conf_dir()), version_base=main.VERSION_BASE):
        config = compose("train", ["logger=wandb"])
    monkeypatch.setenv("WANDB_MODE", "offline")
    for part in range(3):
        with (
            pytest.raises(KeyError) if part == 1 else pytest.MonkeyPatch.context(),  # a part that fails counts too
            loggers.loggers(config, tmp_path, synthetic=True) as (log,),
        ):
            for epoch in range(2):
                log.log_metrics({"val/mrr": 0.5, "epoch": 2 * part + epoch}, step=epoch)
            if part == 1:
                raise KeyError
    rows = [row for part in histories(tmp_path) for row in part]
    assert [(row["_step"], row["epoch"]) for row in rows] == [(number, number) for number in range(6)]
    last = capsys.readouterr().err.splitlines()[-1]
    assert parts_sent(last) == sorted(map(str, (tmp_path / "wandb").glob("offline-run-*")))
    assert len(parts_sent(last)) == 3


def test_the_command_that_sends_all_parts():
    from style_match.training import loggers

    parts = [Path("w/offline-run-1-a"), Path("w/offline-run-2-a")]
    assert loggers.sync_command(parts) == f"wandb sync {parts[0]} {parts[1]}"
    assert loggers.sync_command([*parts, Path("w/run-3-a")]).startswith("wandb sync --include-online w/offline-run-1-a")


def test_the_printed_command_is_taken_by_the_installed_wandb(tmp_path):
    from click.testing import CliRunner
    from wandb.cli.cli import cli as wandb_cli

    from style_match.training import loggers

    parts = [tmp_path / "offline-run-20260101_000000-abc", tmp_path / "offline-run-20260101_000001-abc"]
    for part in parts:
        part.mkdir()
        (part / "run-abc.wandb").write_bytes(b"")
    for command in loggers.sync_command(parts).split(" && "):
        done = CliRunner().invoke(wandb_cli, [*shlex.split(command)[1:], "--help"])
        assert done.exit_code == 0 and all(word in done.output for word in shlex.split(command) if word[:2] == "--")
