"""Demo dataset folders: the ordinary tables of a dataset, with drawn photos and, for the oracle, the true tastes."""

import csv
import hashlib
import io
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import PIL

from .captions import couple_metadata, style_metadata
from .look import STYLES, Look
from .photo_files import begin, draw_missing, finish, is_complete, replace_file
from .world import TASTE_DIM, Domain, WorldParams, couple_tastes, draw_look, stream

GENDERS = {"f": "female", "m": "male"}
# What decides the content of a folder. Other files of this package can change without a redraw.
SOURCES = (
    "bottoms.py",
    "canvas.py",
    "captions.py",
    "dataset.py",
    "head.py",
    "look.py",
    "palette.py",
    "render.py",
    "scene.py",
    "tops.py",
    "words.py",
    "world.py",
)
README = """Everything in this folder is synthetic: the photos are drawn by style_match.demo and show nobody.

profiles.csv    one photo a profile
couples.csv     who belongs together (couples only)
metadata.jsonl  what a labeler would say about each photo
taste.csv       the latent taste behind each profile; for judging what is reachable, not for training
demo.json       the parameters of the world and the versions that drew it
"""


@dataclass(frozen=True)
class Profile:
    """One drawn person with one photo."""

    profile_id: str
    taste: np.ndarray
    look: Look

    @property
    def image(self) -> str:
        return f"images/{self.profile_id}.jpg"


def couple_profiles(*, world_seed: int, num_couples: int, params: WorldParams) -> list[tuple[Profile, Profile]]:
    """The couples of a world, (female, male) each."""
    tastes = couple_tastes(num_couples, params.rho, stream(Domain.COUPLE_TASTES, world_seed, 0))
    couples = []
    for couple, pair in enumerate(zip(*tastes, strict=True)):
        female, male = (
            Profile(
                f"{gender}{couple + 1:04d}",
                taste,
                draw_look(taste, gender, stream(Domain.COUPLE_PHOTOS, world_seed, 2 * couple + side), params),
            )
            for side, (gender, taste) in enumerate(zip(GENDERS, pair, strict=True))
        )
        couples.append((female, male))
    return couples


def style_profiles(*, world_seed: int, num_photos: int, params: WorldParams) -> list[Profile]:
    """Photos of every style in turn, of both genders in turn."""
    profiles = []
    for index in range(num_photos):
        rng = stream(Domain.STYLE_PHOTOS, world_seed, index)
        taste = rng.normal(size=TASTE_DIM)
        gender, style = "fm"[index % 2], STYLES[index % len(STYLES)]
        look = draw_look(taste, gender, rng, params, style=style)
        profiles.append(Profile(f"s{index + 1:04d}", taste, look))
    return profiles


def write_couples(
    root: Path | str,
    *,
    world_seed: int,
    num_couples: int,
    size_px: int,
    params: WorldParams,
    num_workers: int,
    progress: Callable[[int, int], None],
) -> int:
    """Draw the dataset folder of `num_couples` couples; returns the number of photos drawn, 0 if all were there.

    A run that was interrupted is taken up where it stopped; photos of other parameters are drawn anew.
    `progress` is called with the numbers of photos done and to do. Raises FileExistsError if `root` holds other files.
    """
    root = Path(root)
    spec = _specification("couples", world_seed, num_couples, size_px, params)
    couples = couple_profiles(world_seed=world_seed, num_couples=num_couples, params=params)
    profiles = [profile for couple in couples for profile in couple]
    header, pairs = ("female_id", "male_id"), [(female.profile_id, male.profile_id) for female, male in couples]
    tables = {
        "profiles.csv": _csv(("profile_id", "image", "gender", "user_id"), map(_profile_row, profiles)),
        "couples.csv": _csv(header, pairs),
        "metadata.jsonl": _metadata(profiles, couple_metadata),
        "taste.csv": _tastes(profiles),
        "README.txt": README,
    }
    return _write(root, spec, profiles, tables, num_workers, progress)


def write_styles(
    root: Path | str,
    *,
    world_seed: int,
    num_photos: int,
    size_px: int,
    params: WorldParams,
    num_workers: int,
    progress: Callable[[int, int], None],
) -> int:
    """Draw the dataset folder of `num_photos` photos with style labels; as `write_couples` otherwise."""
    root = Path(root)
    spec = _specification("styles", world_seed, num_photos, size_px, params)
    profiles = style_profiles(world_seed=world_seed, num_photos=num_photos, params=params)
    labels = ("fashion_style", "shot_type", "visual_quality")
    rows = [
        (*_profile_row(profile), profile.look.style, profile.look.shot_type, profile.look.visual_quality)
        for profile in profiles
    ]
    tables = {
        "profiles.csv": _csv(("profile_id", "image", "gender", "user_id", *labels), rows),
        "metadata.jsonl": _metadata(profiles, style_metadata),
        "taste.csv": _tastes(profiles),
        "README.txt": README,
    }
    return _write(root, spec, profiles, tables, num_workers, progress)


def sources_sha256() -> str:
    """Hash of the code that decides what is drawn and said."""
    digest = hashlib.sha256()
    for name in SOURCES:
        digest.update(name.encode() + b"\0")
        # A checkout with Windows line ends draws the same.
        digest.update(Path(__file__).with_name(name).read_bytes().replace(b"\r\n", b"\n") + b"\0")
    return digest.hexdigest()


def _specification(kind: str, world_seed: int, count: int, size_px: int, params: WorldParams) -> dict:
    if count < 1 or size_px < 1:
        raise ValueError(f"a demo needs at least one item of at least one pixel, not {count} of {size_px} px")
    return {
        "synthetic": True,
        "kind": kind,
        "world_seed": world_seed,
        "num_couples" if kind == "couples" else "num_photos": count,
        "size_px": size_px,
        "params": asdict(params),
        "sources_sha256": sources_sha256(),
        "pillow": PIL.__version__,
        "numpy": np.__version__,
    }


def _write(
    root: Path,
    spec: dict,
    profiles: list[Profile],
    tables: dict[str, str],
    num_workers: int,
    progress: Callable[[int, int], None],
) -> int:
    photos = {profile.image: profile.look for profile in profiles}
    if is_complete(root, spec, [*photos, *tables]):
        return 0
    begin(root, spec)
    num_drawn = draw_missing(root, photos, spec["size_px"], num_workers, progress)
    for name, text in tables.items():
        replace_file(root / name, text.encode())
    finish(root)
    return num_drawn


def _profile_row(profile: Profile) -> tuple[str, str, str, str]:
    return profile.profile_id, profile.image, GENDERS[profile.look.gender], f"user_{profile.profile_id}"


def _metadata(profiles: list[Profile], describe: Callable[[Look], dict[str, str]]) -> str:
    rows = ({"image": profile.image, **describe(profile.look)} for profile in profiles)
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _tastes(profiles: list[Profile]) -> str:
    header = ("profile_id", *(f"z{axis + 1}" for axis in range(TASTE_DIM)))
    return _csv(header, ((profile.profile_id, *(f"{z:.6f}" for z in profile.taste)) for profile in profiles))


def _csv(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return buffer.getvalue()
