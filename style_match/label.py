"""Label photos with an API, a local server, or recorded answers: `python -m style_match.label images=FOLDER`."""

from omegaconf import DictConfig

from style_match.cli import main


def run(cfg: DictConfig) -> None:
    """See `style_match.labeling.label.label`."""
    from style_match.labeling.label import label

    label(cfg)


if __name__ == "__main__":
    main.main("label", run)
