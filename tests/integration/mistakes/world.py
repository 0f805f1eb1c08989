"""A small good dataset folder, and the ways in which it is broken."""

import shutil
import struct
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

import style_match

NUM_COUPLES = 24
STYLES = ("plain", "dotted", "striped")


COUPLES = "\n".join(["female_id,male_id", *(f"f{couple},m{couple}" for couple in range(NUM_COUPLES))]) + "\n"

METADATA = "".join(f'{{"image": "photos/f{number}.jpg", "caption": "a plain shirt"}}\n' for number in range(2))


def draw_good(root: Path) -> None:
    """`NUM_COUPLES` couples of drawn figures: profiles.csv, couples.csv, photos/."""
    (root / "photos").mkdir(parents=True)
    profiles = ["profile_id,image,gender,fashion_style"]
    for couple in range(NUM_COUPLES):
        for side, gender in (("f", "female"), ("m", "male")):
            name, style = f"{side}{couple}", couple % len(STYLES)
            colour = (couple * 53 % 256, couple * 97 % 256, 60 if side == "f" else 190)
            blocks = np.random.default_rng([couple, side == "f"]).integers(0, 256, (8, 8, 3), dtype=np.uint8)
            picture = Image.fromarray(blocks).resize((64, 64), Image.Resampling.NEAREST)  # none is a near copy
            draw = ImageDraw.Draw(picture)
            draw.ellipse((24, 4, 40, 22), fill=(190, 140, 110))
            draw.rectangle((16, 24, 48, 60), fill=colour)
            picture.save(root / "photos" / f"{name}.jpg", quality=90)
            profiles.append(f"{name},photos/{name}.jpg,{gender},{STYLES[style]}")
    (root / "profiles.csv").write_text("\n".join(profiles) + "\n", encoding="utf-8")
    (root / "couples.csv").write_text(COUPLES, encoding="utf-8")


def edit(name: str, old: str, new: str) -> Callable[[Path], None]:
    """Breaks a text file of the world by replacing one place."""

    def breaks(folder: Path) -> None:
        text = (folder / name).read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{name} holds {old!r} {text.count(old)} times"
        (folder / name).write_text(text.replace(old, new), encoding="utf-8")

    return breaks


def rewrite(name: str, change: Callable[[str], str | bytes]) -> Callable[[Path], None]:
    """Breaks a text file of the world by rewriting it."""

    def breaks(folder: Path) -> None:
        content = change((folder / name).read_text(encoding="utf-8"))
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)

    return breaks


def add_row(name: str, row: str) -> Callable[[Path], None]:
    return rewrite(name, lambda text: f"{text}{row}\n")


def with_column(text: str, column: str, cells: Mapping[str, str]) -> str:
    """A CSV text with one more column, whose cells are given by the first one."""
    header, *rows = text.splitlines()
    return "\n".join([f"{header},{column}", *(f"{row},{cells.get(row.split(',')[0], '')}" for row in rows)]) + "\n"


def drop_line(name: str, line: int) -> Callable[[Path], None]:
    """Remove a line of a text file, counted from 1."""
    return rewrite(name, lambda text: "".join(text.splitlines(True)[: line - 1] + text.splitlines(True)[line:]))


def without(profile: str) -> Callable[[Path], None]:
    """Remove the rows of a profile and its couple."""

    def change(folder: Path) -> None:
        for name in ("data/profiles.csv", "data/couples.csv"):
            lines = (folder / name).read_text(encoding="utf-8").splitlines(True)
            kept = [line for line in lines if not line.startswith(f"{profile},")]
            (folder / name).write_text("".join(kept), encoding="utf-8")

    return change


def as_utf8(name: str, encoding: str) -> Callable[[Path], None]:
    """Save a text file again as UTF-8."""
    return lambda folder: (folder / name).write_text((folder / name).read_text(encoding=encoding), encoding="utf-8")


def with_splits(of_couple: Callable[[int], str]) -> Callable[[Path], None]:
    """Gives couples.csv the column `split`."""

    def change(text: str) -> str:
        header, *rows = text.splitlines()
        named = [f"{row},{of_couple(number)}" for number, row in enumerate(rows)]
        return "\n".join([f"{header},split", *named]) + "\n"

    return rewrite("data/couples.csv", change)


def photo(content: bytes | Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """Puts other bytes into the photo of f3."""

    def breaks(folder: Path) -> None:
        path = folder / "data" / "photos" / "f3.jpg"
        path.write_bytes(content(path.read_bytes()) if callable(content) else content)

    return breaks


def png_that_claims(width: int, height: int) -> bytes:
    """A PNG whose header gives this size; its one row of pixels is all there is."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(3 * width + 1))) + chunk(b"IEND", b"")


def link_out(folder: Path) -> None:
    """The photo of f3 is a symbolic link to a file outside the dataset folder."""
    path = folder / "data" / "photos" / "f3.jpg"
    path.rename(folder / "elsewhere.jpg")
    path.symlink_to(folder / "elsewhere.jpg")


def link_root(folder: Path) -> None:
    """The dataset folder itself is a symbolic link."""
    (folder / "data").rename(folder / "real")
    (folder / "data").symlink_to(folder / "real", target_is_directory=True)


def move(old: str, new: str) -> Callable[[Path], None]:
    def breaks(folder: Path) -> None:
        (folder / new).parent.mkdir(parents=True, exist_ok=True)
        (folder / old).rename(folder / new)

    return breaks


def copy(old: str, new: str) -> Callable[[Path], None]:
    """Put a copy of a file in the place of another one or of a link."""

    def change(folder: Path) -> None:
        (folder / new).unlink(missing_ok=True)
        shutil.copyfile(folder / old, folder / new)

    return change


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def write(name: str, text: str) -> Callable[[Path], None]:
    def breaks(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")

    return breaks


def cut(name: str) -> Callable[[Path], None]:
    """Half of a file is lost."""

    def breaks(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])

    return breaks


def copy_tiny(folder: Path) -> None:
    """The checkpoint of `backbone=tiny` as a folder of the user's own."""
    shutil.copytree(Path(style_match.__file__).parent / "backbone" / "tiny", folder / "backbone")
