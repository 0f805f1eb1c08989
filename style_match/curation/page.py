"""prepared.html: what was kept, left out and grouped, on one page without external resources."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from style_match.curation.candidates import Candidate
from style_match.curation.prepare import Prepared
from style_match.data.images import as_uri, thumbnail
from style_match.utils.html import fill

TEMPLATE = Path(__file__).with_name("page.html.jinja")


def page(prepared: Prepared, options: Mapping[str, Any]) -> str:
    """Return the HTML page; everything from the data is escaped.

    Args:
        options: the config node `page`. Photos, which show people, are included only with `thumbnails`.
    """
    record, candidates = prepared.record, prepared.candidates
    groups = _group_rows(prepared)
    shown = groups[: options["max_groups"]]
    sizes = [(each.facts.width, each.facts.height) for each in candidates if each.facts.ok]
    return fill(
        TEMPLATE,
        root=str(prepared.folder.root),
        record=record,
        counts=record["counts"],
        task=prepared.folder.task,
        label=prepared.folder.label_column,
        widest=max((its["photos"] for its in record["counts"]["classes"].values()), default=1),
        histogram=histogram([max(size) for size in sizes]),
        megapixels=float(np.median([width * height / 1e6 for width, height in sizes])) if sizes else 0.0,
        left_out=_left_out_rows(candidates),
        rejected=[each for each in prepared.folder.rejected if each.kind != "photo"] + list(prepared.split.excluded),
        groups=shown,
        num_groups=len(groups),
        thumbnails=_thumbnails(candidates, shown, options["thumbnail_px"]) if options["thumbnails"] else {},
        notes=(*prepared.notes, *prepared.split.notes),
        splits=_split_rows(prepared),
        split_file=prepared.split.path.name,
    )


def _left_out_rows(candidates: Sequence[Candidate]) -> dict[str, list[tuple[str, str, str]]]:
    """Return kind -> (profile, place in the source, reason) of each photo left out, the largest kind first."""
    rows: dict[str, list[tuple[str, str, str]]] = {}
    for each in candidates:
        if each.kind:
            rows.setdefault(each.kind, []).append((each.photo.profile_id, each.photo.place, each.reason))
    return dict(sorted(rows.items(), key=lambda item: -len(item[1])))


def _group_rows(prepared: Prepared) -> list[dict[str, Any]]:
    """Return groups of copies with their profiles and the photos that connect them, the largest first."""
    rows: dict[str, dict[str, Any]] = {}
    for profile_id, name in prepared.groups.items():
        row = rows.setdefault(name, {"name": name, "profiles": [], "photos": set(), "same": 0})
        row["profiles"].append(profile_id)
    for pair in prepared.pairs:
        one, other = (prepared.candidates[place] for place in pair)
        name = prepared.groups.get(one.photo.profile_id, "")
        if name and one.photo.profile_id != other.photo.profile_id:
            rows[name]["photos"].update(pair)
            rows[name]["same"] += one.facts.sha256 == other.facts.sha256
    found = [{**row, "photos": sorted(row["photos"])} for row in rows.values()]
    return sorted(found, key=lambda row: -len(row["profiles"]))


def _split_rows(prepared: Prepared) -> list[tuple[str, dict[str, int]]]:
    """Return (class, items in each split); one row for couples."""
    counts: dict[str, Counter[str]] = {}
    for item, split in prepared.split.name_of.items():
        counts.setdefault(prepared.folder.labels.get(item, "couples"), Counter())[split] += 1
    return sorted(counts.items())


def histogram(sides: Sequence[int]) -> list[tuple[str, int, float]]:
    """Return (range of the longer side in px, photos, share of the fullest bin)."""
    if not sides:
        return []
    bounds = [64, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096]
    counts = np.bincount(np.searchsorted(bounds, sides), minlength=len(bounds) + 1).tolist()
    names = [*(f"to {bound}" for bound in bounds), "above 4096"]
    filled = [place for place, count in enumerate(counts) if count]
    return [(names[place], counts[place], counts[place] / max(counts)) for place in range(filled[0], filled[-1] + 1)]


def _thumbnails(candidates: Sequence[Candidate], groups: Sequence[Mapping[str, Any]], side_px: int) -> dict[int, str]:
    """Return small pictures of the groups' photos as data URIs, without any metadata of the files."""
    places = sorted({place for row in groups for place in row["photos"]})
    return {
        place: as_uri(thumbnail(candidates[place].photo.content(), side_px, max_source_pixels=1 << 31))
        for place in places
    }
