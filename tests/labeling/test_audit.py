"""labeler.audit: agreement with a human, against sums by hand and against another library's words."""

import csv
import math

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import cohen_kappa_score, recall_score

from style_match.labeling.audit import agreement
from tests.labeling.makers import make_schema, style_values

OPTIONS = dict(num_missing=0, confidence=0.95, num_resamples=2000, seed=0)
CLASSES = make_schema().class_names("fashion_style")


def test_kappa_by_hand():
    # 50 photos, 35 agreed on (0.7), 0.5 expected by chance: the example of Cohen's kappa in many textbooks is 0.4
    human = ["yes"] * 25 + ["no"] * 25
    labeler = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    found = agreement("x", human, labeler, ["yes", "no"], **OPTIONS)
    assert (found.agreement[0], found.kappa[0]) == pytest.approx((0.7, 0.4))
    assert found.matrix.tolist() == [[20, 5], [10, 15]]
    yes, no = found.by_class()
    assert yes == ("yes", pytest.approx(20 / 30), pytest.approx(20 / 25), 25, 30)
    assert no == ("no", pytest.approx(15 / 20), pytest.approx(15 / 25), 25, 20)


def test_the_interval_is_that_of_drawing_photos_again():
    rng = np.random.default_rng(1)
    human = rng.choice(CLASSES, 120)
    labeler = np.where(rng.uniform(size=120) < 0.6, human, rng.choice(CLASSES, 120))
    found = agreement("x", list(human), list(labeler), CLASSES, **OPTIONS)
    draws = rng.integers(0, 120, (300, 120))
    low, high = np.quantile([cohen_kappa_score(human[draw], labeler[draw]) for draw in draws], [0.025, 0.975])
    assert found.kappa[1:] == pytest.approx((low, high), abs=0.05)
    assert found.kappa[0] == pytest.approx(cohen_kappa_score(human, labeler)) and low < found.kappa[0] < high
    recalls = recall_score(human, labeler, labels=list(CLASSES), average=None)
    assert [recall for _, _, recall, _, _ in found.by_class()] == pytest.approx(list(recalls))


def test_one_class_alone_has_no_kappa():
    found = agreement("x", ["a"] * 5, ["a"] * 5, ["a", "b"], **OPTIONS)
    assert found.agreement[0] == 1.0 and all(map(math.isnan, found.kappa))
    _, (_, precision, recall, _, _) = found.by_class()
    assert math.isnan(precision) and math.isnan(recall)


@pytest.fixture
def audit(replay, photos, answers):
    """`audit(rows)` compares the answers about six photos with a CSV of these lines."""

    def run(*rows: str, code: int = 0):
        (photos.parent / "human.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
        file = answers("a", "b", "c", "d", "e", "deep/f")
        return replay(file, "labeler.audit=human.csv", "audit.dpi=40", code=code)

    return run


def test_an_audit_of_stored_answers(audit, replay, photos, answers):
    values = [style_values(number) for number in range(6)]
    rows = ["image,fashion_style,shot_type,who"]
    rows += [f"{name}.jpg,{values[n]['fashion_style']},{values[0]['shot_type']},me" for n, name in enumerate("abcd")]
    replay(answers("a", "b", "c", "d", "e", "deep/f"))
    done = audit(*rows, "e.jpg,,Others_Cam,me")
    assert "to send: nothing" in done.err and "ignored: who" in done.err
    assert "| fashion_style | 4 | 0 | 100.0 [100.0, 100.0] | 1.00 [1.00, 1.00] |" in done.out
    with open(photos / "audit" / "audit.csv", newline="") as file:
        found = {(row["attribute"], row["class"]): row for row in csv.DictReader(file)}
    assert found["shot_type", ""]["photos"] == "5" and found["fashion_style", "Casual_Basic"]["recall"] == "1.000000"
    assert found["fashion_style", "Classy_Elegant"]["recall"] == ""
    for name in ("fashion_style", "shot_type"):
        assert Image.open(photos / "audit" / f"{name}.png").format == "PNG"
    assert "labeler=replay" in (photos / "audit" / "audit.md").read_text()
    done = replay(answers("a", "b", "c", "d", "e", "deep/f"), "out=other")
    assert "photos: 6, 6 different\n" in done.err  # the pictures of the audit are no photos


def test_a_folder_of_photos_may_be_called_audit(replay, photos, answers):
    (photos / "deep").rename(photos / "audit")
    assert "photos: 6," in replay(answers("a", "b", "c", "d", "e", "audit/f")).err


@pytest.mark.parametrize(
    "rows, said",
    [
        (["image,fashion_stile", "a.jpg,Chic_Modern"], "no column is one of fashion_style, shot_type, visual_quality"),
        (["img,fashion_style", "a.jpg,Chic_Modern"], "no column 'image'"),
        (["image,fashion_style", "x.jpg,Chic_Modern"], "line 2, column image: no photo is called 'x.jpg'"),
        (["image,fashion_style", "a.jpg,Chic_Modren"], "'Chic_Modren' is not a class (did you mean 'Chic_Modern'?)"),
        (["image,fashion_style", "a.jpg,Street_Hip", "a.jpg,Street_Hip"], "is already in line 2; remove one"),
        (["image,fashion_style", "a.jpg,"], "no photo has both a label by the human and an answer"),
        (["image,fashion_style"], "has a header but no rows"),
    ],
)
def test_mistakes_in_the_file_of_the_human(audit, rows, said):
    assert said in audit(*rows, code=2).err


def test_photos_that_were_not_answered_are_counted(replay, photos, answers):
    (photos.parent / "human.csv").write_text("image,fashion_style\na.jpg,Casual_Basic\ne.jpg,Chic_Modern\n")
    done = replay(answers("a", "b", "c", "d"), "max_failed_share=1", "labeler.audit=human.csv")
    assert "| fashion_style | 1 | 1 | 100.0" in done.out
