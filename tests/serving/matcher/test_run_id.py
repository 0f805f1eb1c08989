"""What tells one finished run from another."""

import shutil

from omegaconf import OmegaConf

from style_match.serving.finished_run import FinishedRun


def test_a_run_is_known_by_its_config_and_its_metrics_wherever_its_folder_lies(tmp_path):
    def run_id(folder):
        run = FinishedRun(tmp_path / folder, OmegaConf.create(), provenance={}, metrics={}, inputs=None)
        return run.id

    for folder, config, metrics in (("one", "seed: 0", "{}"), ("other", "seed: 0", "[]"), ("third", "seed: 1", "{}")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "config.yaml").write_text(config)
        (tmp_path / folder / "metrics.json").write_text(metrics)
    shutil.copytree(tmp_path / "one", tmp_path / "moved")
    (tmp_path / "moved" / "train.log").write_text("of no effect")
    assert run_id("moved") == run_id("one")
    assert len({run_id("one"), run_id("other"), run_id("third")}) == 3
