"""What `style_match.search` does, from its config to what it prints and writes."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig

from style_match import progress
from style_match.data.synthetic import is_synthetic
from style_match.errors import UserError
from style_match.matcher.matcher import StyleMatcher
from style_match.matcher.profiles import demo_root, task_of
from style_match.matcher.text import asked, encode_captions, joined, options_of
from style_match.matcher.vectors import Vectors
from style_match.recommendation.output import PAGE, lines_of, write_page
from style_match.recommendation.printing import print_list
from style_match.recommendation.query import NOBODY, Asked
from style_match.recommendation.similar import exact_index
from style_match.where import Condition, check, mask, parse


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
