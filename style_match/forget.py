"""`python -m style_match.forget`: remove a person from a dataset folder and from everything computed from it."""

from omegaconf import DictConfig

from style_match.cli import main


def run(cfg: DictConfig) -> None:
    """Remove a person and list what was removed. The same command finishes an interrupted removal."""
    from style_match.curation.forget import forget

    forget(cfg)


if __name__ == "__main__":
    main.main("forget", run)
