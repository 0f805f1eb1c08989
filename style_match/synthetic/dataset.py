"""Demo dataset folders: the ordinary tables of a dataset, with drawn photos and, for the oracle, the true tastes."""

import csv
import hashlib
import io
import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import closing, contextmanager
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
from style_match.utils.files import cache_root
from style_match.utils.processes import end_with_parent, spawning

# Whether the people of a dataset folder are drawn, so that every number from it says so.


NOTE = "synthetic"  # of the labeler's ledger: its answers are about drawn photos


def is_synthetic(root: Path) -> bool:
    """Whether a dataset folder, or the folder of its photos, is the demo's, was prepared or labelled as such."""
    for path in (root / "demo.json", root / "prepared.json", root.parent / "demo.json"):
        try:
            if json.loads(path.read_text(encoding="utf-8")).get("synthetic"):
                return True
        except (OSError, ValueError, AttributeError):
            continue  # no such file, or somebody else's of that name
    return _is_noted(root / "labels.sqlite")


def _is_noted(ledger: Path) -> bool:
    if not ledger.is_file():
        return False
    for how in ("mode=ro", "immutable=1"):  # the second where the folder itself may not be written
        try:
            with closing(sqlite3.connect(f"{ledger.resolve().as_uri()}?{how}", uri=True)) as database:
                return database.execute("SELECT 1 FROM note WHERE name = ?", (NOTE,)).fetchone() is not None
        except sqlite3.Error:
            continue  # somebody else's of that name
    return False


# The synthetic dataset folder that a config describes, in the cache of this user.


# Options of demo data that change nothing in the folder that is drawn.
NOT_DRAWN = ("root", "image_root", "num_workers", "on_bad_image", "max_source_pixels")


def draw_demo(data: DictConfig, *, show: bool) -> Path:
    """Draw the synthetic dataset folder that `cfg.data` describes, unless it is there already.

    Returns:
        its folder: `data.root`, or one in the cache named after the world seed and all else that is drawn.

    Raises:
        UserError: the folder holds other files, or cannot be written.
    """
    pass
    pass
    from style_match.synthetic.world import WorldParams

    drawing = {name: value for name, value in data.items() if name not in NOT_DRAWN}
    digest = hashlib.sha256(json.dumps(drawing, sort_keys=True, default=dict).encode()).hexdigest()[:8]
    own = cache_root() / "demo" / f"{data.name}-{data.world_seed}-{digest}"
    root = Path(data.root).expanduser() if data.root else own
    world = dict(data.world) if data.task == "couple" else {"rho": 0.0, "temperature": 0.0, **data.world}  # not read
    options = dict(
        world_seed=data.world_seed, size_px=data.size_px, params=WorldParams(**world), num_workers=data.num_workers
    )
    try:
        with alone(root), progress.bar("drawing synthetic figures", "photos", show=show) as advance:
            if data.task == "couple":
                write_couples(root, num_couples=data.num_couples, progress=advance, **options)
            else:
                write_styles(root, num_photos=data.num_photos, progress=advance, **options)
    except OSError as error:
        if isinstance(error, FileExistsError) and error.errno is None:  # the demo's own, not the operating system's
            raise UserError(
                f"data={data.name} draws synthetic figures, and {root} holds other files. For your own photos there "
                f"write data={data.name.removeprefix('demo_')} data.root={root}."
            ) from error
        remedy = "another data.root" if data.root else "another cache by STYLE_MATCH_CACHE"
        raise UserError(f"The demo cannot be drawn into {root}: {error.strerror}. Give {remedy}.") from error
    return root


# Files of a demo folder: drawn by several processes, never half written, never of two worlds.


DONE, UNFINISHED = "demo.json", "demo.partial.json"
TABLES = ("profiles.csv", "couples.csv", "metadata.jsonl", "taste.csv", "README.txt")
CHUNK = 16


def is_complete(root: Path, spec: dict, names: Iterable[str]) -> bool:
    """Whether `root` is a finished folder of exactly this specification with none of its files gone."""
    return _read(root / DONE) == spec and all((root / name).exists() for name in names)


def begin(root: Path, spec: dict) -> None:
    """Mark `root` as being drawn; photos and tables of another specification are removed first.

    Raises FileExistsError if there are files but no marker of a demo, since they are not ours to remove.
    """
    root.mkdir(parents=True, exist_ok=True)
    markers = [path for name in (DONE, UNFINISHED) if (path := root / name).exists()]
    if not markers and any(root.iterdir()):
        raise FileExistsError(f"{root} has files that are no demo dataset: name an empty folder")
    if any(_read(path) != spec for path in markers):
        shutil.rmtree(root / "images", ignore_errors=True)
        shutil.rmtree(root / "splits", ignore_errors=True)  # of other couples, whose ids come again
        for name in TABLES:
            (root / name).unlink(missing_ok=True)
    replace_file(root / UNFINISHED, (json.dumps(spec, indent=2) + "\n").encode())
    (root / DONE).unlink(missing_ok=True)
    (root / "images").mkdir(exist_ok=True)


@contextmanager
def alone(root: Path) -> Iterator[None]:
    """While inside, no other process draws the same folder; one that waited finds it drawn.

    The lock lies beside the folder, which holds nothing but what is drawn. The operating system lets go of a killed
    process's lock.
    """
    import fcntl

    root.parent.mkdir(parents=True, exist_ok=True)
    with open(root.with_name(f".{root.name}.lock"), "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def draw_missing(
    root: Path, photos: dict[str, Look], size_px: int, num_workers: int, progress: Callable[[int, int], None]
) -> int:
    """Draw the photos (path under `root` -> look) that are not there yet; returns how many.

    Up to one worker draws in this process; more are spawned, so that nothing is inherited from a threaded parent.
    """
    missing = [(root / name, look) for name, look in photos.items() if not (root / name).exists()]
    num_present = len(photos) - len(missing)
    num_done = num_present
    progress(num_done, len(photos))
    chunks = [missing[start : start + CHUNK] for start in range(0, len(missing), CHUNK)]
    if num_workers <= 1 or len(chunks) <= 1:
        for chunk in chunks:
            num_done += _draw(chunk, size_px)
            progress(num_done, len(photos))
        return num_done - num_present
    workers = min(num_workers, len(chunks))
    with spawning() as context, ProcessPoolExecutor(workers, mp_context=context, initializer=end_with_parent) as pool:
        futures = [pool.submit(_draw, chunk, size_px) for chunk in chunks]
        try:
            for future in as_completed(futures):
                num_done += future.result()
                progress(num_done, len(photos))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return num_done - num_present


def finish(root: Path) -> None:
    """Turn the marker of a folder in the making into that of a finished one."""
    try:
        os.replace(root / UNFINISHED, root / DONE)
    except FileNotFoundError:
        if not (root / DONE).exists():  # else another process drew the same folder and was first
            raise


def replace_file(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(content)
    os.replace(temporary, path)


def _draw(chunk: list[tuple[Path, Look]], size_px: int) -> int:
    for path, look in chunk:
        replace_file(path, encode_jpeg(render(look, size_px)))
    return len(chunk)


def _read(path: Path) -> dict | None:
    """The marker's content, None where it is missing or damaged."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


GENDERS = {"f": "female", "m": "male"}
# What decides the content of a folder. Other files of this package can change without a redraw.
SOURCES = ("canvas.py", "captions.py", "dataset.py", "figures.py", "garments.py", "world.py")
README = """Everything in this folder is synthetic: the photos are drawn by style_match.synthetic and show nobody.

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
