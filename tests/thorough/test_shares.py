"""`style_match.embed` in several processes at once that share photos and a feature store."""

import pytest

from style_match.utils.distributed import Share

shares = pytest.importorskip("experiments.shares.run", reason="experiments are not on the path")

WORDS = ("data.num_couples=20", "backbone.token_budget=700", "features.shard_rows=8")
TORCHRUN = ("-m", "torch.distributed.run", "--nproc-per-node", "2")


def test_one_of_three_is_killed(tmp_path, monkeypatch):
    """The others finish and count what lacks; a rerun computes these rows alone; vectors are those of one process."""
    monkeypatch.setitem(shares.PLAN, "overrides", ["data=demo_couples", *WORDS, "data.num_couples=60"])
    shares.embed_alone(tmp_path)
    story = shares.kill_one(tmp_path, num=3, killed=2, after_rows=8)
    assert story.codes == [0, -9, 0, 0]
    assert story.after == {*shares.addresses(tmp_path / "whole")}

    killed, lacked = Share(2, 3), story.after - story.before
    assert lacked and all(map(killed.holds, lacked))
    assert any(map(killed.holds, story.before))
    of_share = sum(map(killed.holds, story.after))
    said = "\n".join(story.output)
    for each in (Share(1, 3), Share(3, 3)):
        own, others = sum(map(each.holds, story.after)), sum(not each.holds(row) for row in story.after)
        assert f"share {each}: {own} of {len(story.after)} photos" in said
        assert f"share {each}: 0 of {own} from the store, {own} computed" in said
        assert f"of {others} photos are not in the store yet" in said and "the same command without share" in said
    assert len(lacked) < of_share
    assert f"features: {len(story.before)} of {len(story.after)} from the store, {len(lacked)} computed" in said
    assert shares.largest_difference(tmp_path / "whole", tmp_path / "killed") <= shares.PLAN["tolerance"]


def test_torchrun_divides_the_photos(run_command, tmp_path):
    words = (*WORDS, "data.world_seed=41", f"features.root={tmp_path}")
    done = run_command("embed", *words, launcher=TORCHRUN)
    found = shares.addresses(tmp_path)
    assert len(found) == len({*found}) == 40
    for each in (Share(1, 2), Share(2, 2)):
        own = sum(map(each.holds, found))
        assert f"share {each} (torchrun, process {each.number} of 2): {own} of 40 photos" in done.stderr
        assert f"share {each}: 0 of {own} from the store, {own} computed" in done.stderr
    assert "40 of 40 from the store" in run_command("embed", *words).stderr


def test_a_sweep_over_shares(run_command, tmp_path):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="the extra launchers is not installed")
    words = (*WORDS, "data.world_seed=41", f"features.root={tmp_path}")
    launcher = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    run_command("embed", "-m", "share=1/2,2/2", *words, *launcher)
    found = shares.addresses(tmp_path)
    assert len(found) == len({*found}) == 40
