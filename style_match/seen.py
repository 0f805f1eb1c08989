"""What a head was trained and selected on, so that it is not scored on it later."""

from pathlib import Path

from style_match import progress
from style_match.data.folder import Photo
from style_match.data.metadata import metadata_name
from style_match.errors import UserError
from style_match.run import RunFolder
from style_match.score import Scorer

FILE = "seen.txt"
PIXELS = "pixels "  # begins the line of a photo's pixels; files of older versions have none


def write_seen(folder: RunFolder, scorer: Scorer) -> None:
    """Write seen.txt: a line a photo of the train and val splits, its SHA-256, and one for that of its decoded pixels.

    Of a photo that was not read (prompt=metadata) it is that of profile id and metadata: ids alone say nothing about
    other data.
    """
    folder.write_text(FILE, _lines(scorer))


def refuse_other_split(folder: RunFolder, scorer: Scorer) -> None:
    """Refuse to go on with a run whose train and val splits are no longer what they were.

    Raises:
        UserError: they are others.
    """
    if is_other_split(folder.path, scorer):
        raise UserError(
            f"{scorer.split.path} no longer divides the data as it did when the run {folder.path} began: restore it, "
            "or start a new run."
        )


def is_other_split(run: Path, scorer: Scorer) -> bool:
    """Whether the train and val splits are others than the run's seen.txt tells; False where it has none."""
    if not (run / FILE).is_file():
        return False
    was, now = (run / FILE).read_text(encoding="utf-8"), _lines(scorer)
    if PIXELS not in was:
        now = "".join(line for line in now.splitlines(keepends=True) if not line.startswith(PIXELS))
    return was != now


def refuse_seen(run: Path, scorer: Scorer) -> None:
    """Refuse to score a run on a test split that holds what it was trained or selected on.

    Raises:
        UserError: how many, of how many.
    """
    if not (run / FILE).is_file():
        progress.say(f"{run / FILE} is missing: whether the run was trained on this test split cannot be told")
        return
    test = _names(scorer, "test")
    seen = {*(run / FILE).read_text(encoding="utf-8").split("\n")} - {""}
    if both := [name for name, pixels in test.items() if name in seen or pixels in seen]:
        raise UserError(
            f"run={run} was trained or selected on {len(both)} of the {len(test)} photos of this test split. Score it "
            "on the split it was made with (leave split out), or on other data."
        )


def _lines(scorer: Scorer) -> str:
    names = _names(scorer, "train") | _names(scorer, "val")
    return "".join(f"{name}\n" for name in sorted({*names, *filter(None, names.values())}))


def _names(scorer: Scorer, split: str) -> dict[str, str]:
    """What names each photo of a split -> the line of its pixels, "" where it was not read."""
    folder, found = scorer.folder, {}
    for row in scorer.data.gallery(split).photos.tolist():
        photo = folder.photos[row]
        facts = folder.photo_facts.get(photo.image)
        name = folder.photo_sha256.get(photo.image) or _of_metadata(scorer, photo)
        found[name] = PIXELS + facts.pixels if facts and facts.pixels else ""
    return found


def _of_metadata(scorer: Scorer, photo: Photo) -> str:
    return metadata_name(photo.profile_id, scorer.folder.metadata.get(photo.image))
