"""What `style_match.recommend` does, from its config to what it prints and writes."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from style_match.data.synthetic import is_synthetic
from style_match.errors import UserError
from style_match.evaluation.files import write_table
from style_match.files import write_whole
from style_match.matcher.matcher import StyleMatcher
from style_match.matcher.profiles import demo_root
from style_match.matcher.vectors import Vectors
from style_match.recommendation.allowed import Allowed
from style_match.recommendation.everybody import cosines, serve
from style_match.recommendation.exposure import Spread
from style_match.recommendation.mutual import mutual_best
from style_match.recommendation.output import PAGE, Line, lines_of, write_page
from style_match.recommendation.printing import print_list, print_spreads
from style_match.recommendation.query import Asked, ask, profile, refuse_unread
from style_match.recommendation.similar import best, refuse_too_many

if TYPE_CHECKING:
    from style_match.index import Index

EVERYBODY = "all"


def recommend(cfg: DictConfig, config_dirs: Sequence[str]) -> None:
    """Print and write the recommendations that the config asks for."""
    matcher = StyleMatcher.from_pretrained(
        cfg.model, backbone=cfg.backbone.path, device=cfg.backbone.device, config_dirs=config_dirs
    )
    refuse_unread(matcher.folder, cfg.side, cfg.metadata)  # before anything is embedded
    root = demo_root(matcher.folder, cfg.data.root, num_workers=cfg.data.num_workers, show=cfg.progress)
    data = {name: cfg.data[name] for name in ("image_root", "on_bad_image", "num_workers")}
    profiles = matcher.embed_folder(root, features_root=cfg.features.root, show_progress=cfg.progress, **data)
    allowed = Allowed(profiles, cfg.where)
    lists: list[tuple[Asked, list[Line]]]
    spreads: Mapping[str, Spread] = {}
    if cfg.query == EVERYBODY:
        options = {name: cfg[name] for name in ("k", "mode", "exposure_cap", "max_pairs")}
        served = serve(profiles, allowed, index=open_index(cfg.index, root, profiles), **options)
        spreads = served.spreads
        lists = [
            (profile(profiles, user), lines_of(profiles, rows, cosines(profiles, user, rows)))
            for user, rows in enumerate(served.lists)
            if rows
        ]
    else:
        asked = ask(matcher, cfg.query, profiles, side=cfg.side, metadata=_metadata(cfg.metadata))
        refuse_too_many(asked, allowed, cfg.k, cfg.where)
        lists = [(asked, _for_one(cfg, asked, profiles, allowed, root))]
    about = {
        "query": cfg.query,
        "matcher": matcher.folder.name,
        "data": root.name,
        "profiles": len(profiles),
        "num_users": len(lists),
        "k": cfg.k,
        "mode": cfg.mode,
        "cap": cfg.exposure_cap,
        "where": cfg.where,
        "synthetic": is_synthetic(root),
    }
    _write(cfg, matcher, profiles, lists, spreads, about)


def open_index(cfg: DictConfig, root: Path, profiles: Vectors) -> "Index | None":
    """The index that the config asks for, kept beside those of other folders; None for the exact one in memory."""
    if cfg._target_.rpartition(".")[2] == "Exact":
        return None
    from style_match.index import open_or_build

    return open_or_build(cfg, root, profiles.profile_ids, profiles.embeddings, profiles.rows, profiles.matcher)


def _for_one(cfg: DictConfig, asked: Asked, profiles: Vectors, allowed: Allowed, root: Path) -> list[Line]:
    if cfg.mode == "mutual":
        found = mutual_best(asked, profiles, allowed, k=cfg.k)
        rows = [profiles.row_of[profile_id] for profile_id, *_ in found]
        lines = lines_of(profiles, rows, [score for _, score, _, _ in found])
        for line, (*_, rank, back) in zip(lines, found, strict=True):
            line["ranks"] = (rank, back)
        return lines
    answers = best([asked], profiles, allowed, k=cfg.k, index=open_index(cfg.index, root, profiles))[0]
    return lines_of(profiles, [profiles.row_of[one] for one, _ in answers], [score for _, score in answers])


def _metadata(file: str | None) -> dict[str, Any] | None:
    """The attributes of a photo, from a JSON file."""
    if file is None:
        return None
    try:
        content = json.loads(Path(file).expanduser().read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"metadata={file} cannot be read as JSON: {error}.") from error
    if not isinstance(content, dict):
        raise UserError(f"metadata={file} must hold one JSON object.")
    return content


def _write(
    cfg: DictConfig,
    matcher: StyleMatcher,
    profiles: Vectors,
    lists: Sequence[tuple[Asked, list[Line]]],
    spreads: Mapping[str, Spread],
    about: Mapping[str, Any],
) -> None:
    shown = lists[: cfg.page.num_users] if spreads else lists
    out = write_page(cfg, matcher, profiles, shown, spreads, about)
    if spreads:
        print_spreads(spreads, profiles, about)
        write_table(out / "recommendations.parquet", _parquet(lists))
        named = {
            name: {**asdict(one), "short": [profiles.profile_ids[row] for row in one.short]}
            for name, one in spreads.items()
        }
        write_whole(
            out / "recommendations.json", json.dumps({**about, "spread": named}, indent=2, ensure_ascii=False) + "\n"
        )
    else:
        print_list(*lists[0], about)
    for name in ("recommendations.parquet", "recommendations.json") if spreads else ():
        print(out / name)
    print(out / PAGE)


def _parquet(lists: Sequence[tuple[Asked, list[Line]]]) -> Any:
    """pyarrow table: query, rank from 1, profile, score."""
    import pyarrow as pa

    rows = [(asked.name, line["rank"], line["profile_id"], line["score"]) for asked, lines in lists for line in lines]
    query, rank, recommended, score = zip(*rows, strict=True) if rows else ((), (), (), ())
    return pa.table(
        {
            "query": pa.array(query, pa.string()),
            "rank": pa.array(rank, pa.int32()),
            "profile": pa.array(recommended, pa.string()),
            "score": pa.array(score, pa.float64()),
        }
    )
