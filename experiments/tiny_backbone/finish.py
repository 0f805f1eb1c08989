"""Measure the exported backbone on drawings that it was not trained on, and write the results into README.md."""

import csv
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from sklearn.linear_model import LogisticRegressionCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from transformers import AutoModel, AutoTokenizer, Qwen3VLForConditionalGeneration

from style_match.backbone import pooling
from style_match.synthetic.captions import HUE, TONE, caption
from style_match.synthetic.dataset import style_profiles
from style_match.synthetic.figures import encode_jpeg, render
from style_match.synthetic.world import Look, WorldParams

from .pictures import read_as_model, vision_inputs
from .samples import chat_prompt, image_placeholder

if TYPE_CHECKING:
    from .pretrain import Materials

HERE = Path(__file__).parent
OUTPUT = HERE.parents[1] / "style_match" / "backbone" / "tiny"
PARTS = ("quality", "shot", "wearer", "look", "light", "background")  # of a caption, in order
NEW_TOKENS = 96
BATCH = 50
# Weights in bfloat16 are exact in float32, so that only the order of summation differs.
TOLERANCE = 1e-4
# A world that no table uses.
PROBE_WORLD = {"world_seed": 21, "num_photos": 1500}
NUM_PROBE_TRAIN = 1050


@torch.inference_mode()
def finish(materials: "Materials", rows: Sequence[dict]) -> None:
    """Write log.csv and the results in README.md.

    Args:
        materials: Materials of the run, with the trained model.
        rows: Log of all stages.

    Raises:
        AssertionError: The export is not the trained model.
    """
    _write_log(rows)
    difference = _largest_difference(materials, OUTPUT)
    captions, shares = _captions(materials, OUTPUT)
    probe = style_probe(OUTPUT, materials.recipe)
    _write_readme(materials, rows, captions, shares, probe, difference)


def _write_log(rows: Sequence[dict]) -> None:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with open(HERE / "log.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)


def _inputs(pictures: np.ndarray, prompt: str, recipe: dict, tokenizer: AutoTokenizer) -> dict[str, Tensor]:
    """Return model inputs of pictures (B, H, W, 3) with one prompt."""
    input_ids = tokenizer([prompt] * len(pictures), return_tensors="pt").input_ids
    return {
        "input_ids": input_ids,
        "attention_mask": torch.ones_like(input_ids),
        "mm_token_type_ids": (input_ids == tokenizer.convert_tokens_to_ids("<|image_pad|>")).int(),
        **vision_inputs(pictures, recipe["model"]["vision"]),
    }


def _user(recipe: dict, prompt: str) -> str:
    return image_placeholder(recipe) + prompt


def _largest_difference(materials: "Materials", folder: Path) -> float:
    """Return the largest relative difference of a hidden state between the trained model and the export.

    The export must equal the trained weights rounded to bfloat16.
    """
    drawings, model = materials.drawings, materials.model.eval()
    pictures = np.array(drawings.pictures[drawings.num_train : drawings.num_train + 8])
    prompt = chat_prompt(_user(materials.recipe, materials.recipe["prompt"]["en"]))
    inputs = _inputs(pictures, prompt, materials.recipe, materials.tokenizer)
    exported = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()(**inputs, use_cache=False)
    trained = model.model(**inputs, use_cache=False).last_hidden_state
    full = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.load_state_dict({name: tensor.bfloat16().float() for name, tensor in full.items()})
    rounded = model.model(**inputs, use_cache=False).last_hidden_state
    model.load_state_dict(full)
    difference = exported.last_hidden_state - rounded
    assert difference.abs().max() < TOLERANCE * rounded.abs().max(), "the export is not the trained model"
    return ((exported.last_hidden_state - trained).norm(dim=-1) / trained.norm(dim=-1)).max().item()


def _captions(materials: "Materials", folder: Path) -> tuple[list[tuple[str, str]], dict[str, dict[str, float]]]:
    """Return some (true, generated) captions, and the share of right parts by language and quality."""
    recipe, drawings = materials.recipe, materials.drawings
    model = Qwen3VLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    examples, shares = [], {}
    for language, prompt in recipe["prompt"].items():
        pairs = []
        for start in range(drawings.num_train, len(drawings.looks), BATCH):
            pictures = np.array(drawings.pictures[start : start + BATCH])
            inputs = _inputs(pictures, chat_prompt(_user(recipe, prompt)), recipe, tokenizer)
            output = model.generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=False)
            texts = tokenizer.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
            pairs += list(zip(drawings.looks[start : start + BATCH], texts, strict=True))
        examples += [(caption(look, language), text) for look, text in pairs[: recipe["num_sample_captions"]]]
        for name, qualities in {"high, medium": ("High", "Medium"), "low": ("Low",)}.items():
            group = [(look, text) for look, text in pairs if look.visual_quality in qualities]
            shares[f"{language}, {name} quality"] = caption_shares(group, language)
    return examples, shares


def caption_shares(pairs: Sequence[tuple[Look, str]], language: str) -> dict[str, float]:
    """Return the share of generated captions that have each part of the true one.

    "wearer" is person, colour and garments together; "garments" are the names of top and bottom (English only).
    """
    parts = [(caption(look, language).split(", "), text.split(", ")) for look, text in pairs]
    shares = {
        name: float(np.mean([true[place] in generated for true, generated in parts]))
        for place, name in enumerate(PARTS)
    }
    if language == "en":
        wearer = PARTS.index("wearer")
        named = [
            (garments(true[wearer]), garments(generated[min(wearer, len(generated) - 1)])) for true, generated in parts
        ]
        shares["garments"] = float(np.mean([true == generated for true, generated in named]))
    return shares


def garments(wearer: str) -> str:
    """Return the garments of "a woman in a dark teal slip dress" without person and colour."""
    clothes = re.split(r" in an? ", wearer, maxsplit=1)[-1]
    tones = "|".join(filter(None, (english.strip() for english, _ in TONE.values())))
    hues = "|".join(english for english, _ in HUE)
    return re.sub(rf"^(({tones}) )?({hues}) ", "", clothes)


@torch.inference_mode()
def style_probe(folder: Path, recipe: dict) -> dict[str, dict[str, float]]:
    """Measure how well frozen features know the style classes, for each pooling.

    Returns:
        The accuracy of a logistic regression on standardized features, trained on 1,050 photos of a demo world, and the
        precision at 5 of the cosine, both on 450 other photos.
    """
    params = WorldParams(rho=0.0, scene_follow=0.2, temperature=0.05, noise=0.1)
    looks = [profile.look for profile in style_profiles(**PROBE_WORLD, params=params)]
    size_px, input_px = recipe["pictures"]["size_px"], recipe["pictures"]["input_px"]
    pictures = np.stack([read_as_model(encode_jpeg(render(look, size_px)), input_px) for look in looks])
    classes = np.array([look.style for look in looks])
    model, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    prompt = f"<|im_start|>user\n{_user(recipe, recipe['prompt']['en'])}<|im_end|>"
    poolings = {"mean": pooling.mean, "eos": pooling.eos}
    features: dict[str, list[Tensor]] = {name: [] for name in poolings}
    for start in range(0, len(pictures), BATCH):
        inputs = _inputs(pictures[start : start + BATCH], prompt, recipe, tokenizer)
        hidden = model(**inputs, use_cache=False).last_hidden_state
        masks = inputs["attention_mask"].bool(), inputs["mm_token_type_ids"].bool()
        for name, function in poolings.items():
            features[name].append(function(hidden, *masks))
    order = np.random.default_rng(0).permutation(len(looks))
    train, test = order[:NUM_PROBE_TRAIN], order[NUM_PROBE_TRAIN:]
    results = {}
    for name, parts in features.items():
        x = torch.cat(parts).numpy()
        classifier = make_pipeline(StandardScaler(), LogisticRegressionCV(Cs=[0.01, 0.03, 0.1, 0.3], max_iter=1000))
        unit = torch.nn.functional.normalize(torch.from_numpy(x[test]), dim=1)
        similarity = (unit @ unit.T).fill_diagonal_(-2)
        nearest = classes[test][similarity.topk(5).indices.numpy()]
        results[name] = {
            "logistic regression": float(classifier.fit(x[train], classes[train]).score(x[test], classes[test])),
            "precision@5": float((nearest == classes[test][:, None]).mean()),
        }
    return results


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows)]


def _write_readme(
    materials: "Materials",
    rows: Sequence[dict],
    captions: Sequence[tuple[str, str]],
    shares: dict[str, dict[str, float]],
    probe: dict[str, dict[str, float]],
    difference: float,
) -> None:
    last = {row["stage"]: row for row in rows}
    stages = [
        [name, f"{row['samples']:,}", f"{row['seconds'] / 60:.0f}", f"{row['loss']:.3f}", f"{row['held_out_loss']:.3f}"]
        for name, row in last.items()
    ]
    columns = ("garments", *PARTS)
    parts = [[name, *(f"{row[part]:.2f}" if part in row else "" for part in columns)] for name, row in shares.items()]
    attributes = {name: last["vision"][name] for name in ("top", "bottom", "hue", "tone", "headwear", "quality")}
    lines = [
        f"{sum(parameter.numel() for parameter in materials.model.parameters()):,} parameters. Last row of each stage "
        "in log.csv:",
        "",
        *_table(["stage", "samples", "minutes", "loss", "held-out loss"], stages),
        "",
        f"Everything below is measured on {len(materials.drawings.looks) - materials.drawings.num_train} drawings that "
        "were not trained on. After the first stage a linear layer on the image tokens names "
        + ", ".join(f"the {name} of {share:.0%}" for name, share in attributes.items())
        + ".",
        "",
        "Share of greedy captions with the true part. `wearer` is person, colour and garments together; `garments` are "
        "the names of top and bottom:",
        "",
        *_table(["", *columns], parts),
        "",
        f"Style classes, which the backbone was never told ({PROBE_WORLD['num_photos']:,} photos of a demo world, "
        f"{NUM_PROBE_TRAIN:,} to train the logistic regression, the others to test; chance is 20 %):",
        "",
        *_table(
            ["frozen feature", "logistic regression", "precision@5 of the cosine"],
            [[name, *(f"{share:.1%}" for share in result.values())] for name, result in probe.items()],
        ),
        "",
        f"Storing the weights in bfloat16 moves a hidden state by at most {difference:.1%} of its norm.",
        "",
        "Drawings that were not trained on, the true caption and below it the generated one:",
        "",
    ]
    for true, generated in captions:
        lines += [f"- {true}", f"  - {' '.join(generated.split())}"]
    readme = HERE / "README.md"
    results = "<!-- results -->\n" + "\n".join(lines) + "\n<!-- /results -->"
    text = re.sub(r"<!-- results -->.*<!-- /results -->", lambda _: results, readme.read_text(), flags=re.DOTALL)
    readme.write_text(text)
