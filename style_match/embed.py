"""`python -m style_match.embed`: the frozen backbone's features of every photo, into the feature store."""

from omegaconf import DictConfig

from style_match import cli


def run(cfg: DictConfig) -> None:
    from style_match.inputs import Inputs

    inputs = Inputs(cfg)
    inputs.check()
    inputs.embed()


if __name__ == "__main__":
    cli.main("embed", run)
