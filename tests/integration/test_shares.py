"""`style_match.embed` in several processes that share photos and a feature store, one after the other here."""

import os
from pathlib import Path

import pytest

from style_match.utils.distributed import Share

shares = pytest.importorskip("experiments.shares.run", reason="experiments are not on the path")

WORDS = ("data.num_couples=40", "backbone.token_budget=700")


class Stopped(BaseException):
    """Caught by nothing in the product, like a kill."""


@pytest.mark.slow
def test_one_of_three_is_stopped(run_fresh, tmp_path, monkeypatch, cache):
    """The others finish and count what lacks; a rerun computes these rows alone; vectors are those of one process."""
    run_fresh("embed", *WORDS[:1])
    words = (*WORDS, "features.shard_rows=8", f"features.root={tmp_path / 'store'}")
    real, shards = os.replace, 0

    def replace(source, target, **options):
        nonlocal shards
        shards += Path(target).suffix == ".safetensors"
        if shards >= 3:  # the writer tries once more as it closes
            raise Stopped
        real(source, target, **options)

    srun = {"SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "3", "SLURM_LOCALID": "1"}
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(os, "replace", replace)
        run_fresh("embed", *words, **srun)
    torchrun = {"RANK": "2", "WORLD_SIZE": "3", "LOCAL_RANK": "2"}
    told = {Share(1, 3): run_fresh("embed", *words, "share=1/3"), Share(3, 3): run_fresh("embed", *words, **torchrun)}
    before = shares.addresses(tmp_path / "store")
    rerun = run_fresh("embed", *words).stderr
    after = shares.addresses(tmp_path / "store")
    assert len(after) == len({*after}) == 80, "a row was computed twice"

    stopped, lacked = Share(2, 3), {*after} - {*before}
    assert lacked and all(map(stopped.holds, lacked))
    assert sum(map(stopped.holds, before)) == 16  # two shards
    for each, done in told.items():
        own, others = sum(map(each.holds, after)), sum(not each.holds(row) for row in after)
        place = " (torchrun, process 3 of 3)" if each.number == 3 else ""
        assert f"share {each}{place}: {own} of 80 photos" in done.stderr
        assert f"share {each}: 0 of {own} from the store, {own} computed" in done.stderr
        assert f"of {others} photos are not in the store yet" in done.stderr
        again = "the same command again" if place else "the same command without share"
        assert again in done.stderr
    assert f"features: {len(before)} of 80 from the store, {len(lacked)} computed" in rerun
    (key,) = {path.parent.name for path in (tmp_path / "store").glob("*/*.safetensors")}
    (tmp_path / "whole").mkdir()
    (tmp_path / "whole" / key).symlink_to(cache / "features" / key)  # other tests use other keys of the cache
    found, whole = shares.vectors(tmp_path / "store"), shares.vectors(tmp_path / "whole")
    largest = max(abs(whole[key]).max() for key in found)
    assert max(abs(found[key] - whole[key]).max() for key in found) <= shares.PLAN["tolerance"] * largest
