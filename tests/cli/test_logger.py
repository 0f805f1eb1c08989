"""The loggers: each writes under its own name, W&B never asks for a key."""

import csv
import socket
import sys

import pytest
from hydra import compose, initialize_config_dir

from style_match import cli, logger
from style_match.errors import UserError


@pytest.fixture
def keyless(monkeypatch, tmp_path):
    """No key and no mode in the environment or at home."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_BASE_URL", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return monkeypatch


def config(*words: str):
    with initialize_config_dir(str(cli.conf_dir()), version_base=cli.VERSION_BASE):
        return compose("train", list(words))


def test_csv_keeps_the_curves_of_a_run_that_goes_on(tmp_path):
    for value in (1.0, 2.0):
        with logger.loggers(config(), tmp_path) as (log,):
            log.log_metrics({"val/mrr": value}, step=0)
            log.finalize("success")
    files = sorted((tmp_path / "csv").glob("*/metrics.csv"))
    assert [float(next(csv.DictReader(file.open()))["val/mrr"]) for file in files] == [1.0, 2.0]


def test_several_at_once(tmp_path):
    pytest.importorskip("tensorboard")
    with logger.loggers(config("logger=[csv,tensorboard]"), tmp_path) as logs:
        for log in logs:
            log.log_metrics({"val/mrr": 0.5}, step=0)
            log.finalize("success")
    assert {path.name for path in tmp_path.iterdir()} == {"csv", "tensorboard"}
    assert list((tmp_path / "tensorboard").glob("*/events*"))


def test_tensorboard_that_is_missing_names_its_extra(tmp_path, monkeypatch):
    from lightning.fabric.loggers import tensorboard

    monkeypatch.setattr(tensorboard, "_TENSORBOARD_AVAILABLE", False)
    monkeypatch.setattr(tensorboard, "_TENSORBOARDX_AVAILABLE", False)
    with (
        pytest.raises(Exception, match=r"style_match\[tensorboard\]"),
        logger.loggers(config("logger=tensorboard"), tmp_path),
    ):
        pass


def test_wandb_without_a_key_is_offline(keyless, tmp_path):
    made = logger.wandb(folder=tmp_path, group=None, project="p", entity=None, mode="auto", connect_timeout_s=0.1)
    assert made._offline is True


def test_wandb_with_a_key_but_no_server_is_offline(keyless, tmp_path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        keyless.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{closed.getsockname()[1]}")
        keyless.setenv("WANDB_API_KEY", "0" * 40)
        made = logger.wandb(folder=tmp_path, group=None, project="p", entity=None, mode="auto", connect_timeout_s=0.5)
    assert made._offline is True


def test_wandb_with_a_key_and_a_server_is_online(keyless, tmp_path):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login user password " + "0" * 40 + "\n")
    keyless.setenv("NETRC", str(tmp_path / "netrc"))
    with socket.create_server(("127.0.0.1", 0)) as server:
        keyless.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        made = logger.wandb(folder=tmp_path, group="g", project="p", entity=None, mode="auto", connect_timeout_s=0.5)
    assert made._offline is False


def test_wandb_online_without_a_key_does_not_ask(keyless, tmp_path):
    with pytest.raises(UserError, match="wandb login"):
        logger.wandb(folder=tmp_path, group=None, project="p", entity=None, mode="online", connect_timeout_s=0.1)


@pytest.mark.slow
def test_two_offline_runs_one_after_the_other(keyless, tmp_path):
    keyless.setattr(sys, "stdin", None)  # a question would fail
    for name in ("a", "b"):
        with logger.loggers(config("logger=[csv,wandb]"), tmp_path / name, group="sweep") as (_, log):
            log.log_metrics({"val/mrr": 0.5}, step=0)
            run = log.experiment
            assert (run.group, run.name, run.config["head"]["dim"]) == ("sweep", name, 512)
        assert len(list((tmp_path / name / "wandb").glob("offline-run-*/*.wandb"))) == 1
