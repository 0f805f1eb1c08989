"""Image paths stay inside the folders the user named, however they are written or linked."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from style_match.data.image_paths import ImagePaths
from style_match.utils.text import shown

from .conftest import MakeFolder, faults, write_photo


class TestImagePaths:
    def fault(self, make_folder: MakeFolder, image: str, **options: str) -> str:
        root = make_folder(profiles=[("f1", image), ("m1", "m1.png")], couples=[("f1", "m1")], photos=False)
        write_photo(root / "m1.png")
        found = faults(root, **options)
        assert len(found) == 1
        assert found[0].startswith("profiles.csv, line 2, column image: ")
        return found[0].removeprefix("profiles.csv, line 2, column image: ")

    @pytest.mark.parametrize(
        ("image", "fault"),
        [
            ("/etc/passwd", "is an absolute path; make it relative to "),
            ("C:\\photos\\a.jpg", "is an absolute path"),
            ("C:/photos/a.jpg", "is an absolute path"),
            ("\\\\server\\share\\a.jpg", "is an absolute path"),
            ("images\\a.jpg", "has backslashes; separate folders with /"),
            ("../outside.png", "leaves the folder by '..'"),
            ("images/../../outside.png", "leaves the folder by '..'"),
            ("images/..", "leaves the folder by '..'"),
            ("https://example.org/a.jpg", "is a web address; download the photos"),
            ("a\x07.png", "has a control character"),
            ("gone.png", "does not exist below "),
            ("x" * 300 + ".png", "cannot be read (File name too long)"),
            (".", "is not a file name"),
        ],
    )
    def test_as_written(self, make_folder: MakeFolder, tmp_path: Path, image: str, fault: str) -> None:
        write_photo(tmp_path / "outside.png")
        assert self.fault(make_folder, image).startswith(f"{shown(image)} {fault}")

    def test_links_out(self, make_folder: MakeFolder, tmp_path: Path) -> None:
        write_photo(tmp_path / "data-private" / "a.png")  # a neighbour whose name begins alike
        root = make_folder(photos=False)
        (root / "a.png").symlink_to(tmp_path / "data-private" / "a.png")
        (root / "dir").symlink_to(tmp_path / "data-private")
        (root / "hop.png").symlink_to(root / "a.png")
        (root / "gone.png").symlink_to("/nowhere/else.png")
        for image in ("a.png", "dir/a.png", "hop.png", "gone.png", "dir/nothing.png"):
            assert "is a symbolic link out of" in self.fault(make_folder, image)

    def test_what_is_there_instead(self, make_folder: MakeFolder) -> None:
        root = make_folder(photos=False)
        (root / "loop.png").symlink_to("loop.png")
        (root / "broken.png").symlink_to("nothing.png")
        (root / "folder.png").mkdir()
        write_photo(root / "Photo.PNG")
        assert "loop.png' " in self.fault(make_folder, "loop.png")
        assert "does not exist" in self.fault(make_folder, "broken.png")
        assert "is not a regular file" in self.fault(make_folder, "folder.png")
        assert self.fault(make_folder, "photo.png") == "'photo.png' does not exist; 'Photo.PNG' does"

    def test_all_missing_is_said_once(self, make_folder: MakeFolder, couple_folder: Path, tmp_path: Path) -> None:
        found = faults(couple_folder, image_root=tmp_path)
        assert found == [
            f"profiles.csv, column image: none of the 20 images exists below {tmp_path}; "
            "set data.image_root to the folder they are relative to"
        ]

    @given(image=st.text("ab./\\:~out\0\n", max_size=12))
    def test_no_name_leads_outside(self, tmp_path_factory: pytest.TempPathFactory, image: str) -> None:
        base = tmp_path_factory.getbasetemp() / "inside"
        if not base.exists():
            write_photo(base / "a.bmp").rename(base / "a")
            (base / "out").symlink_to("/etc")
        path, fault = ImagePaths(base, (base,)).find(image)
        assert (path is None) == bool(fault)
        if path is not None:
            assert path.resolve() == (base / "a").resolve()
