"""conf/data: style data brings its own sampler and loss, and the command line has the last word."""

import pytest
from omegaconf import OmegaConf

from tests.composed import composed


@pytest.mark.parametrize(
    ("words", "sampler", "loss"),
    [
        ((), "PairSampler", "InfoNCE"),
        (("data=styles",), "PKSampler", "Triplet"),
        (("data=demo_styles",), "PKSampler", "Triplet"),
        (("loss=infonce", "loss.temperature=0.3", "data=styles"), "PKSampler", "InfoNCE"),
        (("data=demo_couples", "loss=triplet"), "PairSampler", "Triplet"),
    ],
)
def test_sampler_and_loss(words: tuple[str, ...], sampler: str, loss: str) -> None:
    cfg = composed("train", *words)
    assert cfg.sampler._target_.endswith(f".{sampler}") and cfg.loss._target_.endswith(f".{loss}")


@pytest.mark.parametrize(("name", "task"), [("couples", "couple"), ("styles", "style")])
def test_the_demo_has_all_options_of_ones_own_data_but_a_folder(name: str, task: str) -> None:
    demo, own = (composed("train", f"data={each}").data for each in (f"demo_{name}", name))
    assert OmegaConf.is_missing(own, "root") and not own.get("synthetic")
    assert set(own) < set(demo)
    assert (demo.name, demo.task, demo.root, demo.synthetic) == (f"demo_{name}", task, None, True)


def test_both_demos_are_one_world() -> None:
    couples, styles = (composed("train", f"data=demo_{name}").data.world for name in ("couples", "styles"))
    assert styles.items() < couples.items()
    assert couples.keys() - styles.keys() == {"rho", "temperature"}, "which nothing reads for styles"
