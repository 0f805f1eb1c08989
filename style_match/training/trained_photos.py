"""Which photos a run was trained and selected on (`seen.txt`), so that it is never tested on them."""

from pathlib import Path

from style_match.backbone.inputs import Inputs
from style_match.cli.run_config import SEEN
from style_match.data.datamodule import MatchDataModule
from style_match.data.fingerprints import PIXELS, pixels_name
from style_match.data.metadata import metadata_name
from style_match.training.run_folder import RunFolder
from style_match.utils import progress
from style_match.utils.errors import UserError


def write_trained_photos(folder: RunFolder, inputs: Inputs, data: MatchDataModule) -> None:
    """Write two SHA-256 of each photo of the train and val splits: of its file and of its decoded pixels.

    A photo that is not read (prompt=metadata) gets the hash of its profile id and metadata, since other data may have
    the same ids.
    """
    folder.write_text(SEEN, _content(inputs, data))


def refuse_changed_split(folder: RunFolder, inputs: Inputs, data: MatchDataModule) -> None:
    """Refuse to resume a run whose train or val split has changed.

    Raises:
        UserError: The splits differ from those of the run.
    """
    if is_changed_split(folder.path, inputs, data):
        raise UserError(
            f"{inputs.split.path} no longer divides the data as it did when the run {folder.path} started. Restore "
            "it, or start a new run."
        )


def is_changed_split(run: Path, inputs: Inputs, data: MatchDataModule) -> bool:
    """Return whether the train and val splits differ from those of the run; False if it has no seen.txt."""
    if not (run / SEEN).is_file():
        return False
    was, now = (run / SEEN).read_text(encoding="utf-8"), _content(inputs, data)
    if PIXELS not in was:  # of an earlier version
        now = "".join(line for line in now.splitlines(keepends=True) if not line.startswith(PIXELS))
    return was != now


def refuse_trained_photos(run: Path, inputs: Inputs, data: MatchDataModule) -> None:
    """Refuse to score a run on a test split with photos that it was trained or selected on.

    Raises:
        UserError: The test split has such photos.
    """
    if not (run / SEEN).is_file():
        progress.say(f"{run / SEEN} is missing, so the test split cannot be checked for photos of the training.")
        return
    test = _hashes(inputs, data, "test")
    trained = set((run / SEEN).read_text(encoding="utf-8").split("\n")) - {""}
    if both := [name for name, pixels in test.items() if name in trained or pixels in trained]:
        raise UserError(
            f"run={run} was trained or selected on {len(both)} of the {len(test)} photos of this test split. Drop "
            "split to score it on its own test split, or use other data."
        )


def _content(inputs: Inputs, data: MatchDataModule) -> str:
    hashes = _hashes(inputs, data, "train") | _hashes(inputs, data, "val")
    return "".join(f"{line}\n" for line in sorted({*hashes, *filter(None, hashes.values())}))


def _hashes(inputs: Inputs, data: MatchDataModule, split: str) -> dict[str, str]:
    """Return the line of each photo's file -> the line of its pixels, empty if the photo was not read."""
    folder, hashes = inputs.folder, {}
    for row in data.gallery(split).photos.tolist():
        photo = folder.photos[row]
        facts = folder.photo_facts.get(photo.image)
        name = folder.photo_sha256.get(photo.image) or metadata_name(photo.profile_id, folder.metadata.get(photo.image))
        hashes[name] = pixels_name(facts.pixels) if facts and facts.pixels else ""
    return hashes
