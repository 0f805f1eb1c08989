"""The world: random streams, tastes and what they decide."""

import dataclasses

import numpy as np
import pytest

from style_match.synthetic.dataset import couple_profiles, style_profiles
from style_match.synthetic.figures import encode_jpeg, render
from style_match.synthetic.world import STYLES, TASTE_DIM, Domain, Look, WorldParams, couple_tastes, draw_look, stream

PARAMS = WorldParams(rho=0.95, scene_follow=0.2, temperature=0.05, noise=0.1)


def look(domain: Domain, seed: int, index: int) -> Look:
    rng = stream(domain, seed, index)
    return draw_look(rng.normal(size=TASTE_DIM), "fm"[index % 2], rng, PARAMS)


def test_a_photo_depends_on_domain_seed_and_index_alone():
    backwards = [look(Domain.STYLE_PHOTOS, 3, index) for index in reversed(range(20))]
    forwards = [look(Domain.STYLE_PHOTOS, 3, index) for index in range(20)]
    assert forwards == backwards[::-1]
    first, again = (encode_jpeg(render(forwards[5], 64)) for _ in range(2))
    assert first == again


def test_a_couple_does_not_depend_on_how_many_there_are():
    few = couple_profiles(world_seed=1, num_couples=3, params=PARAMS)
    many = couple_profiles(world_seed=1, num_couples=8, params=PARAMS)
    assert [p.look for couple in few for p in couple] == [p.look for couple in many[:3] for p in couple]


def test_worlds_and_pretraining_share_no_photo():
    couples = couple_profiles(world_seed=0, num_couples=150, params=PARAMS)
    worlds = [profile.look for couple in couples for profile in couple]
    worlds += [profile.look for profile in style_profiles(world_seed=0, num_photos=300, params=PARAMS)]
    pretraining = [look(Domain.PRETRAINING, 0, index) for index in range(600)]

    def appearance(each: Look) -> tuple:
        return tuple(v for k, v in dataclasses.asdict(each).items() if k not in ("style", "shot_type"))

    everyone = [appearance(each) for each in worlds + pretraining]
    assert len(set(everyone)) == len(everyone)
    # The noise of a photo has its own seed; a picture could coincide only where this does.
    assert not {each.texture_seed for each in worlds} & {each.texture_seed for each in pretraining}


def test_tastes_are_standard_normal_and_correlated_within_a_couple():
    left, right = couple_tastes(4000, 0.8, np.random.default_rng(0))
    assert left.shape == right.shape == (4000, TASTE_DIM)
    for axis in range(TASTE_DIM):
        assert abs(left[:, axis].std() - 1) < 0.05
        assert abs(np.corrcoef(left[:, axis], right[:, axis])[0, 1] - 0.8) < 0.03
    assert abs(np.corrcoef(left[:, 0], right[:, 1])[0, 1]) < 0.05


def test_partners_choose_alike():
    couples = couple_profiles(world_seed=2, num_couples=300, params=PARAMS)
    same = np.mean([female.look.style == male.look.style for female, male in couples])
    shuffled = np.mean([couples[i][0].look.style == couples[i - 1][1].look.style for i in range(len(couples))])
    assert same > 0.6 > 0.4 > shuffled


def test_style_photos_go_through_every_style_and_gender():
    profiles = style_profiles(world_seed=0, num_photos=20, params=PARAMS)
    assert [profile.look.style for profile in profiles[:5]] == list(STYLES)
    assert {(profile.look.style, profile.look.gender) for profile in profiles} == {(s, g) for s in STYLES for g in "fm"}


def test_taste_does_not_reach_light_and_person():
    """Light, white balance, framing, skin and hair carry no taste, or the frozen baseline would be a light meter."""
    looks = [draw_look(np.full(TASTE_DIM, taste), "f", stream(Domain.STYLE_PHOTOS, 0, index), PARAMS)
             for taste in (-2.0, 2.0) for index in range(1500)]  # fmt: skip
    for name in ("light", "warmth", "skin", "hair_colour", "jitter_x", "jitter_scale", "background_hue"):
        low, high = np.array([getattr(each, name) for each in looks], float).reshape(2, -1)
        assert abs(low.mean() - high.mean()) < 4 * low.std() * np.sqrt(2 / len(low)), name


@pytest.mark.parametrize(("name", "value"), [("rho", 1.5), ("scene_follow", -0.1), ("temperature", -1), ("noise", -1)])
def test_impossible_parameters_are_named(name: str, value: float):
    with pytest.raises(ValueError, match=name):
        dataclasses.replace(PARAMS, **{name: value})


def test_bad_arguments_are_errors():
    with pytest.raises(ValueError, match="gender"):
        draw_look(np.zeros(TASTE_DIM), "x", np.random.default_rng(0), PARAMS)
    with pytest.raises(ValueError, match="world seed"):
        stream(Domain.COUPLE_PHOTOS, -1, 0)
    with pytest.raises(ValueError, match="shot type"):
        render(dataclasses.replace(look(Domain.STYLE_PHOTOS, 0, 0), shot_type="Drone"), 32)
