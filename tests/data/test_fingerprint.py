"""Hashes of files and results of decoding are cached, and computed again when a file changes."""

import hashlib
import multiprocessing
import os
import pickle
import threading
import time
import warnings
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from style_match.data import fingerprints as fingerprint
from style_match.data.fingerprints import Fingerprints
from style_match.utils.errors import UserError

FORK = multiprocessing.get_context("fork")


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were really decoded."""
    names: list[str] = []
    real = fingerprint.decode_stream

    def spy(stream, name, **options):
        names.append(Path(name).name)
        return real(stream, name, **options)

    monkeypatch.setattr(fingerprint, "decode_stream", spy)
    return names


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    names: list[str] = []
    real = hashlib.file_digest

    def spy(stream, kind):
        names.append(Path(stream.name).name)
        return real(stream, kind)

    monkeypatch.setattr(fingerprint.hashlib, "file_digest", spy)
    return names


def photo(path: Path, color: str = "red", size: tuple[int, int] = (6, 4)) -> Path:
    Image.new("RGB", size, color).save(path)
    return settled(path)


def photos(folder: Path, num: int) -> list[Path]:
    paths = [folder / f"{number}.png" for number in range(num)]
    for number, path in enumerate(paths):
        Image.new("RGB", (6, 4), f"#0000{number:02x}").save(path)
    settled(paths[-1])
    return paths


def settled(path: Path) -> Path:
    """Waits until a further change is sure to show in the file's times."""
    time.sleep(0.06)
    return path


@given(data=st.binary(max_size=200_000))
def test_sha256(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("file") / "f"
    path.write_bytes(data)
    assert Fingerprints(None).sha256(path) == hashlib.sha256(data).hexdigest()


def test_remembered_by_another_object(tmp_path: Path, hashed: list[str], decoded: list[str]) -> None:
    path, memo = photo(tmp_path / "a.png"), tmp_path / "cache" / "memo.sqlite"
    first = Fingerprints(memo).photo(path)
    assert (first.width, first.height, first.ok, first.fault) == (6, 4, True, "")
    assert (hashed, decoded) == (["a.png"], ["a.png"])
    again = Fingerprints(memo)
    assert again.photo(path) == first
    assert again.sha256(path) == first.sha256
    assert (hashed, decoded) == (["a.png"], ["a.png"])


def test_without_a_memo_everything_is_read(tmp_path: Path, decoded: list[str]) -> None:
    fingerprints = Fingerprints(None)
    for _ in range(2):
        fingerprints.photo(photo(tmp_path / "a.png"))
    assert decoded == ["a.png", "a.png"]


def test_size_is_of_the_upright_image(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGB", (6, 4)).save(tmp_path / "a.jpg", exif=exif)
    facts = Fingerprints(None).photo(tmp_path / "a.jpg")
    assert (facts.width, facts.height) == (4, 6)


def test_bad_photo_is_remembered_without_its_name(tmp_path: Path, decoded: list[str]) -> None:
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_text("no photo")
        settled(tmp_path / name)
    fingerprints = Fingerprints(tmp_path / "memo")
    facts = [fingerprints.photo(tmp_path / name) for name in ("a.jpg", "b.jpg", "a.jpg")]
    assert decoded == ["a.jpg"], "the same bytes have the same verdict"
    assert not facts[0].ok
    assert facts[0].fault.startswith("is not an image")
    assert facts[0] == facts[1] == facts[2]


def test_the_bound_on_pixels_is_not_remembered(tmp_path: Path) -> None:
    path = photo(tmp_path / "a.png")
    fingerprints = Fingerprints(tmp_path / "memo")
    for _ in range(2):
        assert fingerprints.photo(path, max_source_pixels=23).fault == (
            "6 x 4 = 24 pixels, more than data.max_source_pixels=23"
        )
        assert fingerprints.photo(path, max_source_pixels=24).ok


@pytest.mark.parametrize("keep_times", [False, True])
def test_a_changed_file_is_read_again(tmp_path: Path, keep_times: bool) -> None:
    path, fingerprints = photo(tmp_path / "a.bmp", "red"), Fingerprints(tmp_path / "memo")
    before, status = fingerprints.photo(path), path.stat()
    data = bytearray(path.read_bytes())
    data[-1] ^= 255
    with open(path, "r+b") as file:  # same file, same size
        file.write(data)
    if keep_times:
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert fingerprints.sha256(path) == hashlib.sha256(data).hexdigest() != before.sha256


def test_a_file_still_warm_is_not_remembered(
    tmp_path: Path, hashed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two writes within one tick of the file system's clock show the same time."""
    path, fingerprints = tmp_path / "a", Fingerprints(tmp_path / "memo")
    path.write_text("one")
    written = max(path.stat().st_mtime_ns, path.stat().st_ctime_ns)
    monkeypatch.setattr(fingerprint.time, "time_ns", lambda: written + 1_000_000)
    fingerprints.sha256(path)
    fingerprints.sha256(path)
    assert hashed == ["a", "a"]
    monkeypatch.setattr(fingerprint.time, "time_ns", lambda: written + 10_000_000_000)
    fingerprints.sha256(path)
    fingerprints.sha256(path)
    assert hashed == ["a", "a", "a"]


def test_a_file_that_changes_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    path.write_text("one")
    real = hashlib.file_digest

    def grow(stream, kind):
        digest = real(stream, kind)
        path.write_text("one and more")
        return digest

    monkeypatch.setattr(fingerprint.hashlib, "file_digest", grow)
    with pytest.raises(UserError, match=r"a: was changed while it was read; run again"):
        Fingerprints(None).sha256(path)


def test_an_atomic_replacement_is_seen(tmp_path: Path) -> None:
    path, fingerprints = photo(tmp_path / "a.bmp", "red"), Fingerprints(tmp_path / "memo")
    fingerprints.photo(path)
    status = path.stat()
    photo(tmp_path / "b.bmp", "blue")
    os.utime(tmp_path / "b.bmp", ns=(status.st_atime_ns, status.st_mtime_ns))
    os.replace(tmp_path / "b.bmp", path)
    assert fingerprints.sha256(path) == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("what", ["missing", "folder", "pipe"])
def test_what_cannot_be_read(tmp_path: Path, what: str) -> None:
    path = tmp_path / "x.jpg"
    if what == "folder":
        path.mkdir()
    elif what == "pipe":
        os.mkfifo(path)
    match = r"x\.jpg: cannot be read \(No such file" if what == "missing" else r"x\.jpg: is not a regular file"
    with pytest.raises(UserError, match=match):
        Fingerprints(tmp_path / "memo").photo(path)


def test_a_damaged_memo_is_started_again(tmp_path: Path, hashed: list[str]) -> None:
    path, memo = photo(tmp_path / "a.png"), tmp_path / "memo"
    memo.write_text("this is no sqlite file, whatever its name says " * 30)
    for _ in range(3):
        assert Fingerprints(memo).sha256(path) == hashlib.sha256(path.read_bytes()).hexdigest()
    assert hashed == ["a.png"]


def test_a_memo_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.warns(UserWarning, match="Cannot use the cache") as caught:
        fingerprints = Fingerprints(tmp_path / "file" / "memo")
        assert fingerprints.photo(photo(tmp_path / "a.png")).ok
        assert fingerprints.photo(photo(tmp_path / "b.png", "blue")).ok
    assert len(caught) == 1


def test_threads_share_one(tmp_path: Path) -> None:
    paths = photos(tmp_path, 8)
    fingerprints = Fingerprints(tmp_path / "memo")
    found: list[dict[Path, str]] = [{} for _ in range(4)]

    def read(mine: dict[Path, str]) -> None:
        mine.update({path: fingerprints.photo(path).sha256 for path in paths})

    threads = [threading.Thread(target=read, args=(mine,)) for mine in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(mine == {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths} for mine in found)
    fingerprints.close()
    assert fingerprints.photo(paths[0]).ok, "closed, it opens again when asked"


def test_processes_share_one(tmp_path: Path, hashed: list[str]) -> None:
    paths = photos(tmp_path, 20)
    begin = FORK.Event()

    def remember() -> None:
        begin.wait()
        warnings.simplefilter("error")
        mine = Fingerprints(tmp_path / "memo")
        assert all(mine.photo(path).ok for path in paths)

    writers = [FORK.Process(target=remember) for _ in range(3)]
    for writer in writers:
        writer.start()
    begin.set()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    fingerprints = Fingerprints(tmp_path / "memo")
    assert all(fingerprints.photo(path).ok for path in paths)
    assert hashed == []


def test_a_fork_and_a_pickle_open_their_own(tmp_path: Path) -> None:
    path, fingerprints = photo(tmp_path / "a.png"), Fingerprints(tmp_path / "memo")
    true = fingerprints.photo(path)
    assert pickle.loads(pickle.dumps(fingerprints)).photo(path) == true
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads
        child = os.fork()
    if child == 0:
        os._exit(0 if fingerprints.photo(path) == true else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert fingerprints.photo(path) == true


def test_names_that_are_not_utf8(tmp_path: Path, hashed: list[str]) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.bin")
    path.write_bytes(b"x")
    settled(path)
    for _ in range(2):
        Fingerprints(tmp_path / "memo").sha256(path)
    assert len(hashed) == 1
