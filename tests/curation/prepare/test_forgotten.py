"""Whoever was forgotten in a prepared folder does not come back from its source."""

import json
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from style_match.curation import forget as forgetting
from style_match.curation.page import page
from style_match.curation.prepare import summary
from style_match.utils.errors import UserError

from .sources import HEADER, files_of, jpeg, photo, read_rows, write, write_table


def forget(out: Path, *profile_ids: str) -> None:
    own = yaml.safe_load((Path(__file__).parents[3] / "conf/forget.yaml").read_text(encoding="utf-8"))
    cfg = OmegaConf.create({**own, "features": {"root": str(out.parent / "features")}})
    forgetting.forget(OmegaConf.merge(cfg, {"profile": [*profile_ids], "data": {"root": str(out)}}))  # type: ignore[arg-type]


@pytest.fixture
def named(source: Path) -> Path:
    """Ids that stand nowhere by chance, metadata and couples."""
    rows = [[f"somebody-{row['profile_id']}", *list(row.values())[1:]] for row in read_rows(source)]
    write_table(source / "profiles.csv", HEADER, rows)
    said = [json.dumps({"image": row[1], "caption": f"of {row[0]}"}) + "\n" for row in rows]
    write(source / "metadata.jsonl", "".join(said))
    return source


def test_forgotten_people_stay_away_and_are_counted(named, run):
    out = run(named).folder.root
    forget(out, "somebody-p3", "somebody-p4")
    rows = [list(row.values()) for row in read_rows(named)]
    for number in (20, 21):
        write(named / f"photos/p{number}.jpg", jpeg(photo(number)))
        rows.append([f"somebody-p{number}", f"photos/p{number}.jpg", "Chic", "High"])
    write_table(named / "profiles.csv", HEADER, rows)
    said = "".join(json.dumps({"image": row[1], "caption": f"of {row[0]}"}) + "\n" for row in rows)
    write(named / "metadata.jsonl", said)
    before = (out / "forgotten.json").read_bytes()
    for _ in range(2):
        prepared = run(named)
        ids = [row["profile_id"] for row in read_rows(out)]
        assert len(ids) == 12 and {"somebody-p20", "somebody-p21"} <= {*ids}
        write(out / "prepared.html", page(prepared, {"thumbnails": False, "max_groups": 5}))
        for name, content in files_of(out).items():
            assert not any(each in name.encode() + content for each in (b"somebody-p3", b"somebody-p4"))
        assert prepared.record["counts"]["forgotten"] == 2 and prepared.record["counts"]["photos"] == 12
        assert "note: 2 profiles of the source were forgotten here and are left out\n" in summary(prepared)
    assert (out / "forgotten.json").read_bytes() == before and not prepared.changed


def test_their_couples_stay_away_too(named, run):
    pairs = [(f"somebody-p{2 * i}", f"somebody-p{2 * i + 1}") for i in range(6)]
    write_table(named / "couples.csv", ("female_id", "male_id"), pairs)
    words = ["split.fractions=[0.5,0.25,0.25]"]
    out = run(named, *words).folder.root
    forget(out, "somebody-p3")
    prepared = run(named, *words)
    assert len(prepared.folder.couples) == 5 and b"somebody-p3" not in (out / "couples.csv").read_bytes()
    assert "note: 1 profile of the source was forgotten here and is left out\n" in summary(prepared)


def test_a_forgetting_that_was_interrupted_is_finished_first(named, run):
    out = run(named).folder.root
    write(out / ".forget.json", "{}")
    with pytest.raises(UserError, match=r"forgetting somebody was interrupted here .* Give that command again first"):
        run(named)


@pytest.mark.parametrize("content", ["{}", "[{", '[{"profiles": [{"salt": "x"}]}]', "[3]"])
def test_a_damaged_list_stops_it(content, named, run):
    out = run(named).folder.root
    rows = [row for row in read_rows(out) if row["profile_id"] != "somebody-p3"]
    write_table(out / "profiles.csv", tuple(rows[0]), [list(row.values()) for row in rows])
    write(out / "forgotten.json", content)
    with pytest.raises(UserError, match=r"forgotten.json cannot be read .*restore it"):
        run(named)
    assert "somebody-p3" not in (out / "profiles.csv").read_text(encoding="utf-8")
