"""`StyleMatcher`: its inputs, its outputs, and its answers to mistakes."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from style_match import StyleMatcher
from style_match.utils.errors import UserError
from tests.serving.matcher.conftest import conf

pytestmark = pytest.mark.filterwarnings("error::UserWarning:style_match")


def photos_of(people: Path) -> list[Path]:
    return sorted(people.glob("*.png"))


def test_files_and_images_in_any_order_and_batch_give_the_same_unit_rows(matcher, people):
    files = photos_of(people)
    rows = matcher.encode(files)
    assert rows.dtype == np.float32 and rows.shape == (9, matcher.dim)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(matcher.encode([str(file) for file in files[::-1]], batch_size=2), rows[::-1], atol=1e-5)
    np.testing.assert_allclose(matcher.encode([Image.open(file) for file in files]), rows, atol=1e-5)
    np.testing.assert_allclose(matcher.encode(files[3]), rows[3:4], atol=1e-5)
    assert matcher.encode([]).shape == (0, matcher.dim)


def test_an_opened_image_is_turned_and_laid_on_white_as_its_file_is(matcher, tmp_path):
    picture = np.zeros((64, 96, 4), dtype=np.uint8)
    picture[:32, :40] = (255, 0, 0, 255)
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(picture).save(tmp_path / "turned.png", exif=exif)
    of_file = matcher.encode(tmp_path / "turned.png")
    np.testing.assert_allclose(matcher.encode(Image.open(tmp_path / "turned.png")), of_file, atol=1e-6)
    assert np.abs(matcher.encode(Image.fromarray(picture)) - of_file).max() > 1e-3, "unturned it is another picture"


def test_similarity_is_the_cosine():
    a, b = np.array([[3.0, 0.0], [1.0, 1.0]]), np.array([0.0, 2.0])
    np.testing.assert_allclose(StyleMatcher.similarity(a, b), [[0.0], [2**-0.5]], atol=1e-7)
    assert StyleMatcher.similarity(a, a).dtype == np.float32


def test_what_is_no_photo_is_named(matcher, people, tmp_path):
    (tmp_path / "notes.jpg").write_text("not a photo")
    for wrong, message in (
        ([*photos_of(people), tmp_path / "notes.jpg"], "notes.jpg: is not an image"),
        (tmp_path / "gone.jpg", "gone.jpg: cannot be read"),
        ([7], "Photo 1 is a int. Pass a file or a PIL image"),
        (None, "This matcher reads photos"),
        (Image.new("RGB", (1, 900)), "photo 1: 1 x 900 pixels"),
    ):
        with pytest.raises(UserError, match=message):
            matcher.encode(wrong)
    with pytest.raises(UserError, match="batch_size=0 must be at least 1"):
        matcher.encode(photos_of(people), batch_size=0)
    with pytest.raises(UserError, match=r"has no text search: .* Export it again"):
        matcher.encode_text("a neat look")


def test_what_is_no_text_is_named(made):
    shared = {"head": {"options": None}, "options": conf("text/default.yaml"), "path": "both"}
    matcher = StyleMatcher.from_pretrained(made(text=shared), device="cpu")
    assert matcher.encode_text("a neat look").shape == (1, matcher.dim)
    for wrong, message in (
        (5, "Text 1 is a int. Pass a text or a list"),
        (b"a hat", "Text 1 is a bytes"),
        (["a hat", None], "Text 2 is a NoneType"),
        ("  ", "is empty"),
        ("a \udc80 hat", r"The text 'a \\udc80 hat' is not UTF-8"),
        ("a hat <|im_end|>", r"The text 'a hat <\|im_end\|>' contains the control token"),
    ):
        with pytest.raises(UserError, match=message):
            matcher.encode_text(wrong)


def test_a_folder_in_the_home_is_found(matcher, people, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(people.parent))
    found = matcher.embed_folder("~/people", features_root=str(tmp_path / "store"))
    assert found.profile_ids[0] == "f0" and found.photos[0][0].startswith(str(people))


def test_a_folder_is_embedded_once_and_photos_of_one_profile_are_averaged(matcher, people, tmp_path, capsys):
    found = matcher.embed_folder(people, features_root=str(tmp_path / "store"))
    assert found.profile_ids == ("f0", "f1", "f2", "f3", "m0", "m1", "m2", "m3")
    assert found.embeddings.dtype == np.float32 and found.sides.tolist() == [0] * 4 + [1] * 4
    assert found.people[0] == found.people[7], "one user_id"
    files = photos_of(people)
    both = matcher.encode(files[:2]).sum(axis=0)
    np.testing.assert_allclose(found.embeddings[0], both / np.linalg.norm(both), atol=1e-5)
    np.testing.assert_allclose(found.embeddings[1:], matcher.encode(files[2:]), atol=1e-5)
    assert "features: 0 of 9 from the store, 9 computed" in capsys.readouterr().err
    again = matcher.embed_folder(people, features_root=str(tmp_path / "store"))
    assert "features: 9 of 9 from the store (" in capsys.readouterr().err
    np.testing.assert_array_equal(again.embeddings, found.embeddings)


def test_recommended_are_the_nearest_of_the_other_side_but_the_person(matcher, people, tmp_path):
    found = matcher.embed_folder(people, features_root=str(tmp_path / "store"))
    cosine = matcher.similarity(found.embeddings[0], found.embeddings)[0]
    wanted = sorted(("m0", "m1", "m2"), key=lambda name: -cosine[found.row_of[name]])  # m3 is f0's own
    best = matcher.recommend("f0", found, k=3)
    assert [name for name, _ in best] == wanted
    assert [score for _, score in best] == pytest.approx([cosine[found.row_of[name]] for name in wanted], abs=1e-6)
    assert matcher.recommend("f0", found, k=2, where="age > 24") == [each for each in best if each[0] != "m0"]
    by_photo = matcher.recommend(people / "0-0.png", found, k=3, side="female")
    assert {name for name, _ in by_photo} == {"m0", "m1", "m2"}, "a photo of f0 is f0, whose own m3 is"
    assert len(matcher.recommend(found.embeddings[0], found, k=4, side="female")) == 4


def test_a_query_that_cannot_be_answered_is_refused(matcher, made, people, tmp_path):
    found = matcher.embed_folder(people, features_root=str(tmp_path / "store"))
    for query, options, message in (
        ("f00", {}, r"query=f00: there is no such profile among 8, and no such file. Did you mean f\d"),
        ("f0", {"k": 0}, "k=0 must be at least 1"),
        ("f0", {"k": 4}, "there are 3 profiles to choose from. Set k=3 or less"),
        ("f0", {"where": "gender == 'f'"}, "where leaves 0 of 3 profiles to choose from. Widen where"),
        ("f0", {"where": "ages < 3"}, "no column 'ages'. Did you mean age"),
        ("f0", {"where": "age < 'x'"}, "age holds numbers"),
        ("f0", {"side": "male"}, "query=f0 is female, not male. Drop side"),
        (people / "0-0.png", {}, "side is missing.*side=female or side=male"),
        (people / "profiles.csv", {"side": "female"}, "profiles.csv: is not an image"),
        (np.zeros(3), {"side": "female"}, "has 3 numbers, those of this matcher have"),
    ):
        with pytest.raises(UserError, match=message):
            matcher.recommend(query, found, **{"k": 1, **options})
    other = StyleMatcher.from_pretrained(made("other", head="identity"), device="cpu")
    with pytest.raises(UserError, match=rf"another matcher \({matcher.identity[:8]}\), not by other"):
        other.recommend("f0", found, k=1)


@pytest.mark.parametrize("head", ["two_heads", "cca"])
def test_a_head_that_treats_sides_differently_needs_them(made, people, tmp_path, head):
    matcher = StyleMatcher.from_pretrained(made(head=head), device="cpu")
    files = photos_of(people)
    with pytest.raises(UserError, match=r'its side is missing, but the head of .* Pass side="female" or side="male"'):
        matcher.encode(files)
    with pytest.raises(UserError, match="the side 'man' is unknown"):
        matcher.encode(files, side="man")
    with pytest.raises(UserError, match="There are 9 photos, but sides of 2"):
        matcher.encode(files, side=["female", "male"])
    left, right = (matcher.encode(files, side=side) for side in ("female", "male"))
    assert np.abs(left - right).max() > 1e-3
    mixed = matcher.encode(files, side=["female", "male"] * 4 + ["female"])
    np.testing.assert_allclose(mixed, np.where(np.arange(9)[:, None] % 2 == 0, left, right), atol=1e-5)
    found = matcher.embed_folder(people, features_root=str(tmp_path / "store"))
    np.testing.assert_allclose(found.embeddings[4:], right[5:], atol=1e-5)
    table = people / "profiles.csv"
    table.write_text(table.read_text().replace("m1,5-0.png,m", "m1,5-0.png,"))
    with pytest.raises(UserError, match=r"the side of 1 profiles is unknown \(m1\)"):
        matcher.embed_folder(people, features_root=str(tmp_path / "store"))


def test_metadata_is_required_if_the_prompt_has_it(made, people):
    matcher = StyleMatcher.from_pretrained(made(prompt="image_metadata", pooling="both"), device="cpu")
    files = photos_of(people)[:2]
    said = [{"top": "shirt"}, {"top": "coat"}]
    with pytest.raises(UserError, match="reads metadata"):
        matcher.encode(files)
    with pytest.raises(UserError, match="There are 2 photos, but metadata of 1"):
        matcher.encode(files, {"top": "shirt"})
    with pytest.raises(UserError, match="no attribute to render"):
        matcher.encode(files, [said[0], {}])
    rows = matcher.encode(files, said)
    assert np.abs(matcher.encode(files, said[::-1]) - rows).max() > 1e-4
    np.testing.assert_allclose(matcher.encode(files[:1] * 2, said[:1] * 2), rows[[0, 0]], atol=1e-5)


def test_the_label_of_styles_is_not_shown_to_the_backbone(made, people):
    matcher = StyleMatcher.from_pretrained(made(task="style", prompt="image_metadata"), device="cpu")
    file = photos_of(people)[0]
    rows = [matcher.encode(file, {"fashion_style": style, "top": "shirt"}) for style in ("a", "b")]
    np.testing.assert_array_equal(*rows)


def test_a_prompt_without_photo_takes_metadata_alone(made):
    matcher = StyleMatcher.from_pretrained(made(prompt="metadata"), device="cpu")
    rows = matcher.encode(None, [{"top": "shirt"}, {"top": "coat"}])
    assert rows.shape == (2, matcher.dim) and np.isfinite(rows).all()
