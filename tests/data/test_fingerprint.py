"""Hashes of files and results of decoding are cached, and computed again when a file changes."""

import hashlib
import multiprocessing
import os
import pickle
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from style_match.data import fingerprints as module
from style_match.data.fingerprints import Fingerprints
from style_match.utils.errors import UserError


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were decoded."""
    names: list[str] = []
    real = module.decode_stream

    def spy(stream, name, **options):
        names.append(Path(name).name)
        return real(stream, name, **options)

    monkeypatch.setattr(module, "decode_stream", spy)
    return names


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files whose bytes were read."""
    names: list[str] = []
    real = Path.read_bytes

    def spy(path):
        names.append(path.name)
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", spy)
    return names


def settled(path: Path) -> Path:
    """Wait until a further change is certain to show in the file's times."""
    time.sleep(0.06)
    return path


def photo(path: Path, color: str = "red") -> Path:
    Image.new("RGB", (6, 4), color).save(path)
    return settled(path)


def sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def test_cached_for_another_object(tmp_path: Path, read: list[str], decoded: list[str]) -> None:
    path, memo = photo(tmp_path / "a.png"), tmp_path / "cache" / "memo.sqlite"
    first = Fingerprints(memo).photo(path)
    assert (first.sha256, first.width, first.height, first.ok, first.fault) == (sha256(path), 6, 4, True, "")
    again = pickle.loads(pickle.dumps(Fingerprints(memo)))
    assert again.photo(path) == first and again.sha256(path) == first.sha256
    assert (read, decoded) == (["a.png"], ["a.png"])
    assert Fingerprints(None).photo(path) == first
    assert (read, decoded) == (["a.png"] * 2, ["a.png"] * 2)


def test_bytes_that_are_no_file_are_decoded_once(tmp_path: Path, decoded: list[str]) -> None:
    photo = tmp_path / "a.png"
    Image.new("RGB", (8, 6), "red").save(photo)
    fingerprints = Fingerprints(tmp_path / "memo")
    one, other = (fingerprints.photo_of(photo.read_bytes(), name, max_source_pixels=100) for name in ("x", "y"))
    assert one == other == fingerprints.photo(photo) and decoded == ["x"]


def test_size_is_of_the_upright_image(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGB", (6, 4)).save(tmp_path / "a.jpg", exif=exif)
    facts = Fingerprints(None).photo(tmp_path / "a.jpg")
    assert (facts.width, facts.height) == (4, 6)


def test_a_bad_photo_is_cached_without_its_name(tmp_path: Path, decoded: list[str]) -> None:
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_text("no photo")
    fingerprints = Fingerprints(tmp_path / "memo")
    facts = {fingerprints.photo(tmp_path / name) for name in ("a.jpg", "b.jpg", "a.jpg")}
    assert decoded == ["a.jpg"] and len(facts) == 1
    assert facts.pop().fault.startswith("is not an image")


def test_the_bound_on_pixels_is_not_cached(tmp_path: Path) -> None:
    path, fingerprints = photo(tmp_path / "a.png"), Fingerprints(tmp_path / "memo")
    for _ in range(2):
        fault = fingerprints.photo(path, max_source_pixels=23).fault
        assert fault == "6 x 4 = 24 pixels, more than data.max_source_pixels=23"
        assert fingerprints.photo(path, max_source_pixels=24).ok


@pytest.mark.parametrize("keep_times", [False, True])
@pytest.mark.parametrize("replace", [False, True])
def test_a_changed_file_is_read_again(tmp_path: Path, keep_times: bool, replace: bool) -> None:
    path, fingerprints = photo(tmp_path / "a.bmp"), Fingerprints(tmp_path / "memo")
    before, status = fingerprints.photo(path), path.stat()
    data = bytearray(path.read_bytes())
    data[-1] ^= 255  # same size
    changed = tmp_path / "b.bmp" if replace else path
    with open(changed, "wb" if replace else "r+b") as file:
        file.write(data)
    if keep_times:
        os.utime(changed, ns=(status.st_atime_ns, status.st_mtime_ns))
    changed.replace(path)
    assert fingerprints.sha256(path) == sha256(path) != before.sha256


def test_a_fresh_file_is_not_cached(tmp_path: Path, read: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Two writes within one tick of the file system's clock show the same time."""
    path, fingerprints = tmp_path / "a", Fingerprints(tmp_path / "memo")
    path.write_text("one")
    written = max(path.stat().st_mtime_ns, path.stat().st_ctime_ns)
    for now, num_read in ((written + 1_000_000, 2), (written + 10_000_000_000, 3)):
        monkeypatch.setattr(module.time, "time_ns", lambda now=now: now)
        fingerprints.sha256(path)
        fingerprints.sha256(path)
        assert len(read) == num_read


@pytest.mark.parametrize("make", [None, Path.mkdir, os.mkfifo])
def test_what_cannot_be_read(tmp_path: Path, make) -> None:
    path = tmp_path / "x.jpg"
    if make is not None:
        make(path)
    match = r"x\.jpg: is not a regular file" if make else r"x\.jpg: cannot be read \(No such file"
    with pytest.raises(UserError, match=match):
        Fingerprints(tmp_path / "memo").photo(path)


def test_a_damaged_cache_is_started_again_and_one_that_cannot_be_created_is_named(
    tmp_path: Path, read: list[str]
) -> None:
    path, memo = photo(tmp_path / "a.png"), tmp_path / "memo"
    memo.write_text("this is no sqlite file, whatever its name says " * 30)
    for _ in range(3):
        assert Fingerprints(memo).sha256(path) == sha256(path)
    assert read == ["a.png"]
    with pytest.raises(UserError, match=r"Cannot use the cache .*memo/memo .*set STYLE_MATCH_CACHE"):
        Fingerprints(memo / "memo").photo(path)


def test_threads_and_processes_share_one(tmp_path: Path, read: list[str]) -> None:
    paths = [tmp_path / f"{number}.png" for number in range(20)]
    for number, path in enumerate(paths):
        Image.new("RGB", (6, 4), f"#0000{number:02x}").save(path)
    settled(tmp_path)
    fingerprints = Fingerprints(tmp_path / "memo")
    assert fingerprints.photo(paths[0]).ok, "a fork must not use this connection"

    def fill() -> None:
        warnings.simplefilter("error")
        with ThreadPoolExecutor(3) as pool:
            assert all(pool.map(lambda path: fingerprints.photo(path).ok, paths))

    writers = [multiprocessing.get_context("fork").Process(target=fill) for _ in range(3)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads
        for writer in writers:
            writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    assert [fingerprints.sha256(path) for path in paths] == [sha256(path) for path in paths]
    assert read == ["0.png"]


def test_names_that_are_not_utf8(tmp_path: Path, read: list[str]) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.bin")
    path.write_bytes(b"x")
    settled(path)
    for _ in range(2):
        Fingerprints(tmp_path / "memo").sha256(path)
    assert len(read) == 1
