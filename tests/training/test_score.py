from pathlib import Path
from types import SimpleNamespace

import torch
from omegaconf import OmegaConf
from safetensors import safe_open
from safetensors.torch import save
from style_match.training.scoring import Embedded, Scorer, in_order

from style_match.cli import main
from style_match.data.splits import Split
from tests.data.memory_folder import folder_of, singles


def galleries(scorer: Scorer) -> dict[str, int]:
    """Query -> size of its gallery after masking, on the test split."""
    ids = scorer.data.gallery("test").profile_ids
    rows = torch.nn.functional.normalize(torch.randn(len(ids), 5, generator=torch.Generator().manual_seed(0)), dim=1)
    result = scorer.result(Embedded(ids, rows), "test")
    return dict(zip(result.query_ids, result.ranks.gallery.tolist(), strict=True))


def scorer_of(*further: tuple[str, str], users: dict[str, str]) -> Scorer:
    """Of ten couples, the first six in the test split, and `further` ones in no split."""
    folder = folder_of([*singles(10), *further], users=users)
    splits = ["test"] * 6 + ["train"] * 2 + ["val"] * 2
    name_of = {couple.item_id: split for couple, split in zip(folder.couples, splits, strict=False)}
    cfg = OmegaConf.create({"evaluation": OmegaConf.load(main.conf_dir() / "evaluation" / "default.yaml")})
    return Scorer(cfg, SimpleNamespace(folder=folder, split=Split(name_of, (), Path("split.csv"))))


def test_couples_left_out_of_the_split_are_not_held_against_a_model():
    found = galleries(scorer_of(("f0", "m1"), users={}))
    assert {query: size for query, size in found.items() if size < 6} == {"f0": 5, "m1": 5}


def test_partners_of_a_persons_other_profiles_are_not_held_against_a_model():
    found = galleries(scorer_of(users={"f2": "u", "f3": "u"}))
    assert {query: size for query, size in found.items() if size < 6} == {"f2": 5, "f3": 5, "m2": 5, "m3": 5}


def test_embeddings_files_of_one_content_are_one_sequence_of_bytes(tmp_path: Path):
    tensors = {"left": torch.rand(3, 2), "right": torch.rand(3, 2)}
    about = {f"ids{number}": "é" * number for number in range(9)}
    files = {in_order(save(tensors, metadata=dict(sorted(about.items(), reverse=bool(turn % 2))))) for turn in range(9)}
    (content,) = files
    (tmp_path / "embeddings.safetensors").write_bytes(content)
    with safe_open(tmp_path / "embeddings.safetensors", "pt") as file:
        assert file.metadata() == about
        assert all(torch.equal(file.get_tensor(name), tensor) for name, tensor in tensors.items())
