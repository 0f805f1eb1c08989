"""Demo dataset folders: drawn photos, the ordinary tables of a dataset, and the true tastes for an oracle."""

import csv
import hashlib
import io
import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import PIL
from omegaconf import DictConfig

from style_match.synthetic.captions import couple_metadata, style_metadata
from style_match.synthetic.figures import encode_jpeg, render
from style_match.synthetic.world import STYLES, TASTE_DIM, Domain, Look, WorldParams, couple_tastes, draw_look, stream
from style_match.utils import progress
from style_match.utils.errors import UserError
from style_match.utils.files import cache_root, hold
from style_match.utils.processes import end_with_parent, spawning

NOTE = "synthetic"  # row of labels.sqlite: its answers describe drawn photos
DONE, UNFINISHED = "demo.json", "demo.partial.json"
TABLES = ("profiles.csv", "couples.csv", "metadata.jsonl", "taste.csv", "README.txt")
PHOTOS_PER_TASK = 16
GENDERS = {"f": "female", "m": "male"}
# Options of cfg.data that do not change the content of the folder.
NOT_DRAWN = ("root", "image_root", "num_workers", "on_bad_image", "max_source_pixels")
# Modules that decide the content of a folder; it is drawn again when one of them changes.
SOURCES = ("canvas.py", "captions.py", "dataset.py", "figures.py", "garments.py", "world.py")
README = """Everything in this folder is synthetic: the photos are drawn by style_match.synthetic and show nobody.

profiles.csv    one photo per profile
couples.csv     the couples (not in a dataset of styles)
metadata.jsonl  a description of each photo, as a labeler would write it
taste.csv       the latent taste behind each profile; for an upper bound of the metrics, not for training
demo.json       the parameters of the world and the versions that drew it
"""


def is_synthetic(root: Path) -> bool:
    """Return whether the photos of a dataset folder, or of the folder that contains it, are drawn.

    True for a folder of the demo and for one that `prepare` or `label` made from it.
    """
    for path in (root / DONE, root / "prepared.json", root.parent / DONE):
        try:
            if json.loads(path.read_text(encoding="utf-8")).get("synthetic"):
                return True
        except (OSError, ValueError, AttributeError):
            continue  # no such file, or another program's
    return _has_note(root / "labels.sqlite")


def _has_note(ledger: Path) -> bool:
    if not ledger.is_file():
        return False
    for mode in ("mode=ro", "immutable=1"):  # the second for folders without write permission
        try:
            with closing(sqlite3.connect(f"{ledger.resolve().as_uri()}?{mode}", uri=True)) as database:
                return database.execute("SELECT 1 FROM note WHERE name = ?", (NOTE,)).fetchone() is not None
        except sqlite3.Error:
            continue  # another program's
    return False


def draw_demo(data: DictConfig, *, show: bool) -> Path:
    """Draw the synthetic dataset folder of a config; a finished folder is left as it is.

    One process draws a folder at a time; others wait for it.

    Args:
        data: `cfg.data` of a demo dataset.
        show: Whether to show a progress bar.

    Returns:
        `data.root`, or a folder in the cache whose name contains the world seed and a digest of the options.

    Raises:
        UserError: The folder contains other files or cannot be written.
    """
    drawn = {name: value for name, value in data.items() if name not in NOT_DRAWN}
    digest = hashlib.sha256(json.dumps(drawn, sort_keys=True, default=dict).encode()).hexdigest()[:8]
    in_cache = cache_root() / "demo" / f"{data.name}-{data.world_seed}-{digest}"
    root = Path(data.root).expanduser() if data.root else in_cache
    is_couples = data.task == "couple"
    world = dict(data.world) if is_couples else {"rho": 0.0, "temperature": 0.0, **data.world}  # styles use neither
    options = dict(
        world_seed=data.world_seed, size_px=data.size_px, params=WorldParams(**world), num_workers=data.num_workers
    )
    lock = None
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        lock = hold(root.with_name(f".{root.name}.lock"), wait=True)
        with progress.bar("drawing synthetic figures", "photos", show=show) as advance:
            if is_couples:
                write_couples(root, num_couples=data.num_couples, progress=advance, **options)
            else:
                write_styles(root, num_photos=data.num_photos, progress=advance, **options)
    except NotADemoError as error:
        raise UserError(
            f"data={data.name} draws synthetic figures, but {root} contains other files. For your own photos set "
            f"data={data.name.removeprefix('demo_')} data.root={root}."
        ) from error
    except OSError as error:
        remedy = "data.root" if data.root else "STYLE_MATCH_CACHE"
        raise UserError(f"Cannot draw the demo into {root}: {error.strerror}. Set another {remedy}.") from error
    finally:
        if lock is not None:
            lock.close()
    return root


class NotADemoError(Exception):
    """The folder contains files that the demo did not write."""


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
    """Return the (female, male) couples of a world."""
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
    """Return the photos of a world; styles and genders alternate."""
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
    """Draw the dataset folder of `num_couples` couples.

    An interrupted drawing continues with the missing photos. Photos of other parameters are removed first.

    Args:
        root: The folder.
        world_seed: Seed of tastes and photos.
        num_couples: Number of couples.
        size_px: Width and height of a photo in pixels.
        params: Parameters of the world.
        num_workers: Processes that draw; up to 1 draws in this process.
        progress: Called with the number of finished photos and of all photos.

    Returns:
        The number of photos drawn, 0 if all were there.

    Raises:
        NotADemoError: `root` contains files that the demo did not write.
        ValueError: A number is out of range.
    """
    couples = couple_profiles(world_seed=world_seed, num_couples=num_couples, params=params)
    profiles = [profile for couple in couples for profile in couple]
    pairs = [(female.profile_id, male.profile_id) for female, male in couples]
    tables = {
        "profiles.csv": _csv(("profile_id", "image", "gender", "user_id"), map(_profile_row, profiles)),
        "couples.csv": _csv(("female_id", "male_id"), pairs),
        "metadata.jsonl": _metadata(profiles, couple_metadata),
        "taste.csv": _tastes(profiles),
        "README.txt": README,
    }
    spec = _specification("couples", world_seed, num_couples, size_px, params)
    return _write(Path(root), spec, profiles, tables, num_workers, progress)


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
    """Draw the dataset folder of `num_photos` photos with style labels. See `write_couples`."""
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
    spec = _specification("styles", world_seed, num_photos, size_px, params)
    return _write(Path(root), spec, profiles, tables, num_workers, progress)


def sources_sha256() -> str:
    """Return the hash of the code that decides pixels and descriptions."""
    digest = hashlib.sha256()
    for name in SOURCES:
        digest.update(name.encode() + b"\0")
        # The hash does not depend on the line ends of a checkout.
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
    if _read_marker(root / DONE) == spec and all((root / name).exists() for name in [*photos, *tables]):
        return 0
    _begin(root, spec)
    num_drawn = _draw_missing(root, photos, spec["size_px"], num_workers, progress)
    for name, text in tables.items():
        _replace(root / name, text.encode())
    os.replace(root / UNFINISHED, root / DONE)
    return num_drawn


def _begin(root: Path, spec: dict) -> None:
    """Mark `root` as unfinished, after removing the photos and tables of another specification."""
    root.mkdir(parents=True, exist_ok=True)
    markers = [path for name in (DONE, UNFINISHED) if (path := root / name).exists()]
    if not markers and any(root.iterdir()):
        raise NotADemoError(f"{root} has files that are no demo dataset: name an empty folder")
    if any(_read_marker(path) != spec for path in markers):
        shutil.rmtree(root / "images", ignore_errors=True)
        shutil.rmtree(root / "splits", ignore_errors=True)  # they name ids that now belong to other couples
        for name in TABLES:
            (root / name).unlink(missing_ok=True)
    _replace(root / UNFINISHED, (json.dumps(spec, indent=2) + "\n").encode())
    (root / DONE).unlink(missing_ok=True)
    (root / "images").mkdir(exist_ok=True)


def _read_marker(path: Path) -> dict | None:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def _draw_missing(
    root: Path, photos: dict[str, Look], size_px: int, num_workers: int, progress: Callable[[int, int], None]
) -> int:
    """Draw the photos (path under `root` -> look) that do not exist and return their number."""
    missing = [(root / name, look) for name, look in photos.items() if not (root / name).exists()]
    num_done = len(photos) - len(missing)
    progress(num_done, len(photos))
    tasks = [missing[start : start + PHOTOS_PER_TASK] for start in range(0, len(missing), PHOTOS_PER_TASK)]
    if num_workers <= 1 or len(tasks) <= 1:
        for task in tasks:
            num_done += _draw(task, size_px)
            progress(num_done, len(photos))
        return len(missing)
    workers = min(num_workers, len(tasks))
    with spawning() as context, ProcessPoolExecutor(workers, mp_context=context, initializer=end_with_parent) as pool:
        futures = [pool.submit(_draw, task, size_px) for task in tasks]
        try:
            for future in as_completed(futures):
                num_done += future.result()
                progress(num_done, len(photos))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return len(missing)


def _draw(photos: list[tuple[Path, Look]], size_px: int) -> int:
    for path, look in photos:
        _replace(path, encode_jpeg(render(look, size_px)))
    return len(photos)


def _replace(path: Path, content: bytes) -> None:
    # Atomic, but not synced to the disk as `utils.files.replace_whole` does: that takes longer than to draw the photo.
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(content)
    os.replace(temporary, path)


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
