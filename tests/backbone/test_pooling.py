"""Poolings against loops over tokens, whatever stands in the padding and on whichever side it is."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from style_match.backbone import pooling
from style_match.utils.errors import UserError

CONF = Path(__file__).resolve().parents[2] / "conf"
NAMES = ("eos", "mean", "mean_image", "mean_text")


@st.composite
def batches(draw):
    """Hidden states with NaN in the padding, rows of text, image tokens and text, padded on either side."""
    seed = draw(st.integers(0, 2**32 - 1))
    parts = draw(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 4)), min_size=1, max_size=5))
    side = draw(st.sampled_from(["left", "right"]))
    dtype = draw(st.sampled_from([torch.float32, torch.bfloat16]))
    longest = max(map(sum, parts))
    h = torch.full((len(parts), longest, 3), float("nan"), dtype=dtype)
    attention, image = torch.zeros(2, len(parts), longest, dtype=torch.bool)
    generator = torch.Generator().manual_seed(seed)
    for i, (before, num_image, after) in enumerate(parts):
        length = before + num_image + after
        start = 0 if side == "right" else longest - length
        h[i, start : start + length] = torch.randn(length, 3, generator=generator).to(dtype)
        attention[i, start : start + length] = True
        image[i, start + before : start + before + num_image] = True
    return h, attention, image


@given(batches())
def test_poolings_equal_loops_over_tokens(batch):
    h, attention, image = batch
    got = {name: getattr(pooling, name)(h, attention, image) for name in NAMES}
    for i in range(len(h)):
        tokens = [(h[i, t].double().numpy(), bool(image[i, t])) for t in range(h.shape[1]) if attention[i, t]]
        expected = {
            "eos": tokens[-1][0],
            "mean": np.mean([state for state, _ in tokens], 0),
            "mean_image": np.mean([state for state, of_image in tokens if of_image], 0),
            "mean_text": np.mean([state for state, of_image in tokens if not of_image], 0),
        }
        for name in NAMES:
            assert got[name].dtype == torch.float32
            np.testing.assert_allclose(got[name][i].numpy(), expected[name], atol=1e-6, rtol=1e-6, err_msg=name)


def test_the_mean_of_half_precision_states_is_summed_in_float32():
    h = torch.full((1, 3000, 1), 1.01, dtype=torch.bfloat16)
    everywhere = torch.ones(1, 3000, dtype=torch.bool)
    assert pooling.mean(h, everywhere, everywhere).item() == pytest.approx(h[0, 0, 0].item(), abs=1e-5)


def test_a_row_without_a_photo_is_refused_by_mean_image():
    h, attention = torch.ones(2, 3, 4), torch.ones(2, 3, dtype=torch.bool)
    image = torch.tensor([[False, True, False], [False, False, False]])
    with pytest.raises(UserError, match=r"pooling=mean_image.*no image"):
        pooling.mean_image(h, attention, image)


@pytest.mark.parametrize("name", NAMES)
def test_the_yaml_of_a_pooling_gives_its_function(name):
    cfg = OmegaConf.load(CONF / "pooling" / f"{name}.yaml")
    assert cfg.name == name
    assert instantiate(cfg.function) is getattr(pooling, name)


def test_every_pooling_has_a_yaml_and_others_are_composed_of_them():
    files = {path.stem: OmegaConf.load(path) for path in (CONF / "pooling").glob("*.yaml")}
    composed = {name: made.parts for name, made in files.items() if "parts" in made}
    assert {*files} == {*NAMES, *composed}
    assert {*composed} == {"both", "hybrid"} and all({*parts} <= {*NAMES} for parts in composed.values())


def test_joined_poolings_are_of_unit_length_each_and_one_alone_stays_as_it_is():
    one, other = torch.randn(5, 3), 100 * torch.randn(5, 4)
    assert pooling.joined([one]) is one
    parts = [part.numpy() for part in (one, other)]
    expected = np.concatenate([part / np.linalg.norm(part, axis=1, keepdims=True) for part in parts], axis=1)
    np.testing.assert_allclose(pooling.joined([one, other]).numpy(), expected, rtol=1e-5)
