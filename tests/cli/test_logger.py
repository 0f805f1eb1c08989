"""The loggers: each writes under its own name, W&B never asks for a key, photos only where they are asked for."""

import csv
import os

import pytest
import wandb

from style_match.cli import schema
from style_match.training import loggers
from style_match.utils.errors import UserError
from tests.composed import composed

KEY = "0123456789abcdef" * 3


@pytest.fixture
def keyless(monkeypatch, tmp_path):
    """No key and no mode in the environment, at home or in this process."""
    wandb.teardown()
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_BASE_URL", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    yield monkeypatch
    wandb.teardown()


def config(*words: str):
    return composed("train", *words)


def faults(*words: str) -> list[str]:
    return schema.faults(config(*words), config(*words[:1]), step="train")


def test_csv_keeps_the_curves_of_a_run_that_goes_on(tmp_path):
    for value in (1.0, 2.0):
        with loggers.loggers(config(f"logger.csv.save_dir={tmp_path}"), tmp_path, synthetic=True) as (log,):
            log.log_metrics({"val/mrr": value}, step=0)
    files = sorted((tmp_path / "csv").glob("*/metrics.csv"))
    assert [float(next(csv.DictReader(file.open()))["val/mrr"]) for file in files] == [1.0, 2.0]


def test_several_at_once(tmp_path):
    pytest.importorskip("tensorboard")
    with loggers.loggers(
        config("logger=[csv,tensorboard]", f"logger.csv.save_dir={tmp_path}"), tmp_path, synthetic=True
    ) as logs:
        for log in logs:
            log.log_metrics({"val/mrr": 0.5}, step=0)
    assert {path.name for path in tmp_path.iterdir()} == {"csv", "tensorboard"}
    assert list((tmp_path / "tensorboard").glob("*/events*"))


def test_tensorboard_that_is_missing_names_its_extra(tmp_path, monkeypatch):
    from lightning.fabric.loggers import tensorboard

    monkeypatch.setattr(tensorboard, "_TENSORBOARD_AVAILABLE", False)
    monkeypatch.setattr(tensorboard, "_TENSORBOARDX_AVAILABLE", False)
    with (
        pytest.raises(Exception, match=r"style_match\[tensorboard\]"),
        loggers.loggers(config("logger=tensorboard"), tmp_path, synthetic=True),
    ):
        pass


def test_wandb_without_a_key_is_offline_and_says_so(keyless, capsys):
    assert loggers.choose_mode("auto") == "offline"
    assert "no key" in capsys.readouterr().err


def test_wandb_with_a_key_is_online(keyless):
    keyless.setenv("WANDB_API_KEY", KEY)
    assert loggers.choose_mode("auto") == loggers.choose_mode("online") == "online"


@pytest.mark.parametrize(
    ("said", "mode"), [("dryrun", "offline"), ("offline", "offline"), ("disabled", "disabled"), ("run", "online")]
)
def test_auto_does_as_the_environment_says(keyless, said, mode):
    keyless.setenv("WANDB_MODE", said)
    keyless.setenv("WANDB_API_KEY", KEY)
    keyless.setenv("WANDB_BASE_URL", "http://nowhere.invalid")
    assert loggers.choose_mode("auto") == mode
    assert os.environ["WANDB_MODE"] == said


@pytest.mark.parametrize("environment", [{}, {"WANDB_MODE": "online"}])
def test_wandb_online_without_a_key_does_not_ask(keyless, environment):
    for name, value in environment.items():
        keyless.setenv(name, value)
    with pytest.raises(UserError, match="wandb login"):
        loggers.choose_mode("auto" if environment else "online")


def test_a_key_that_cannot_be_one_is_named(keyless):
    keyless.setenv("WANDB_API_KEY", "abc")
    with pytest.raises(UserError, match=r"WANDB_API_KEY invalid.*logger\.wandb\.mode=offline"):
        loggers.choose_mode("auto")


def test_photos_need_a_logger_that_takes_them():
    (found,) = faults("logger=csv", "logger.log_images=true")
    assert "set logger=wandb or logger=tensorboard" in found


@pytest.mark.parametrize("chosen", ["wandb", "[csv,tensorboard]"])
def test_photos_are_one_word_beside_any_such_logger(chosen):
    assert config(f"logger={chosen}").logger.log_images is False
    assert faults(f"logger={chosen}", "logger.log_images=true", "logger.images.num_queries=3") == []


def test_no_more_answers_are_shown_than_are_kept():
    words = ("logger=wandb", "logger.log_images=true", "logger.images.num_answers=20")
    assert faults(*words) == ["logger.images.num_answers=20 exceeds evaluation.num_answers=10. Raise both."]
    assert faults(*words, "evaluation.num_answers=20") == []
