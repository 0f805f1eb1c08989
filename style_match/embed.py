"""`python -m style_match.embed`: the frozen backbone's features of every photo, into the feature store."""

from omegaconf import DictConfig

from style_match.cli import main
from style_match.utils import progress


def run(cfg: DictConfig) -> None:
    """Compute what the store lacks, or of that the share of this process."""
    from style_match.backbone.inputs import Inputs
    from style_match.utils.distributed import share_of_process

    share = share_of_process(cfg.share)
    inputs = Inputs(cfg)
    inputs.check()
    if share is None:
        inputs.embed()
        return
    others = inputs.embed_share(share, inputs.rows)
    if missing := len(inputs.store.missing(others)):
        again = "again" if share.place else "without share"
        progress.say(
            f"other shares: {missing} of {len(others)} photos are not in the store yet. Once their processes have "
            f"ended, the same command {again} computes what then still lacks."
        )
    else:
        progress.say(f"other shares: all {len(others)} photos are in the store")


if __name__ == "__main__":
    main.main("embed", run)
