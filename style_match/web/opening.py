"""From the config of `style_match.app` to the catalogue: profiles embedded, index brought up to date."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from style_match.errors import UserError
from style_match.head.identity import Identity
from style_match.index.opening import open_or_build
from style_match.matcher.matcher import StyleMatcher
from style_match.matcher.profiles import demo_root, embedded, task_of
from style_match.matcher.text import options_of
from style_match.progress import say
from style_match.recommendation.by_text import SAID, find, text_vectors
from style_match.web.catalogue import Catalogue, public
from style_match.web.live import Live

if TYPE_CHECKING:
    from style_match.matcher.vectors import Vectors


class Searcher:
    """Answers texts by one path of the matcher: photos, captions, or both."""

    def __init__(self, matcher: StyleMatcher, profiles: "Vectors", *, path: str):
        self.matcher, self.profiles, self.path = matcher, profiles, path
        self.how = f"Searched: {SAID[path]}."

    def __call__(self, text: str, *, k: int, where: str | None) -> list[tuple[str, float]]:
        return find(self.matcher, self.profiles, text, k=k, where=where, path=self.path)


DATA = ("image_root", "on_bad_image", "max_source_pixels", "num_workers")


def open_live(cfg: DictConfig, config_dirs: Sequence[str]) -> Live:
    """What conf/app.yaml describes; the catalogue is made when it is first asked for.

    Raises:
        UserError: any fault of matcher folder or backbone; no dataset folder is named.
    """
    matcher = StyleMatcher.from_pretrained(
        cfg.model, backbone=cfg.backbone.path, device=cfg.backbone.device, config_dirs=config_dirs
    )
    root = demo_root(matcher.folder, cfg.data.root, show=cfg.progress, num_workers=cfg.data.num_workers)
    places = (root, matcher.folder.path)
    return Live(root, partial(open_catalogue, cfg, matcher, root), public=lambda message: public(message, places))


def open_catalogue(cfg: DictConfig, matcher: StyleMatcher, root: Path) -> Catalogue:
    """The catalogue of a dataset folder.

    Raises:
        UserError: any fault of dataset folder, backbone or index.
    """
    data = {name: cfg.data[name] for name in DATA}
    about = {"root": str(root), "task": task_of(matcher.folder, root), **data}
    inputs = matcher.inputs(about, features_root=cfg.features.root, show=cfg.progress)
    trained = embedded(inputs, matcher.head)
    index = open_or_build(
        cfg.index, root, trained.profile_ids, trained.embeddings, trained.rows, matcher=matcher.identity
    )
    searcher, no_search = _searcher(cfg, matcher, trained, root, data)
    options: Any = OmegaConf.to_container(cfg.app, resolve=True)
    return Catalogue(
        matcher,
        inputs,
        trained,
        embedded(inputs, Identity(in_dim=inputs.dim)),
        index=index,
        searcher=searcher,
        no_search=no_search,
        options=options,
        synthetic=inputs.synthetic,
    )


def _searcher(
    cfg: DictConfig, matcher: StyleMatcher, profiles: "Vectors", root: Path, data: Mapping[str, Any]
) -> tuple[Searcher | None, str]:
    """What answers texts; None and the reason where the matcher or the folder has no texts, which the page shows."""
    try:
        options_of(matcher)
        path = cfg.path or matcher.folder.about["text"]["path"]
        options: dict[str, Any] = {"features_root": cfg.features.root, "show_progress": cfg.progress, **data}
        return Searcher(matcher, text_vectors(matcher, profiles, str(root), path=path, **options), path=path), ""
    except UserError as error:
        say(f"no text search: {error}")
        return None, f"No text search: {error}"
