"""Photo files: each is decoded once, before anything is computed from it."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from style_match.data.dataset import DatasetFolder
from style_match.data.fingerprints import Fingerprints, PhotoFacts
from style_match.data.images import colour_fault_note
from style_match.utils.errors import UserError

ON_BAD_IMAGE = ("error", "exclude")
_AHEAD = 256  # files submitted at once


def check_photos(
    folder: DatasetFolder,
    fingerprints: Fingerprints,
    *,
    max_source_pixels: int,
    on_bad_image: str,
    num_workers: int,
    progress: Callable[[int, int], object] | None = None,
) -> DatasetFolder:
    """Decode each photo whose bytes were not decoded before.

    Args:
        folder: a dataset folder.
        fingerprints: where results are cached.
        max_source_pixels: of a photo.
        on_bad_image: "error", or "exclude": profiles with a bad photo and their couples are moved to `rejected`.
        num_workers: threads, at least one.
        progress: called with (done, total) files.

    Returns:
        The folder with `photo_sha256` and `photo_facts`.

    Raises:
        UserError: lists every bad photo with `on_bad_image="error"`, and always every photo that could not be read at
            all (no permission, HEIC without its reader): excluding those would hide a fault elsewhere.
    """
    if on_bad_image not in ON_BAD_IMAGE:
        raise UserError(f"data.on_bad_image={on_bad_image} is none of {', '.join(ON_BAD_IMAGE)}")
    paths = list(dict.fromkeys(photo.path for photo in folder.photos))

    def inspect(path: Path) -> PhotoFacts | UserError:
        try:
            return fingerprints.photo(path, max_source_pixels=max_source_pixels)
        except UserError as error:
            return error

    found: dict[Path, PhotoFacts] = {}
    unreadable: list[str] = []
    with ThreadPoolExecutor(max(num_workers, 1)) as pool:  # hashing and decoding release the GIL
        for start in range(0, len(paths), _AHEAD):  # so that Ctrl-C waits for these alone
            some = paths[start : start + _AHEAD]
            for path, facts in zip(some, pool.map(inspect, some), strict=True):
                if isinstance(facts, PhotoFacts):
                    found[path] = facts
                else:
                    unreadable.append(str(facts))
                if progress is not None:
                    progress(len(found) + len(unreadable), len(paths))
    if unreadable:
        raise UserError("\n  ".join([f"{len(unreadable)} of {len(paths)} photos could not be read:", *unreadable]))

    bad = [photo for photo in folder.photos if not found[photo.path].ok]
    if bad and on_bad_image == "error":
        title = f"{len(bad)} of {len(folder.photos)} photos cannot be used"
        remedy = "repair or remove them, or exclude their profiles with data.on_bad_image=exclude"
        table = folder.profiles_file
        rows = [f"{table.name}, {folder.place(photo.row)}: {photo.path}: {found[photo.path].fault}" for photo in bad]
        raise UserError("\n  ".join([f"{title} ({remedy}):", *rows]))
    reasons: dict[str, list[str]] = {}
    for photo in bad:
        reasons.setdefault(photo.profile_id, []).append(f"{photo.image}: {found[photo.path].fault}")
    colour_note = colour_fault_note([photo.image for photo in folder.photos if found[photo.path].colour_fault])
    facts_of = {photo.image: found[photo.path] for photo in folder.photos}
    folder = replace(
        folder,
        photo_sha256={image: facts.sha256 for image, facts in facts_of.items()},
        photo_facts=facts_of,
        notes=(*folder.notes, *filter(None, [colour_note])),
    )
    return folder.without({each: "; ".join(texts) for each, texts in reasons.items()}) if reasons else folder
