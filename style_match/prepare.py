"""`python -m style_match.prepare`: photos and labels to a dataset folder: checked, filtered, without split copies."""

from omegaconf import DictConfig

from style_match import cli


def run(cfg: DictConfig) -> None:
    """Prepare the folder `out`, write its page, print what was counted and the command that comes next."""
    from style_match.files import write_whole
    from style_match.preparation.page import page
    from style_match.preparation.step import prepare
    from style_match.preparation.summary import summary

    prepared = prepare(cfg)
    write_whole(prepared.folder.root / "prepared.html", page(prepared, cfg.page))
    print(summary(prepared))


if __name__ == "__main__":
    cli.main("prepare", run)
