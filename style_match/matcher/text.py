"""Texts in the space of the photos: the text path of a matcher folder."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from style_match.errors import UserError
from style_match.targets import conf_dir

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor, nn

    from style_match.data.folder import DatasetFolder
    from style_match.matcher.exporting import FinishedRun
    from style_match.matcher.matcher import StyleMatcher
    from style_match.matcher.profiles import MatcherInputs
    from style_match.score import Scorer

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


def text_path(run: "FinishedRun", head: "nn.Module", scorer: "Scorer") -> tuple[dict[str, Any], bytes | None]:
    """How texts reach the space of the photos, for matcher.json, and the weights of the text head.

    A text head is fitted from the captions of the training photos; a run that was trained on texts has one besides, or
    shares that of the photos. The head is the better one on the validation split; the path of search is `both`, photos
    and captions, unless `image` or `caption` alone is better there by more than `text.path_margin` of MRR.

    Returns:
        no weights where the head is shared.
    """
    from safetensors.torch import save

    from style_match.fit import load_head
    from style_match.text.fitting import fitted
    from style_match.text.inputs import TextInputs
    from style_match.text.measure import chosen_path
    from style_match.text.space import TextSpace
    from style_match.text.term import width
    from style_match.text.training import is_on, text_term

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
    space = TextSpace(cfg, inputs, scorer, head, None)
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

    from style_match.matcher.folder import TEXT

    about = matcher.folder.about["text"]["head"]
    if about["options"] is None:
        return matcher.head
    head: nn.Module = instantiate(OmegaConf.create(about["options"]))(in_dim=about["in_dim"], dim=about["dim"])
    head.load_state_dict(load((matcher.folder.path / TEXT).read_bytes()))
    return head.eval()


def encode_text(matcher: "StyleMatcher", texts: str | Sequence[str], batch_size: int | None, show: bool) -> np.ndarray:
    """(N, E) float32 embeddings of texts by the text path of the matcher folder (`text` in matcher.json).

    Raises:
        UserError: the folder has none, or a text is none, is empty, or holds a control token or what is not UTF-8.
    """
    from style_match.inputs import own_poolings
    from style_match.matcher.encoding import pooled
    from style_match.text.inputs import text_prompt

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
    from style_match.features.identity import owner_of
    from style_match.text.captions import UnreadableCaptions, captions
    from style_match.text.inputs import TextInputs

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
