"""What `style_match.recommend` does, from its config to what it prints and writes."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from style_match.cli.targets import conf_dir
from style_match.evaluation.outputs import write_table
from style_match.serving.matcher import StyleMatcher, Vectors, demo_root
from style_match.serving.mutual import Lists, Pairs, Spread, all_pairs, capped, mutual_best, spread, top
from style_match.serving.output import PAGE, Line, lines_of, print_list, print_spreads, write_page
from style_match.serving.query import Allowed, Asked, ask, profile, refuse_unread
from style_match.synthetic.dataset import is_synthetic
from style_match.utils.errors import UserError
from style_match.utils.files import write_whole

if TYPE_CHECKING:
    from style_match.serving.index.base import Index
    from style_match.serving.matcher import StyleMatcher


# The nearest who are allowed, found by an index.


Answers = list[tuple[str, float]]


def exact_index(profiles: Vectors) -> "Index":
    """An exact index of the profiles, in memory; built once, then kept on the object as a cached property is."""
    index: Index | None = vars(profiles).get("exact_index")
    if index is None:
        index = instantiate(OmegaConf.load(conf_dir() / "index" / "exact.yaml"))
        index.build(profiles.profile_ids, profiles.embeddings, profiles.rows, profiles.matcher)
        vars(profiles)["exact_index"] = index
    return index


def refuse_too_many(asked: Asked, allowed: Allowed, k: int, where: str | None) -> None:
    """Refuse a k that nobody, or not enough, are left for.

    Raises:
        UserError: says how many are left, and after what.
    """
    if k < 1:
        raise UserError(f"k={k} must be at least 1.")
    could, left = int(allowed.side(asked).sum()), int(allowed.rows(asked).sum())
    if left < k:
        after = f"where leaves {left} of {could}" if where is not None else f"there are {left}"
        remedy = (
            f"write k={left} at most" + (", or widen where" if where is not None else "") if left else "widen where"
        )
        if could == 0:
            remedy = "the folder holds nobody else whom it could be recommended to or from"
        raise UserError(f"query={asked.name}, k={k}: {after} profiles to recommend; {remedy}.")


def best(
    askers: Sequence[Asked], profiles: Vectors, allowed: Allowed, *, k: int, index: "Index | None"
) -> list[Answers]:
    """For each who asks the k nearest who are allowed, best first, equal scores in the order of ids; fewer where there
    are fewer.

    Raises:
        UserError: the index is of another matcher than the profiles.
    """
    if index is not None and index.matcher != profiles.matcher:
        raise UserError(
            f"The index was built from the profiles of another matcher ({index.matcher[:8]}), not of the one that made "
            f"these profiles ({profiles.matcher[:8]}): build it from these."
        )
    used = index if index is not None else exact_index(profiles)
    found: list[Answers] = [[] for _ in askers]
    for side in sorted({asked.side for asked in askers}):
        chosen = [number for number, asked in enumerate(askers) if asked.side == side]
        if profiles.side_names is not None and side < 0:
            continue  # nobody's counterpart
        answers = used.search(
            np.stack([askers[number].embedding for number in chosen]),
            k,
            where=allowed.for_index(side),
            exclude=[allowed.themselves(askers[number]) for number in chosen],
        )
        for number, answer in zip(chosen, answers, strict=True):
            found[number] = answer
    return found


# query=all: recommendations for every profile at once, and what mode and cap do to them.


PLAIN = "similar"


@dataclass(frozen=True)
class Served:
    """Lists of rows for every profile, and the spread of these and of others that they are compared with, by name."""

    lists: Lists
    spreads: dict[str, Spread]


def serve(
    profiles: Vectors,
    allowed: Allowed,
    *,
    k: int,
    mode: str,
    exposure_cap: int | None,
    max_pairs: int,
    index: "Index | None",
) -> Served:
    """The k best of every profile.

    Without mode=mutual and without a cap they are found by the index, without holding all pairs in memory.

    Raises:
        UserError: nobody may be recommended to anybody, k is above what anybody could get, or there are more pairs than
            `max_pairs`.
    """
    gallery, candidates = allowed.reach()
    most = int(gallery.max(initial=0))
    if k > most:
        raise UserError(f"query=all, k={k}: {_remedy(most, allowed)}.")
    found: dict[str, Lists] = {}
    if mode == "similar" and exposure_cap is None:
        askers = [profile(profiles, row) for row in range(len(profiles))]
        answers = best(askers, profiles, allowed, k=k, index=index)
        found[PLAIN] = [[profiles.row_of[one] for one, _ in answer] for answer in answers]
    else:
        found = _all_ways(all_pairs(profiles, allowed, max_pairs=max_pairs), k, mode, exposure_cap)
    spreads = {name: spread(lists, gallery > 0, candidates, k) for name, lists in found.items()}
    return Served(list(found.values())[-1], spreads)


def _remedy(most: int, allowed: Allowed) -> str:
    """What to do where nobody could get more than `most`."""
    wider = ", or widen where" if allowed.condition is not None else ""
    if most:
        return f"nobody could get more than {most} profiles; write k={most} at most{wider}"
    if wider:
        return "nobody is left who may be recommended to anybody: widen where"
    return f"no two of the {len(allowed.profiles)} profiles in the folder could be recommended to each other"


def _all_ways(pairs: Pairs, k: int, mode: str, cap: int | None) -> dict[str, Lists]:
    """Lists by likeness alone, then with mode=mutual, then with the cap, as far as they are asked for."""
    found = {PLAIN: top(pairs.rank, k)}
    places = pairs.rank
    if mode == "mutual":
        places = pairs.mutual
        found["mutual"] = top(places, k)
    if cap is not None:
        found[f"{mode}, cap {cap}"] = capped(
            places, lambda user, row: pairs.key(mode, user, row), pairs.order, k=k, cap=cap
        )
    return found


def cosines(profiles: Vectors, user: int, rows: list[int]) -> list[float]:
    """The cosine of each recommended row."""
    vectors = profiles.embeddings.astype(np.float64)
    return (vectors[rows] @ vectors[user]).tolist() if rows else []


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
    from style_match.serving.index.folder import open_or_build

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
