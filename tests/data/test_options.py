"""conf/data: style data brings its own sampler and loss, and the command line has the last word."""

import functools
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

CONF = Path(__file__).parents[2] / "conf"


@functools.cache
def config(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", overrides=list(overrides))


def parts(*overrides: str) -> tuple[str, str]:
    composed = config(*overrides)
    return composed.sampler._target_.split(".")[-1], composed.loss._target_.split(".")[-1]


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ((), ("PairSampler", "InfoNCE")),
        (("data=couples",), ("PairSampler", "InfoNCE")),
        (("data=styles",), ("PKSampler", "Triplet")),
        (("data=demo_styles",), ("PKSampler", "Triplet")),
        (("data=demo_styles", "loss=infonce"), ("PKSampler", "InfoNCE")),
        (("loss=infonce", "loss.temperature=0.3", "data=styles"), ("PKSampler", "InfoNCE")),
        (("data=demo_couples", "loss=triplet"), ("PairSampler", "Triplet")),
    ],
)
def test_sampler_and_loss(overrides: tuple[str, ...], expected: tuple[str, str]) -> None:
    assert parts(*overrides) == expected


@pytest.mark.parametrize("name", ["couples", "styles"])
def test_the_folder_of_ones_own_data_must_be_given(name: str) -> None:
    data = config(f"data={name}").data
    assert OmegaConf.is_missing(data, "root")
    assert not data.get("synthetic")
    assert config(f"data={name}", "data.root=/photos").data.root == "/photos"


@pytest.mark.parametrize(("name", "task"), [("demo_couples", "couple"), ("demo_styles", "style")])
def test_the_demo_has_all_options_of_ones_own_data(name: str, task: str) -> None:
    demo, own = config(f"data={name}").data, config(f"data={name.removeprefix('demo_')}").data
    assert set(own) < set(demo)
    assert (demo.name, demo.task, demo.root, demo.synthetic) == (name, task, None, True)


def test_both_demos_are_one_world() -> None:
    couples, styles = (config(f"data=demo_{task}").data.world for task in ("couples", "styles"))
    assert styles.items() < couples.items()
    assert couples.keys() - styles.keys() == {"rho", "temperature"}, "which nothing reads for styles"
