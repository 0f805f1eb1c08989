"""The steps `style_match.recommend` and `style_match.search`, from their config to printed tables and files."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from omegaconf import DictConfig

from style_match.evaluation.outputs import write_table
from style_match.serving.index.base import Index
from style_match.serving.index.folder import open_or_build
from style_match.serving.matcher import MatcherInputs, StyleMatcher, embed_profiles
from style_match.serving.matcher_folder import MatcherFolder, find_backbone
from style_match.serving.mutual import Spread, mutual_best, recommend_to_all
from style_match.serving.output import Line, lines_of, page, print_list, print_spreads
from style_match.serving.profiles import ProfileEmbeddings
from style_match.serving.recommend import Candidates, Query, make_query, nearest, refuse_unread
from style_match.serving.text import PATHS, TextSearch
from style_match.utils import progress
from style_match.utils.errors import UserError
from style_match.utils.files import write_whole

EVERYBODY, PAGE = "all", "recommendations.html"


def recommend(cfg: DictConfig, folder: MatcherFolder) -> None:
    """Print and write recommendations for one query, or for all profiles.

    Args:
        cfg: conf/recommend.yaml.
        folder: The matcher folder.

    Raises:
        UserError: A fault of the dataset folder, the query, the filter or the index.
    """
    matcher = load_matcher(cfg, folder)
    refuse_unread(matcher.folder, cfg.side, cfg.metadata)  # before anything is embedded
    inputs, profiles = _embedded(cfg, matcher)
    candidates = Candidates(profiles, cfg.where, exclude_known=cfg.exclude_known)
    about = _about(cfg, matcher, inputs, mode=cfg.mode, cap=cfg.exposure_cap)
    if cfg.query == EVERYBODY:
        index = open_index(cfg, inputs, profiles)
        options = {name: cfg[name] for name in ("k", "mode", "exposure_cap", "max_pairs")}
        lists, spreads = recommend_to_all(candidates, index=index, **options)
        _write_all(cfg, matcher, profiles, lists, spreads, about)
        return
    metadata = _metadata(cfg.metadata)
    query = make_query(cfg.query, profiles, matcher.folder, matcher.encode, side=cfg.side, metadata=metadata)
    candidates.refuse_too_many(query, cfg.k)
    if cfg.mode == "mutual":
        best = mutual_best(query, candidates, k=cfg.k)
        lines = lines_of(profiles, [(one, cosine) for one, cosine, _, _ in best], query)
        for line, (_, _, rank, back) in zip(lines, best, strict=True):
            line["ranks"] = (rank, back)
    else:
        index = open_index(cfg, inputs, profiles)
        lines = lines_of(profiles, nearest([query], candidates, k=cfg.k, index=index)[0], query)
    _write_one(cfg, matcher, query, lines, about)


def search(cfg: DictConfig, folder: MatcherFolder) -> None:
    """Print and write the profiles that fit a text best.

    Args:
        cfg: conf/search.yaml.
        folder: The matcher folder.

    Raises:
        UserError: The matcher has no text path, or a fault of the dataset folder, the text or the filter.
    """
    matcher = load_matcher(cfg, folder)
    _ = matcher.text_options  # before anything is embedded
    inputs, profiles = _embedded(cfg, matcher)
    query = Query(name=str(cfg.query), embedding=np.empty(0, np.float32))
    Candidates(profiles, cfg.where).refuse_too_many(query, cfg.k)  # before captions are embedded
    searched = TextSearch(matcher, inputs, profiles, cfg.path)
    progress.say(f"searched: {PATHS[searched.path]} (path={searched.path})")
    lines = lines_of(profiles, searched.find(query.name, k=cfg.k, where=cfg.where))
    about = _about(cfg, matcher, inputs, mode=f"text, path={searched.path}", cap=None)
    _write_one(cfg, matcher, query, lines, about)


def load_matcher(cfg: DictConfig, folder: MatcherFolder) -> StyleMatcher:
    """Load the matcher of a folder with the backbone that a config names."""
    return StyleMatcher(folder, find_backbone(folder, cfg.backbone.path), device=cfg.backbone.device)


def open_index(cfg: DictConfig, inputs: MatcherInputs, profiles: ProfileEmbeddings) -> Index:
    """Open the index that a config names."""
    return open_or_build(
        cfg.index, inputs.folder.root, profiles.profile_ids, profiles.embeddings, profiles.rows, profiles.matcher
    )


def _embedded(cfg: DictConfig, matcher: StyleMatcher) -> tuple[MatcherInputs, ProfileEmbeddings]:
    data = {name: cfg.data[name] for name in ("image_root", "on_bad_image", "num_workers")}
    options = {"features_root": cfg.features.root, "show_progress": cfg.progress}
    inputs = matcher.folder_inputs(cfg.data.root, **options, **data)
    return inputs, embed_profiles(inputs, matcher.head)


def _about(cfg: DictConfig, matcher: StyleMatcher, inputs: MatcherInputs, **more: Any) -> dict[str, Any]:
    """Return what a page and recommendations.json say about a command."""
    return {
        "query": cfg.query,
        "matcher": matcher.folder.name,
        "data": inputs.folder.root.name,
        "profiles": len(inputs.folder.profile_ids),
        "k": cfg.k,
        "where": cfg.where,
        "synthetic": inputs.synthetic,
        **more,
    }


def _metadata(file: str | None) -> dict[str, Any] | None:
    """Return the attributes of a photo, from a JSON file."""
    if file is None:
        return None
    try:
        content = json.loads(Path(file).expanduser().read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"metadata={file} cannot be read as JSON: {error}.") from error
    if not isinstance(content, dict):
        raise UserError(f"metadata={file} must hold one JSON object.")
    return content


def _write_page(
    cfg: DictConfig,
    matcher: StyleMatcher,
    lists: Sequence[tuple[Query, Sequence[Line]]],
    spreads: Mapping[str, Spread],
    about: Mapping[str, Any],
) -> Path:
    """Write the page into the folder `cfg.out`; make and return the folder."""
    out = Path(cfg.out).expanduser()
    html = page(lists, matcher.folder, about=about, spreads=spreads, thumbnail_px=cfg.page.thumbnail_px)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"Cannot make {out}: {error.strerror}. Set another out.") from error
    write_whole(out / PAGE, html)
    return out


def _write_one(
    cfg: DictConfig, matcher: StyleMatcher, query: Query, lines: list[Line], about: Mapping[str, Any]
) -> None:
    out = _write_page(cfg, matcher, [(query, lines)], {}, {**about, "num_users": 1})
    print_list(query, lines, about)
    print(out / PAGE)


def _write_all(
    cfg: DictConfig,
    matcher: StyleMatcher,
    profiles: ProfileEmbeddings,
    lists: Sequence[Sequence[int]],
    spreads: Mapping[str, Spread],
    about: Mapping[str, Any],
) -> None:
    vectors = profiles.embeddings.astype(np.float64)
    answers = []
    for user, rows in enumerate(lists):
        if rows:
            cosines = (vectors[rows] @ vectors[user]).tolist()
            best = [(profiles.profile_ids[row], cosine) for row, cosine in zip(rows, cosines, strict=True)]
            query = Query.of_profile(profiles, user)
            answers.append((query, lines_of(profiles, best, query)))
    about = {**about, "num_users": len(answers)}
    out = _write_page(cfg, matcher, answers[: cfg.page.num_users], spreads, about)
    print_spreads(spreads, profiles, about)
    columns = {"rank": "rank", "profile": "profile_id", "score": "score", "known": "known"}
    found = [
        {"query": query.name, **{name: line[key] for name, key in columns.items()}}
        for query, lines in answers
        for line in lines
    ]
    kinds = {"query": pa.string(), "rank": pa.int32(), "profile": pa.string(), "score": pa.float64()}
    kinds |= {"known": pa.string()}
    write_table(out / "recommendations.parquet", pa.Table.from_pylist(found, schema=pa.schema(kinds)))
    named = {
        name: {**asdict(one), "short": [profiles.profile_ids[row] for row in one.short]}
        for name, one in spreads.items()
    }
    content = json.dumps({**about, "spread": named}, indent=2, ensure_ascii=False)
    write_whole(out / "recommendations.json", content + "\n")
    for name in ("recommendations.parquet", "recommendations.json", PAGE):
        print(out / name)
