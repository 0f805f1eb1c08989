"""Text search: the text path of a matcher, and what `style_match.search` prints and writes."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from style_match.cli.targets import conf_dir
from style_match.serving.matcher import StyleMatcher, Vectors, demo_root, task_of
from style_match.serving.output import PAGE, lines_of, print_list, write_page
from style_match.serving.query import NOBODY, Asked
from style_match.serving.recommend import exact_index
from style_match.serving.where import Condition, check, mask, parse
from style_match.synthetic.dataset import is_synthetic
from style_match.utils import progress
from style_match.utils.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor, nn

    from style_match.data.datamodule import MatchDataModule
    from style_match.data.dataset import DatasetFolder
    from style_match.serving.export import FinishedRun
    from style_match.serving.matcher import MatcherInputs, StyleMatcher


# Texts in the space of the photos: the text path of a matcher folder.


OF_A_TEXT = ("attributes", "system", "template", "pooling")  # options of conf/text that decide a vector


def why_no_texts(run: "FinishedRun") -> str | None:
    """Why a matcher of this run cannot have text search, with the remedy; None where it can."""
    if "text" not in run.config:
        return "its run is of an older version, without the options of conf/text. Make the run again, and export it."
    try:
        run.inputs.captions  # noqa: B018
    except UserError as error:
        fault = str(error).partition("\n")[0].rstrip(":")
        return f"{fault}. Label the photos with style_match.label, make the run again, and export it."
    return None


def text_path(run: "FinishedRun", head: "nn.Module", data: "MatchDataModule") -> tuple[dict[str, Any], bytes | None]:
    """How texts reach the space of the photos, for matcher.json, and the weights of the text head.

    A text head is fitted from the captions of the training photos; a run that was trained on texts has one besides, or
    shares that of the photos. The head is the better one on the validation split; the path of search is `both`, photos
    and captions, unless `image` or `caption` alone is better there by more than `text.path_margin` of MRR.

    Returns:
        no weights where the head is shared.
    """
    from safetensors.torch import save

    from style_match.backbone.inputs import TextInputs
    from style_match.evaluation.text_search import chosen_path
    from style_match.models.text_term import width
    from style_match.training.checkpoints import load_head
    from style_match.training.text import TextSpace, fitted, is_on, text_term

    inputs, cfg = run.inputs, run.inputs.cfg
    heads: dict[str, tuple[Any, nn.Module]] = {}  # kind -> its node of the config, the head
    if is_on(cfg) and run.model == "trained":
        if cfg.text.head == "own":
            term = text_term(cfg, inputs, head, None)
            assert term is not None and term.head is not None
            load_head(term.head, run.folder / "checkpoints" / "best.ckpt", "text.head")
            heads["own"] = cfg.text.own, term.head.eval()
        else:
            heads["shared"] = None, head
    space = TextSpace(cfg, inputs, data, head, None)
    heads["fitted"] = cfg.text.fitted, fitted(space)
    measured: dict[str, dict[str, float]] = {}
    for kind, (_, text_head) in heads.items():
        space.text_head = text_head
        measured[kind] = space.measured_paths("val")
    margin = _margin(cfg)
    paths = {kind: chosen_path(found, margin) for kind, found in measured.items()}
    kind = max(measured, key=lambda each: measured[each][paths[each]])
    options, text_head = heads[kind]
    about = {
        "head": {
            "kind": kind,
            "options": options and OmegaConf.to_container(options, resolve=True),
            "in_dim": TextInputs(inputs, cfg.text).dim,
            "dim": width(head),
        },
        "options": {name: OmegaConf.to_container(cfg.text)[name] for name in OF_A_TEXT},  # type: ignore[call-overload, index]
        "path": paths[kind],
        "measured": {"split": "val", "queries": "part", "mrr": measured, "path_margin": margin},
    }
    if options is None:
        return about, None
    return about, save({name: value.contiguous() for name, value in text_head.state_dict().items()})


def _margin(cfg: DictConfig) -> float:
    """`text.path_margin`; of a run of an older version, which has none, this version's."""
    own = OmegaConf.select(cfg, "text.path_margin")
    return own if own is not None else OmegaConf.load(conf_dir() / "text" / "default.yaml").path_margin


def options_of(matcher: "StyleMatcher") -> DictConfig:
    """The options of the matcher's texts.

    Raises:
        UserError: it has no text path, and why.
    """
    if (about := matcher.folder.about["text"]) is None:
        why = matcher.folder.about.get("no_text") or "it does not tell why. Export it again."
        raise UserError(f"The matcher {matcher.folder.path} was not made for texts: {why}")
    return OmegaConf.create(about["options"])


def load_text_head(matcher: "StyleMatcher") -> "nn.Module":
    """The head that texts go through, in eval mode on the CPU."""
    from hydra.utils import instantiate
    from safetensors.torch import load

    from style_match.serving.matcher_folder import TEXT_FILE

    about = matcher.folder.about["text"]["head"]
    if about["options"] is None:
        return matcher.head
    head: nn.Module = instantiate(OmegaConf.create(about["options"]))(in_dim=about["in_dim"], dim=about["dim"])
    head.load_state_dict(load((matcher.folder.path / TEXT_FILE).read_bytes()))
    return head.eval()


def encode_text(matcher: "StyleMatcher", texts: str | Sequence[str], batch_size: int | None, show: bool) -> np.ndarray:
    """(N, E) float32 embeddings of texts by the text path of the matcher folder (`text` in matcher.json).

    Raises:
        UserError: the folder has none, or a text is none, is empty, or holds a control token or what is not UTF-8.
    """
    from style_match.backbone.inputs import own_poolings, text_prompt
    from style_match.serving.matcher import pooled

    options = options_of(matcher)
    texts = _as_texts(texts)
    if not texts:
        return np.empty((0, matcher.dim), dtype=np.float32)
    prompts = [text_prompt(text, options) for text in texts]
    poolings = {name: own_poolings()[name] for name in options.pooling}
    pairs: Iterator[tuple[Image | None, str]] = ((None, prompt) for prompt in prompts)
    return _embedded(matcher, pooled(matcher.inputs(), pairs, len(texts), poolings, batch_size=batch_size, show=show))


def _as_texts(texts: str | Sequence[str]) -> list[str]:
    """One text, or several, as a list; UserError where one is none that can be encoded."""
    if isinstance(texts, bytes) or not isinstance(texts, Iterable):
        raise UserError(f"encode_text is given a {type(texts).__name__}: give a text or a list of texts.")
    found = [texts] if isinstance(texts, str) else list(texts)
    for number, text in enumerate(found, start=1):
        if not isinstance(text, str):
            raise UserError(f"Text {number} is a {type(text).__name__}: give a text or a list of texts.")
        if not text.strip():
            raise UserError("A text to be encoded is empty: write some words.")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise UserError(f"The text {text!r} is not UTF-8 ({error.reason}): write it in UTF-8.") from error
    return found


def encode_captions(
    matcher: "StyleMatcher", inputs: "MatcherInputs", profile_ids: Sequence[str], path: str
) -> np.ndarray:
    """(N, E) float32 embeddings of what is said of the photos of each profile, through the feature store.

    Raises:
        UserError: photos without captions.
    """
    from style_match.backbone.feature_key import owner_of
    from style_match.backbone.inputs import TextInputs
    from style_match.data.captions import UnreadableCaptions, captions

    folder: DatasetFolder = inputs.folder
    options = options_of(matcher)
    images = [photo.image for photo in folder.photos]
    try:
        said = captions(images, folder.metadata, keys=options.attributes)
    except UnreadableCaptions as error:
        raise UserError(
            f"path={path} searches the captions too: write path=image to search the photos alone, or mend "
            f"metadata.jsonl (style_match.label writes it). No {' or '.join(options.attributes)} can be read for "
            f"{error.photos}"
        ) from error
    texts = [each[0] for each in said]
    owners = [owner_of(photo.profile_id) for photo in folder.photos]
    embedded = _embedded(matcher, TextInputs(inputs, options).of(texts, owners, "captions"))
    row_of = {profile_id: row for row, profile_id in enumerate(profile_ids)}
    sums = np.zeros((len(profile_ids), embedded.shape[1]), dtype=np.float32)
    np.add.at(sums, [row_of[photo.profile_id] for photo in folder.photos], embedded)
    return sums / np.linalg.norm(sums, axis=1, keepdims=True)


def _embedded(matcher: "StyleMatcher", features: "Tensor") -> np.ndarray:
    import torch

    with torch.no_grad():
        return load_text_head(matcher)(features).float().numpy()


def joined(parts: Mapping[str, np.ndarray], path: str) -> np.ndarray:
    """Unit rows whose inner product with `asked` of a text is the score of a path: image, caption, or their mean."""
    return np.concatenate([parts["image"], parts["caption"]], axis=1) / 2**0.5 if path == "both" else parts[path]


def asked(embedding: np.ndarray, path: str) -> np.ndarray:
    """The embedding (E,) of a text as it meets the rows of `joined`."""
    return np.concatenate([embedding, embedding]) / 2**0.5 if path == "both" else embedding


def search(cfg: DictConfig, config_dirs: Sequence[str]) -> None:
    """Print and write the answers to the text that the config asks with."""
    matcher = StyleMatcher.from_pretrained(
        cfg.model, backbone=cfg.backbone.path, device=cfg.backbone.device, config_dirs=config_dirs
    )
    options_of(matcher)  # a matcher without texts, before anything is embedded
    root = demo_root(matcher.folder, cfg.data.root, num_workers=cfg.data.num_workers, show=cfg.progress)
    data = {name: cfg.data[name] for name in ("image_root", "on_bad_image", "num_workers")}
    options: dict[str, Any] = dict(features_root=cfg.features.root, show_progress=cfg.progress, **data)
    profiles = matcher.embed_folder(root, **options)
    refuse_too_many(profiles, str(cfg.query), cfg.k, cfg.where)
    path = cfg.path or matcher.folder.about["text"]["path"]
    searched = text_vectors(matcher, profiles, str(root), path=path, **options)
    progress.say(f"searched: {SAID[path]} (path={path})")
    found = find(matcher, searched, str(cfg.query), k=cfg.k, where=cfg.where, path=path)
    rows, scores = [searched.row_of[profile_id] for profile_id, _ in found], [score for _, score in found]
    asker = Asked(name=str(cfg.query), embedding=np.empty(0, np.float32), person=NOBODY, side=-1)
    about = {
        "query": cfg.query,
        "matcher": matcher.folder.name,
        "data": root.name,
        "profiles": len(searched),
        "num_users": 1,
        "k": cfg.k,
        "mode": f"text, path={path}",
        "cap": None,
        "where": cfg.where,
        "synthetic": is_synthetic(root),
    }
    lines = lines_of(searched, rows, scores)
    out = write_page(cfg, matcher, searched, [(asker, lines)], {}, about)
    print_list(asker, lines, about)
    print(out / PAGE)


SAID = {"image": "the photos alone", "caption": "what metadata.jsonl says of the photos", "both": "photos and captions"}


def text_vectors(
    matcher: StyleMatcher,
    profiles: Vectors,
    root: str,
    *,
    path: str,
    features_root: str | None,
    show_progress: bool,
    **data: Any,
) -> Vectors:
    """The profiles as texts search them by a path; `profiles` are of `embed_folder`, as are the options.

    Raises:
        UserError: photos without captions, where the path needs them.
    """
    if path == "image":
        return profiles
    about = {"root": root, "task": task_of(matcher.folder, Path(root)), **data}
    inputs = matcher.inputs(about, features_root=features_root, show=show_progress)
    parts = {"image": profiles.embeddings, "caption": encode_captions(matcher, inputs, profiles.profile_ids, path)}
    return replace(profiles, embeddings=joined(parts, path))


def find(
    matcher: StyleMatcher, searched: Vectors, query: str, *, k: int, where: str | None, path: str
) -> list[tuple[str, float]]:
    """The k profiles that fit a text best, best first, with the score; `searched` are of `text_vectors`.

    Raises:
        UserError: nobody left, or k above who is left.
    """
    condition = refuse_too_many(searched, query, k, where)
    embedding = asked(matcher.encode_text(query)[0], path)
    return exact_index(searched).search(embedding[None], k, where=condition)[0]


def refuse_too_many(profiles: Vectors, query: str, k: int, where: str | None) -> Condition | None:
    """What `where` says; UserError for a k above who is left, or a condition that does not fit the columns."""
    condition, left = parse(where) if where is not None else None, len(profiles)
    if condition is not None:
        check(condition, _cells(profiles.columns))
        left = int(mask(condition, profiles.columns).sum())
    if not 1 <= k <= left:
        after = f"where leaves {left} of {len(profiles)}" if where is not None else f"there are {left}"
        remedy = f"write k from 1 to {left}" if left else "widen where"
        raise UserError(f"query={query}, k={k}: {after} profiles; {remedy}.")
    return condition


def _cells(rows: Sequence[Mapping[str, str]]) -> dict[str, list[str]]:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name, "") for row in rows] for name in names}
