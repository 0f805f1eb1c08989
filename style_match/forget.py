"""`python -m style_match.forget`: removes a person from a dataset folder and from all that was computed of them."""

from omegaconf import DictConfig

from style_match.cli import main


def run(cfg: DictConfig) -> None:
    """Remove a person and print and write the list; a run that was killed is finished by the same command.

    Raises:
        UserError: no such profile or folder, a table that cannot be read, a file that cannot be removed.
    """
    from style_match.curation.forget import Forgetting

    forgetting = Forgetting(cfg)
    if cfg.dry_run:
        forgetting.show()
    else:
        forgetting.remove()


if __name__ == "__main__":
    main.main("forget", run)
