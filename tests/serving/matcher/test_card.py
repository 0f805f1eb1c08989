"""What the model card says of its figures and of what the folder tells about people."""

import json

import pytest
from omegaconf import OmegaConf

from style_match.serving.finished_run import FinishedRun
from style_match.serving.matcher_folder import read_matcher
from style_match.serving.model_card import card

OPTIONS = {"license": "other", "min_group": 20, "confidence": 0.8}


class Inputs:
    """Of a dataset folder of nobody."""

    class folder:
        task, profile_ids, photos = "couple", (), ()


def written(made, tmp_path, prompt: str = "image") -> str:
    """The card of a matcher whose intervals are of 90 %, and of 80 % by group."""
    files = {"head.safetensors": "", "seen.txt": ""}
    versions = dict.fromkeys(("style_match", "torch", "transformers"))
    run = {"data": "d" * 64, "features": "f" * 64, "versions": versions, "seeds": None, "git": None}
    about = {**read_matcher(made(prompt=prompt)).about, "files": files, "run": run, "no_text": "no captions."}
    cell = {"mrr": {"value": 0.5, "ci90": [0.4, 0.6]}, "queries": 2, "gallery": 1}
    config = OmegaConf.create({"data": {"name": "couples"}, "evaluation": {"csls_k": None}})
    provenance = {"data": {"items": dict.fromkeys(("train", "val", "test"), 1), "left_out": 0}}
    return card(FinishedRun(tmp_path, config, provenance, {"frozen": cell}, Inputs()), about, OPTIONS, ("gender", []))


def test_intervals_are_called_what_they_are(made, tmp_path):
    found = written(made, tmp_path)
    assert "Percent, with 90 % intervals" in found and "95 %" not in found
    assert "with 80 % intervals; groups of fewer than 20" in found
    assert json.dumps(found).count("ci90") == 1, "in the header"


@pytest.mark.parametrize(
    ("prompt", "said", "other"),
    [
        ("image", "holds the SHA-256 of each photo", "profile id and metadata"),
        ("image_metadata", "holds the SHA-256 of each photo", "profile id and metadata"),
        ("metadata", "the SHA-256 of its profile id and metadata (no photo was read)", "SHA-256 of each photo"),
    ],
)
def test_the_card_says_what_seen_txt_holds(made, tmp_path, prompt, said, other):
    found = written(made, tmp_path, prompt)
    assert said in found and other not in found
