"""The labeler's answers about a photo leave its ledger, bytes and all."""

import hashlib
from pathlib import Path
from types import SimpleNamespace

import pytest

from style_match.labeling.answers import Answer, Status
from style_match.labeling.ledger import Ledger
from style_match.labeling.outputs import refuse_foreign, write_metadata
from style_match.utils.errors import UserError

from .conftest import World


def answer(ledger: Ledger, photo: bytes, caption: str) -> None:
    request = SimpleNamespace(key=hashlib.sha256(photo + b"key").hexdigest(), schema=SimpleNamespace(name="style"))
    request.sha256 = hashlib.sha256(photo).hexdigest()
    ledger.answered([(request, Answer(Status.ANSWERED, {"caption": caption}, model="m"))])  # type: ignore[list-item]


@pytest.fixture
def labelled(world: World) -> World:
    with Ledger(world.root) as ledger:
        for image in ("images/woman-0.png", "images/later.png", "images/gent-1.png"):
            answer(ledger, world.photos[image], f"a very long caption of {image} " * 50)
    return world


def test_only_hers_are_gone(labelled: World, capsys: pytest.CaptureFixture[str]) -> None:
    path: Path = labelled.root / "labels.sqlite"
    assert labelled.where(b"caption of images/woman-0.png")
    labelled.forget()
    assert labelled.where(b"caption of images/woman-0.png", b"caption of images/later.png") == []
    assert f"{path}: 2 answers of the labeler" in capsys.readouterr().out
    with Ledger(labelled.root) as ledger:
        assert list(ledger.values()) == [hashlib.sha256(labelled.photos["images/gent-1.png"]).hexdigest()]
    assert len(path.read_bytes()) < 2**16


def test_the_labeler_takes_the_file_for_its_own_still(labelled: World) -> None:
    images = {image: hashlib.sha256(labelled.photos[image]).hexdigest() for image in labelled.photos}
    with Ledger(labelled.root) as ledger:
        assert len(write_metadata(labelled.root, ledger, images)) == 3
    labelled.forget()
    with Ledger(labelled.root) as ledger:
        assert refuse_foreign(labelled.root, labelled.root, ledger) == {"images/gent-1.png"}


def test_nobody_is_half_forgotten_while_a_labeler_is_at_work(labelled: World) -> None:
    before = labelled.state(but=("fingerprints.sqlite", "labels.sqlite-shm", "labels.sqlite-wal"))
    with Ledger(labelled.root), pytest.raises(UserError, match="Another process labels into"):
        labelled.forget()
    assert labelled.state(but=("fingerprints.sqlite", "labels.sqlite-shm", "labels.sqlite-wal")) == before
