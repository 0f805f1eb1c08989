"""prepared.html: what was kept, left out and grouped, on one page that asks nothing of the network."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from style_match.curation.prepare import Prepared
from style_match.curation.sources import SourcePhoto
from style_match.data.images import as_uri, thumbnail
from style_match.utils.html import fill

TEMPLATE = Path(__file__).with_name("page.html.jinja")


def page(prepared: Prepared, options: Mapping[str, Any]) -> str:
    """The page; `options` is the node `page` of the config.

    Photos are shown only with `thumbnails`: they are of people. Everything that was data is escaped.
    """
    record, source = prepared.record, prepared.source
    groups = group_rows(prepared)
    shown = groups[: options["max_groups"]]
    return fill(
        TEMPLATE,
        root=str(prepared.folder.root),
        record=record,
        counts=record["counts"],
        task=prepared.folder.task,
        label=prepared.folder.label_column,
        widest=max((its["photos"] for its in record["counts"]["classes"].values()), default=1),
        histogram=histogram([max(each.width, each.height) for each in prepared.facts if each.ok]),
        megapixels=median([each.width * each.height / 1e6 for each in prepared.facts if each.ok]),
        left_out=left_out_rows(prepared),
        rejected=[each for each in prepared.folder.rejected if each.kind != "photo"] + list(prepared.split.excluded),
        groups=shown,
        num_groups=len(groups),
        thumbnails=thumbnails(source.photos, shown, options["thumbnail_px"]) if options["thumbnails"] else {},
        notes=(*source.notes, *prepared.notes, *prepared.split.notes),
        splits=split_rows(prepared),
        split_file=prepared.split.path.name,
    )


def left_out_rows(prepared: Prepared) -> dict[str, list[tuple[str, str, str]]]:
    """Kind -> (profile, place in the source, reason) of each photo that is left out."""
    rows: dict[str, list[tuple[str, str, str]]] = {}
    verdicts = prepared.verdicts
    for photo, kind, reason in zip(prepared.source.photos, verdicts.kinds, verdicts.reasons, strict=True):
        if kind:
            rows.setdefault(kind, []).append((photo.profile_id, photo.place, reason))
    return dict(sorted(rows.items(), key=lambda item: -len(item[1])))


def group_rows(prepared: Prepared) -> list[dict[str, Any]]:
    """Groups of copies: their profiles, the photos that connect them, largest first."""
    members: dict[str, list[str]] = {}
    for profile_id, name in prepared.verdicts.groups.items():
        members.setdefault(name, []).append(profile_id)
    places: dict[str, dict[int, None]] = {}
    same: Counter[str] = Counter()
    owners = [photo.profile_id for photo in prepared.source.photos]
    for one, other in prepared.verdicts.pairs:
        name = prepared.verdicts.groups.get(owners[one], "")
        if name and owners[one] != owners[other]:
            places.setdefault(name, {}).update({one: None, other: None})
            same[name] += prepared.facts[one].sha256 == prepared.facts[other].sha256
    rows = [
        {"name": name, "profiles": ids, "photos": sorted(places.get(name, {})), "same": same[name]}
        for name, ids in members.items()
    ]
    return sorted(rows, key=lambda row: -len(row["profiles"]))


def split_rows(prepared: Prepared) -> list[tuple[str, dict[str, int]]]:
    """(class, items in each split); of couples one row."""
    counts: dict[str, Counter[str]] = {}
    for item, split in prepared.split.name_of.items():
        counts.setdefault(prepared.folder.labels.get(item, "couples"), Counter())[split] += 1
    return sorted(counts.items())


def histogram(sides: Sequence[int]) -> list[tuple[str, int, float]]:
    """(range of the longer side in px, photos, share of the fullest bin); bounds are round numbers."""
    if not sides:
        return []
    bounds = [0, 64, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 1 << 31]
    counts = np.histogram(sides, [bound + 0.5 if bound else 0 for bound in bounds])[0].tolist()
    first = next(place for place, count in enumerate(counts) if count)
    last = max(place for place, count in enumerate(counts) if count)
    most = max(counts)
    names = [f"to {high}" if high < 1 << 31 else "above 4096" for high in bounds[1:]]
    return [(names[place], counts[place], counts[place] / most) for place in range(first, last + 1)]


def median(values: Sequence[float]) -> float:
    return float(np.median(values)) if values else 0.0


def thumbnails(photos: Sequence[SourcePhoto], groups: Sequence[Mapping[str, Any]], side_px: int) -> dict[int, str]:
    """Small pictures of the groups' photos as data URIs, without any metadata of the files."""
    made = {}
    for place in sorted({place for row in groups for place in row["photos"]}):
        made[place] = as_uri(thumbnail(photos[place].content(), side_px, max_source_pixels=1 << 31))
    return made
