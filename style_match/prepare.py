"""`python -m style_match.prepare`: photos and labels to a dataset folder: checked, filtered, without split copies."""

from omegaconf import DictConfig

from style_match.cli import main


def run(cfg: DictConfig) -> None:
    """Prepare the folder `out`, write its page, print what was counted and the command that comes next."""
    from style_match.curation.page import page
    from style_match.curation.prepare import prepare, summary
    from style_match.utils.files import write_whole

    prepared = prepare(cfg)
    write_whole(prepared.folder.root / "prepared.html", page(prepared, cfg.page))
    print(summary(prepared))


if __name__ == "__main__":
    main.main("prepare", run)
